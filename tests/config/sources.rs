//! The rules that both ends' parameters share: which source wins, what counts as set, all or nothing for TLS, and how
//! the configuration file is read.

use std::fmt::Write as _;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;

use crate::material::{Dir, PLACES, Place, assert_unusable};
use typha_tls::config::{ConfigError, FelixConfig, Sources, TlsSettings, TyphaConfig};
use typha_tls::policy::TlsPolicy;

/// One end: the prefix of its variables and the names of its five TLS parameters.
struct End {
    prefix: &'static str,
    names: [&'static str; 5],
    either: &'static str,
    load: fn(&Sources) -> Result<Option<TlsSettings>, ConfigError>,
}

const ENDS: [End; 2] = [
    End {
        prefix: "TYPHA_",
        names: ["CAFile", "ServerCertFile", "ServerKeyFile", "ClientCN", "ClientURISAN"],
        either: "ClientCN or ClientURISAN",
        load: |sources| TyphaConfig::load(sources).map(|config| config.tls),
    },
    End {
        prefix: "FELIX_",
        names: ["TyphaCAFile", "TyphaCertFile", "TyphaKeyFile", "TyphaCN", "TyphaURISAN"],
        either: "TyphaCN or TyphaURISAN",
        load: |sources| FelixConfig::load(sources).map(|config| config.tls),
    },
];

const TYPHA: &End = &ENDS[0];

impl End {
    /// The five parameters with usable values.
    fn settings(&self, dir: &Dir) -> [(&'static str, String); 5] {
        let [ca, cert, key] = ["ca.pem", "cert.pem", "key.pem"].map(|name| {
            dir.write(name, "");
            dir.text(name)
        });
        let mut values = [ca, cert, key, "peer".to_owned(), "spiffe://td/peer".to_owned()].into_iter();
        self.names.map(|name| (name, values.next().unwrap()))
    }

    /// As [`settings`](Self::settings), with one value replaced.
    fn settings_but(&self, dir: &Dir, name: &str, value: &str) -> Vec<(&'static str, String)> {
        let mut settings = self.settings(dir).to_vec();
        settings.iter_mut().find(|setting| setting.0 == name).unwrap().1 = value.to_owned();
        settings
    }
}

fn borrowed<'a>(settings: &'a [(&'static str, String)]) -> Vec<(&'a str, &'a str)> {
    settings.iter().map(|(name, value)| (*name, &**value)).collect()
}

// All or nothing.

/// What each of the 32 subsets of the five parameters gives, whatever it is that keeps the others unset.
fn assert_subset(end: &End, is_set: [bool; 5], outcome: Result<Option<TlsSettings>, ConfigError>) {
    let [ca, cert, key, common_name, uri_san] = is_set;
    let context = format!("{} {is_set:?}", end.prefix);
    match outcome {
        Ok(None) => assert_eq!(is_set, [false; 5], "{context}"),
        Ok(Some(tls)) => {
            assert!(ca && cert && key && (common_name || uri_san), "{context}");
            assert_eq!(tls.required_peer.required_common_name(), common_name.then_some("peer"), "{context}");
            let required = tls.required_peer.required_uri_san();
            assert_eq!(required, uri_san.then_some("spiffe://td/peer"), "{context}");
        }
        Err(ConfigError::Incomplete { names, set, missing, .. }) => {
            assert_ne!(is_set, [false; 5], "{context}");
            assert_eq!(names, end.either);
            let expected_set: Vec<_> = (0..5)
                .filter(|&index| is_set[index])
                .map(|index| {
                    let variable = format!("{}{}", end.prefix, end.names[index].to_uppercase());
                    format!("{} (from environment variable {variable})", end.names[index])
                })
                .collect();
            assert_eq!(set, expected_set, "{context}");
            let mut expected_missing: Vec<_> =
                (0..3).filter(|&index| !is_set[index]).map(|index| end.names[index]).collect();
            if !common_name && !uri_san {
                expected_missing.push(end.either);
            }
            assert_eq!(missing, expected_missing, "{context}");
            assert!(!missing.is_empty(), "{context}");
        }
        Err(other) => panic!("{context}: {other:?}"),
    }
}

#[test]
fn all_five_tls_parameters_or_none() {
    for end in &ENDS {
        let dir = Dir::new();
        let settings = end.settings(&dir);
        let all = borrowed(&settings);
        for subset in 0..32_u8 {
            let is_set: [bool; 5] = std::array::from_fn(|index| subset & (1 << index) != 0);
            let only = |unset: &'static str| -> Vec<_> {
                let value = |index: usize| if is_set[index] { all[index].1 } else { unset };
                (0..5).map(|index| (all[index].0, value(index))).collect()
            };
            let absent: Vec<_> = only("").into_iter().filter(|(_, value)| !value.is_empty()).collect();
            for settings in [&absent, &only(""), &only("none"), &only("nOnE")] {
                let sources = Place::Environment.only(&dir, end.prefix, settings);
                assert_subset(end, is_set, (end.load)(&sources));
            }
            // `none` counts also where a lower source sets the parameter.
            let sources = Place::Environment.only(&dir, end.prefix, &only("none"));
            let sources = Place::File.set(sources, &dir, end.prefix, &all);
            assert_subset(end, is_set, (end.load)(&sources));
        }
    }
}

#[test]
fn an_incomplete_configuration_is_told_in_calico_s_words() {
    for (end, name) in ENDS.iter().zip(["ClientCN", "TyphaCN"]) {
        let dir = Dir::new();
        let sources = Place::File.only(&dir, end.prefix, &[(name, "peer")]);
        let [ca, cert, key, ..] = end.names;
        assert_eq!(
            (end.load)(&sources).unwrap_err().to_string(),
            format!(
                "if any Felix-Typha TLS config parameters are specified, they _all_ must be - except that either {} \
                 may be left unset; set {ca}, {cert}, {key}, too, beside {name} (from file {})",
                end.either,
                dir.text("daemon.cfg")
            )
        );
    }
}

#[test]
fn a_typo_in_a_name_does_not_turn_tls_off() {
    for end in &ENDS {
        let dir = Dir::new();
        let mut settings = end.settings(&dir).to_vec();
        settings.truncate(4);
        for index in 0..4 {
            let mut misspelt = borrowed(&settings);
            let name = format!("{}s", misspelt[index].0);
            misspelt[index].0 = &name;
            for place in PLACES {
                let error = (end.load)(&place.only(&dir, end.prefix, &misspelt)).unwrap_err();
                let told = match place {
                    // What the program sets is for this crate alone.
                    Place::Program => {
                        matches!(&error, ConfigError::UnknownParameter(unknown) if *unknown == name)
                    }
                    _ => matches!(error, ConfigError::Incomplete { .. }),
                };
                assert!(told, "{name} in {place:?}: {error:?}");
            }
        }
    }
}

// Values of the TLS parameters.

#[test]
fn a_file_that_can_not_be_read_is_an_error() {
    for end in &ENDS {
        let dir = Dir::new();
        std::fs::create_dir(dir.path("directory")).unwrap();
        dir.write("file", "");
        let bad = ["missing.pem", "directory", "file/ca.pem", "ca.pem ", "CA\u{fc}.pem"];
        for name in &end.names[..3] {
            for place in PLACES {
                for value in bad.map(|value| dir.text(value)) {
                    // A file has no blanks at the end of a value.
                    if place == Place::File && value.ends_with(' ') {
                        continue;
                    }
                    let settings = end.settings_but(&dir, name, &value);
                    let error = (end.load)(&place.only(&dir, end.prefix, &borrowed(&settings))).unwrap_err();
                    let from = place.source(&dir, end.prefix, name);
                    assert_unusable(error, name, &from, &value, "the file can not be read: ");
                }
            }
        }
    }
}

#[cfg(unix)]
#[test]
fn a_file_without_permission_is_an_error() {
    use std::os::unix::fs::PermissionsExt as _;

    let dir = Dir::new();
    let settings = TYPHA.settings(&dir);
    std::fs::set_permissions(dir.path("key.pem"), std::fs::Permissions::from_mode(0o000)).unwrap();
    let outcome = (TYPHA.load)(&Place::Environment.only(&dir, TYPHA.prefix, &borrowed(&settings)));
    if std::fs::File::open(dir.path("key.pem")).is_ok() {
        // Nothing is unreadable to root.
        return;
    }
    let from = Place::Environment.source(&dir, TYPHA.prefix, "ServerKeyFile");
    let why = "the file can not be read: Permission denied";
    assert_unusable(outcome.unwrap_err(), "ServerKeyFile", &from, &dir.text("key.pem"), why);
}

#[test]
fn a_uri_that_no_peer_can_present_is_an_error() {
    for end in &ENDS {
        let dir = Dir::new();
        let name = end.names[4];
        for place in PLACES {
            for (value, why) in [
                ("spiffe://TD/peer", "the required URI SAN \"spiffe://TD/peer\" is not a valid SPIFFE ID: "),
                (
                    "spiffe://td/peer/",
                    "the required URI SAN \"spiffe://td/peer/\" is not a valid SPIFFE ID: ",
                ),
                ("Spiffe://td/peer", "the required URI SAN \"Spiffe://td/peer\" is not a valid SPIFFE ID: "),
                ("https://a b", "the required URI SAN \"https://a b\" has white space"),
                ("https://\u{e9}", "the required URI SAN \"https://\\u{e9}\" has white space"),
            ] {
                let settings = end.settings_but(&dir, name, value);
                let error = (end.load)(&place.only(&dir, end.prefix, &borrowed(&settings))).unwrap_err();
                assert_unusable(error, name, &place.source(&dir, end.prefix, name), value, why);
            }
        }
    }
}

#[test]
fn a_common_name_may_be_any_text() {
    for end in &ENDS {
        let dir = Dir::new();
        for value in ["Typha Client", "*", "\u{540d}", "nones", "a=b", "#1"] {
            let settings = end.settings_but(&dir, end.names[3], value);
            let sources = Place::Environment.only(&dir, end.prefix, &borrowed(&settings));
            let tls = (end.load)(&sources).unwrap().unwrap();
            assert_eq!(tls.required_peer.required_common_name(), Some(value));
        }
    }
}

// The two variables of the process.

fn policy(variables: &[(&str, &str)]) -> Result<TlsPolicy, ConfigError> {
    let dir = Dir::new();
    let settings = TYPHA.settings(&dir);
    let environment = settings
        .iter()
        .map(|(name, value)| (format!("TYPHA_{name}"), value.clone()))
        .chain(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    let sources = Sources::none().with_prefixes(["TYPHA_"]).with_environment(environment);
    (TYPHA.load)(&sources).map(|tls| tls.unwrap().policy)
}

/// The `Debug` output tells versions, suites and groups.
fn shown(policy: &TlsPolicy) -> String {
    format!("{policy:?}")
}

#[test]
fn the_policy_of_the_process() {
    let default = shown(&TlsPolicy::builder().build().unwrap());
    let tls13 = shown(&TlsPolicy::builder().min_version("1.3").build().unwrap());
    let suite = "TLS_AES_128_GCM_SHA256";
    let one_suite = shown(&TlsPolicy::builder().cipher_suites(suite).build().unwrap());
    assert!(default.contains("TLSv1_2") && !tls13.contains("TLSv1_2"), "{default} {tls13}");
    assert_ne!(default, one_suite);
    for (variables, expected) in [
        (&[][..], &default),
        (&[("TLS_MIN_VERSION", "")], &default),
        (&[("TLS_MIN_VERSION", "1.2")], &default),
        (&[("TLS_MIN_VERSION", "1.3")], &tls13),
        (&[("TLS_CIPHER_SUITES", "")], &default),
        (&[("TLS_CIPHER_SUITES", " , ")], &default),
        (&[("TLS_CIPHER_SUITES", suite)], &one_suite),
        (&[("TLS_CIPHER_SUITES", suite), ("TLS_MIN_VERSION", "1.3")], &one_suite),
        // Exactly these names, without a prefix.
        (&[("tls_min_version", "1.3"), ("TYPHA_TLS_MIN_VERSION", "1.3")], &default),
    ] {
        assert_eq!(&shown(&policy(variables).unwrap()), expected, "{variables:?}");
    }
    let list = "TLS_AES_256_GCM_SHA384,TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256";
    let two = policy(&[("TLS_CIPHER_SUITES", list)]).unwrap();
    assert_eq!(two.cipher_suites().collect::<Vec<_>>().join(","), list);
}

#[test]
fn the_provider_of_the_program() {
    let dir = Dir::new();
    let mut provider = CryptoProvider::clone(TlsPolicy::builder().build().unwrap().provider());
    provider.cipher_suites.truncate(1);
    for end in ENDS {
        let settings = end.settings(&dir);
        let sources = Place::File.only(&dir, end.prefix, &borrowed(&settings));
        let tls = (end.load)(&sources.with_provider(Arc::new(provider.clone()))).unwrap().unwrap();
        assert_eq!(tls.policy.cipher_suites().collect::<Vec<_>>(), ["TLS_AES_128_GCM_SHA256"]);
    }
}

#[test]
fn a_bad_policy_of_the_process_is_an_error() {
    let version = "is not supported; supported are \"1.2\" and \"1.3\"";
    for value in ["1.1", "1.0", "1.4", "TLS1.3", "VersionTLS13", "none", " 1.3", "3"] {
        let from = "environment variable TLS_MIN_VERSION";
        let error = policy(&[("TLS_MIN_VERSION", value)]).unwrap_err();
        let why = format!("the TLS version \"{value}\" {version}");
        assert_unusable(error, "TLS_MIN_VERSION", from, value, &why);
    }
    let from = "environment variable TLS_CIPHER_SUITES";
    for (value, bad) in [
        ("TLS_RSA_WITH_AES_128_CBC_SHA", "TLS_RSA_WITH_AES_128_CBC_SHA"),
        ("TLS_AES_128_GCM_SHA256,tls_aes_256_gcm_sha384", "tls_aes_256_gcm_sha384"),
        ("TLS_AES_128_GCM_SHA256 TLS_AES_256_GCM_SHA384", "TLS_AES_128_GCM_SHA256 TLS_AES_256_GCM_SHA384"),
        ("none", "none"),
    ] {
        let error = policy(&[("TLS_CIPHER_SUITES", value)]).unwrap_err();
        let why = format!("the cipher suite \"{bad}\" is not supported; supported are TLS_");
        assert_unusable(error, "TLS_CIPHER_SUITES", from, value, &why);
    }
    // Each is good, but TLS 1.3 has nothing of what is asked for.
    let suites = "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256";
    let both = policy(&[("TLS_CIPHER_SUITES", suites), ("TLS_MIN_VERSION", "1.3")]).unwrap();
    assert!(!shown(&both).contains("TLSv1_2"));
}

// Which source wins.

fn port(sources: &Sources) -> Result<u16, ConfigError> {
    TyphaConfig::load(sources).map(|config| config.server_port)
}

#[test]
fn the_program_wins_over_the_environment_and_that_over_the_file() {
    let dir = Dir::new();
    // What a place says; the last that says something, from the file up, wins.
    let says = ["", "none", "1", "2"];
    for file in says {
        for environment in says {
            for program in says {
                let mut sources = Sources::none();
                for (place, value) in PLACES.into_iter().zip([environment, file, program]) {
                    sources = place.set(sources, &dir, "TYPHA_", &[("ServerPort", value)]);
                }
                let winner = [program, environment, file].into_iter().find(|value| !value.is_empty());
                let expected = match winner {
                    None | Some("none") => 5473,
                    Some(number) => number.parse().unwrap(),
                };
                assert_eq!(port(&sources).unwrap(), expected, "{file:?} {environment:?} {program:?}");
            }
        }
    }
}

#[test]
fn a_bad_value_is_an_error_only_where_it_wins() {
    let dir = Dir::new();
    let sources = Place::File.only(&dir, "TYPHA_", &[("ServerPort", "bad")]);
    assert!(port(&sources).is_err());
    assert_eq!(port(&sources.clone().with_value("ServerPort", "6000")).unwrap(), 6000);
    let sources = Place::File.only(&dir, "TYPHA_", &[("ServerPort", "6000")]).with_value("ServerPort", "bad");
    assert_unusable(
        port(&sources).unwrap_err(),
        "ServerPort",
        "program or command line",
        "bad",
        "it is not a decimal",
    );
}

#[test]
fn names_have_no_case() {
    let dir = Dir::new();
    for name in ["SERVERPORT", "serverport", "sErVeRpOrT"] {
        let variables = [(format!("TYPHA_{name}"), "1"), (format!("typha_{name}"), "1")];
        for variable in variables {
            let sources = Sources::none().with_prefixes(["TYPHA_"]).with_environment([variable.clone()]);
            assert_eq!(port(&sources).unwrap(), 1, "{variable:?}");
        }
        assert_eq!(port(&Place::File.only(&dir, "TYPHA_", &[(name, "2")])).unwrap(), 2, "{name}");
        assert_eq!(port(&Sources::none().with_value(name, "3")).unwrap(), 3, "{name}");
    }
}

#[test]
fn names_that_are_not_known_are_ignored() {
    let dir = Dir::new();
    let unknown =
        [("LogSeverityScreen", "debug"), ("Server", "x"), ("ServerPort2", "1"), ("", "1"), ("é", "1")];
    assert_eq!(port(&Place::Environment.only(&dir, "TYPHA_", &unknown)).unwrap(), 5473);
    let sources = Place::File.only(&dir, "TYPHA_", &[("LogFilePath", "/x"), ("log_a.b-c", "1")]);
    assert_eq!(port(&sources).unwrap(), 5473);
    for variable in ["SERVERPORT", "XTYPHA_SERVERPORT", "TYPHA", "TYPHA-SERVERPORT", "é"] {
        let sources = Sources::none().with_prefixes(["TYPHA_"]).with_environment([(variable, "1")]);
        assert_eq!(port(&sources).unwrap(), 5473, "{variable}");
    }
}

#[test]
fn of_two_values_by_the_program_the_last_wins() {
    let sources = Sources::none().with_value("ServerPort", "1").with_value("serverport", "2");
    assert_eq!(port(&sources).unwrap(), 2);
    let error = port(&sources.with_value("ServerPrt", "3")).unwrap_err();
    assert_eq!(error.to_string(), "there is no parameter \"ServerPrt\"");
}

#[test]
fn a_key_pasted_where_its_file_belongs_is_not_shown() {
    let secret = "c2VjcmV0".repeat(16);
    let dir = Dir::new();
    for key in [
        format!("-----BEGIN PRIVATE KEY-----\n{secret}\n-----END PRIVATE KEY-----"),
        secret.clone(),
        format!("{}\n{}", &secret[..64], &secret[64..]),
        format!("{}\\n{}", &secret[..64], &secret[64..]),
        format!("{secret}-_"),
    ] {
        let settings =
            [("CAFile", &*key), ("ServerCertFile", &key), ("ServerKeyFile", &key), ("ClientCN", "x")];
        let error = port(&Place::Environment.only(&dir, "TYPHA_", &settings)).unwrap_err();
        assert!(error.to_string().contains("has the value \"(not shown: it looks like a key)\""), "{error}");
        assert!(!format!("{error} {error:?}").contains("c2VjcmV0"), "{error:?}");
    }
}

#[test]
fn sources_show_neither_environment_nor_values() {
    let sources = Sources::felix().with_environment([("PASSWORD", "secret")]).with_value("TyphaCN", "secret");
    assert_eq!(
        format!("{sources:?}"),
        r#"Sources { prefixes: ["FELIX_"], file: IfItExists("/etc/calico/felix.cfg"), .. }"#
    );
}

#[test]
fn two_variables_that_differ_in_case_only() {
    let sources = |first: &str, second: &str| {
        Sources::none().with_prefixes(["TYPHA_"]).with_environment([
            ("TYPHA_SERVERPORT", first.to_owned()),
            ("typha_ServerPort", second.to_owned()),
            ("TYPHA_UNKNOWN", "1".to_owned()),
            ("typha_unknown", "2".to_owned()),
        ])
    };
    assert_eq!(port(&sources("1", "1")).unwrap(), 1);
    // Empty counts as not set.
    assert_eq!(port(&sources("", "2")).unwrap(), 2);
    let error = port(&sources("1", "2")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the environment variables TYPHA_SERVERPORT and typha_ServerPort set the same parameter to different values; \
         unset one"
    );
    assert!(matches!(error, ConfigError::Ambiguous { first, second, .. }
        if (&*first, &*second) == ("TYPHA_SERVERPORT", "typha_ServerPort")));
}

#[cfg(unix)]
#[test]
fn variables_that_are_no_text() {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt as _;

    let not_utf8 = || OsString::from_vec(b"/ca\xff.pem".to_vec());
    let sources = |name: OsString| {
        Sources::none().with_prefixes(["TYPHA_", "\u{e9}"]).with_environment([(name, not_utf8())])
    };
    let from = "environment variable TYPHA_CAFILE";
    let error = (TYPHA.load)(&sources("TYPHA_CAFILE".into())).unwrap_err();
    assert_unusable(error, "CAFile", from, "/ca\u{fffd}.pem", "it is not valid UTF-8");
    // Of no concern here.
    for name in ["TYPHA_OTHER".into(), "OTHER".into(), OsString::from_vec(b"TYPHA_\xff".to_vec())] {
        assert!((TYPHA.load)(&sources(name)).unwrap().is_none());
    }

    let dir = Dir::new();
    let settings = TYPHA.settings(&dir).map(|(name, value)| (format!("TYPHA_{name}").into(), value.into()));
    let mut variables: Vec<(OsString, OsString)> = settings.to_vec();
    variables.push(("TLS_MIN_VERSION".into(), not_utf8()));
    let sources = Sources::none().with_prefixes(["TYPHA_"]).with_environment(variables);
    let from = "environment variable TLS_MIN_VERSION";
    let error = (TYPHA.load)(&sources).unwrap_err();
    assert_unusable(error, "TLS_MIN_VERSION", from, "/ca\u{fffd}.pem", "it is not valid UTF-8");
}

#[cfg(unix)]
#[test]
fn secrets_are_not_shown() {
    use std::os::unix::ffi::OsStringExt as _;

    let variables = ["ETCD_PASSWORD", "K8S_API_TOKEN", "ETCD_ENDPOINTS"];
    let value = || std::ffi::OsString::from_vec(b"https://u:hunter2@a\xff".to_vec());
    let sources = Sources::none().with_environment(variables.map(|name| (name, value())));
    for name in variables {
        let error = sources.variable(name).unwrap_err();
        let from = format!("environment variable {name}");
        assert_unusable(error, name, &from, "(not shown: it may be a secret)", "it is not valid UTF-8");
    }
    let sources = Sources::none().with_environment([("ETCD_PASSWORD", "hunter2")]);
    let setting = sources.variable("ETCD_PASSWORD").unwrap().unwrap();
    assert_eq!(setting.value, "hunter2");
    assert_eq!(format!("{setting:?}"), "Setting { source: \"environment variable ETCD_PASSWORD\", .. }");
}

#[test]
fn an_empty_variable_is_there_and_has_no_value() {
    let sources = Sources::none().with_environment([("ETCD_ENDPOINTS", "")]);
    assert!(sources.has_variable("ETCD_ENDPOINTS") && !sources.has_variable("ETCD_PASSWORD"));
    assert!(sources.variable("ETCD_ENDPOINTS").unwrap().is_none());
}

// The configuration file.

fn host_and_port(dir: &Dir, text: &str) -> Result<(Option<String>, u16), ConfigError> {
    let config = TyphaConfig::load(&Sources::none().with_file(dir.write("typha.cfg", text)))?;
    Ok((config.server_host, config.server_port))
}

/// Texts that set `ServerHost = h` and `ServerPort = 7`.
const GOOD_FILES: &[&str] = &[
    "ServerHost = h\nServerPort = 7\n",
    "ServerHost=h\r\nServerPort=7\r\n",
    "ServerHost: h\nServerPort\t:\t7",
    "\u{feff}ServerHost = h\nServerPort = 7",
    "\u{feff}[global]\r\nServerHost = h\r\nServerPort = 7",
    "[global]\nServerHost = h\n[other]\nServerPort = 7\n",
    "ServerHost = h\n[a]\n[]\n[a b = c]\nServerPort = 7\n[end]",
    "[a] # comment\nServerHost = h\n[b]; comment\nServerPort = 7\n",
    "# ServerHost = x\n; ServerPort = 8\n#\n;\nServerHost = h\n#ServerHost = y\nServerPort = 7",
    "ServerHost = h # comment\nServerPort = 7\t; comment\n",
    "\n\n  \n\t\nServerHost = h\n \nServerPort = 7\n   ",
    "  ServerHost  =  h  \n\tServerPort\t=\t7\t\n",
    "ServerHost = \"h\"\nServerPort = '7'\n",
    "ServerHost = `h`\nServerPort = \"7\"\n",
    "ServerHost = h\rServerPort = 7\r",
    "ServerHost = \"h\" # comment\nServerPort = '7' ; comment\n",
    "ServerHost = x\nServerPort = 8\nServerHost = h\nServerPort = 7\n",
    "[a]\nServerHost = x\nServerPort = 8\n[b]\nserverhost = h\n[a]\nSERVERPORT = 7\n",
    "ServerHost = h\nServerHost =\nServerPort = 7\nServerPort = \"\"\n",
    "LogFilePath = a=b:c\nServerHost = h\nLogPrefix =\nServerPort = 7\n",
    "Motto = it's \"fine\"\nServerHost = h\nUnknown = \u{1f600}\nServerPort = 7\n",
    "Path = C:\\temp\\new\nServerHost = h\nServerPort = 7\n",
];

#[test]
fn what_a_file_may_look_like() {
    let dir = Dir::new();
    for text in GOOD_FILES {
        assert_eq!(host_and_port(&dir, text).unwrap(), (Some("h".to_owned()), 7), "{text:?}");
    }
}

#[test]
fn comments_may_be_indented() {
    let dir = Dir::new();
    for text in [
        "ServerHost = h\n  # comment\nServerPort = 7\n",
        "ServerHost = h\n\t; comment = 1\nServerPort = 7\n",
        "  # comment\nServerHost = h\n  [global]\n # comment\n  ServerPort = 7\n",
    ] {
        assert_eq!(host_and_port(&dir, text).unwrap(), (Some("h".to_owned()), 7), "{text:?}");
    }
}

#[test]
fn a_comment_is_no_value() {
    let dir = Dir::new();
    let text = "ServerHost = h\nServerHost = # not set here\nServerPort = 7\nServerPort = ; nor here\n";
    assert_eq!(host_and_port(&dir, text).unwrap(), (Some("h".to_owned()), 7));
}

#[test]
fn a_line_that_is_not_clear_is_an_error() {
    let dir = Dir::new();
    let no_assignment = "it is not `name = value`";
    let no_name = "there is no name in front of the value";
    let section = "a section is a name in brackets, on a line of its own";
    let quote = "the value is quoted, but its line does not end with the quote";
    let continued = "a value can not be continued on the next line";
    for (text, line, problem) in [
        ("ServerPort 7\n", 1, no_assignment),
        ("[global]\nServerPort\nServerHost = h\n", 2, no_assignment),
        ("ServerHost = h\r\n\r\nServerPort 7\r\n", 3, no_assignment),
        ("ServerPort = 7\n ]", 2, no_assignment),
        ("---\n", 1, no_assignment),
        ("# comment\n= 7\n", 2, no_name),
        (": 7", 1, no_name),
        ("[global\nServerPort = 7\n", 1, section),
        ("[global] ServerPort = 7\n", 1, section),
        ("ServerHost = h\nServerPort = '7\n", 2, quote),
        ("Unknown = \"a\" b\nServerPort = 7\n", 1, quote),
        ("ServerPort = \\\n7\n", 1, continued),
        ("Unknown = a \\ # comment\nServerPort = 7\n", 1, continued),
    ] {
        let error = host_and_port(&dir, text).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "the configuration file {} can not be parsed: line {line}: {problem}",
                dir.text("typha.cfg")
            ),
            "{text:?}"
        );
        assert!(matches!(error, ConfigError::FileSyntax { path, .. } if path == dir.path("typha.cfg")));
    }
}

#[test]
fn no_line_swallows_the_next_name() {
    let dir = Dir::new();
    let mut swallowed = String::new();
    for before in [
        "garbage",
        "  garbage",
        "[a",
        "[a] garbage",
        "[a] x [b",
        "# comment that ends in \\\ngarbage",
        "; comment that ends in \\\ngarbage",
        "Path = C:\\dir\\",
        "Path = C:\\dir\\\r",
        "Path = C:\\dir\\\r\ngarbage\r",
        "Path = C:\\dir\\ \ngarbage",
        "Path = 'C:\\dir\\'",
        "Path = a \\\nb # comment",
        "Path = 1\rgarbage",
        "Path = \"/var/log",
        "Path = '/var/log",
        "Path = \"/var/log'",
        "Path = \"/var/log\" \"",
    ] {
        let text = format!("{before}\nServerPort = 7\nOther = \"1\"\nAnother = '2'\n");
        match host_and_port(&dir, &text) {
            Ok((_, 7)) | Err(ConfigError::FileSyntax { .. }) => {}
            other => writeln!(swallowed, "{before:?}: {other:?}").unwrap(),
        }
    }
    assert!(swallowed.is_empty(), "\n{swallowed}");
}

#[test]
fn an_open_quote_does_not_turn_tls_off() {
    let dir = Dir::new();
    let settings = TYPHA.settings(&dir);
    let lines: String = settings.iter().map(|(name, value)| format!("{name} = {value}\n")).collect();
    for quote in ['"', '\''] {
        let text = format!("LogFilePath = {quote}/var/log\n{lines}LogPrefix = {quote}x{quote}\n");
        let outcome = (TYPHA.load)(&Sources::none().with_file(dir.write("typha.cfg", text)));
        assert!(!matches!(outcome, Ok(None)), "{quote}");
    }
}

#[test]
fn a_file_that_is_no_text_is_an_error() {
    let dir = Dir::new();
    let path = dir.write("typha.cfg", b"ServerPort = 7\nOther = \xff\n");
    let error = port(&Sources::none().with_file(&path)).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("the configuration file {} can not be parsed: it is not UTF-8 text", path.display())
    );
}

#[test]
fn a_configuration_file_that_can_not_be_read_is_an_error() {
    use std::io::ErrorKind;

    let dir = Dir::new();
    dir.write("file", "");
    std::fs::create_dir(dir.path("directory")).unwrap();
    let large = std::fs::File::create(dir.path("large")).unwrap();
    large.set_len(16 * 1024 * 1024 + 1).unwrap();
    for (name, kind) in [
        ("missing", ErrorKind::NotFound),
        ("file/typha.cfg", ErrorKind::NotADirectory),
        ("directory", ErrorKind::InvalidInput),
        ("large", ErrorKind::FileTooLarge),
    ] {
        let error =
            port(&Sources::none().with_file(dir.path(name)).with_value("ServerPort", "7")).unwrap_err();
        let text = format!("the configuration file {} can not be read", dir.text(name));
        assert_eq!(error.to_string(), text);
        let ConfigError::File { path, source, .. } = error else { panic!("{name}: {error:?}") };
        assert_eq!((path, source.kind()), (dir.path(name), kind));
    }
    assert_eq!(port(&Sources::none()).unwrap(), 5473);
}
