//! Typha's parameters: each one, from each place, with its default and with values that can not be used.

use std::time::Duration;

use crate::material::{Dir, PLACES, Place, assert_unusable};
use typha_tls::RequiredIdentity;
use typha_tls::config::{ConfigError, SetupError, Sources, TlsSettings, TyphaConfig};
use typha_tls::material::TlsFiles;
use typha_tls::policy::TlsPolicy;
use typha_tls::testing::TestPki;

const PREFIX: &str = "TYPHA_";

fn load(sources: &Sources) -> Result<TyphaConfig, ConfigError> {
    TyphaConfig::load(sources)
}

fn load_one(place: Place, dir: &Dir, name: &str, value: &str) -> Result<TyphaConfig, ConfigError> {
    load(&place.only(dir, PREFIX, &[(name, value)]))
}

struct Parameter {
    name: &'static str,
    read: fn(&TyphaConfig) -> String,
    default: &'static str,
    /// Values that can be used, and what they mean.
    good: &'static [(&'static str, &'static str)],
    bad: &'static [&'static str],
    why: &'static str,
}

const SECONDS: &str = "it is not a number of seconds from 0 to 1000000000";
const COUNT: &str = "it is not a decimal number from 1 to 4294967295";
const BAD_SECONDS: &[&str] =
    &["ten", "-1", "10s", "1,5", "nan", "inf", "1000000001", "1e10", "0x10", "1 0", "--1"];
const BAD_COUNTS: &[&str] = &["0", "none", "many", "-1", "1.5", "4294967296", "010", "0x10", "1e3", "1_000"];

const PARAMETERS: &[Parameter] = &[
    Parameter {
        name: "ServerHost",
        read: |config| format!("{:?}", config.server_host),
        default: "None",
        good: &[
            ("127.0.0.1", r#"Some("127.0.0.1")"#),
            ("::1", r#"Some("::1")"#),
            ("typha-1.example", r#"Some("typha-1.example")"#),
            ("none", "None"),
        ],
        bad: &["[::1]", "a b", "typha/1", "typha:\u{e9}", "$(hostname)"],
        why: "it is neither an IP address nor a host name",
    },
    Parameter {
        name: "ServerPort",
        read: |config| config.server_port.to_string(),
        default: "5473",
        good: &[("1", "1"), ("65535", "65535"), ("0", "5473"), ("none", "5473"), ("+1", "1")],
        bad: &["65536", "-1", "5473.0", "05473", "0x1561", "calico-typha", "54 73", "4294967296"],
        why: "it is not a decimal number from 0 to 65535",
    },
    Parameter {
        name: "ServerHandshakeTimeoutSecs",
        read: |config| format!("{:?}", config.handshake_timeout),
        default: "10s",
        good: &[("3", "3s"), ("0.25", "250ms"), ("1000000000", "1000000000s")],
        bad: BAD_SECONDS,
        why: SECONDS,
    },
    Parameter {
        name: "ServerWriteTimeoutSecs",
        read: |config| format!("{:?}", config.write_timeout),
        default: "Some(120s)",
        good: &[("3", "Some(3s)"), ("1.5", "Some(1.5s)"), ("0", "None"), ("none", "None")],
        bad: BAD_SECONDS,
        why: SECONDS,
    },
    Parameter {
        name: "MaxConnectionsUpperLimit",
        read: |config| config.max_connections_upper_limit.to_string(),
        default: "10000",
        good: &[("1", "1"), ("4294967295", "4294967295")],
        bad: BAD_COUNTS,
        why: COUNT,
    },
    Parameter {
        name: "MaxConnectionsLowerLimit",
        read: |config| config.max_connections_lower_limit.to_string(),
        default: "400",
        good: &[("1", "1"), ("10000", "10000")],
        bad: BAD_COUNTS,
        why: COUNT,
    },
    Parameter {
        name: "ConnectionDropIntervalSecs",
        read: |config| format!("{:?}", config.connection_drop_interval),
        default: "1s",
        good: &[("2", "2s"), ("0.5", "500ms")],
        bad: BAD_SECONDS,
        why: SECONDS,
    },
    Parameter {
        name: "ShutdownTimeoutSecs",
        read: |config| format!("{:?}", config.shutdown_timeout),
        default: "300s",
        good: &[("60", "60s"), ("0", "0ns"), ("none", "0ns")],
        bad: BAD_SECONDS,
        why: SECONDS,
    },
    Parameter {
        name: "ShutdownConnectionDropIntervalMaxSecs",
        read: |config| format!("{:?}", config.shutdown_connection_drop_interval_max),
        default: "1s",
        good: &[("5", "5s"), ("0", "0ns"), ("none", "0ns")],
        bad: BAD_SECONDS,
        why: SECONDS,
    },
];

#[test]
fn nothing_set_gives_the_defaults() {
    let dir = Dir::new();
    let empty = dir.write("empty.cfg", "");
    let configs = [
        TyphaConfig::default(),
        load(&Sources::none()).unwrap(),
        load(&Sources::none().with_prefixes([PREFIX]).with_file(empty)).unwrap(),
    ];
    for config in configs {
        assert!(config.tls.is_none());
        assert_eq!(config.listen_address(), ("::", 5473));
        for parameter in PARAMETERS {
            assert_eq!((parameter.read)(&config), parameter.default, "{}", parameter.name);
        }
        let error = config.acceptor().unwrap_err();
        assert!(matches!(error, SetupError::TlsNotConfigured { .. }));
        assert_eq!(
            error.to_string(),
            "TLS is not configured; set CAFile, ServerCertFile, ServerKeyFile, and ClientCN or ClientURISAN"
        );
    }
}

#[test]
fn each_parameter_from_each_place() {
    let dir = Dir::new();
    for parameter in PARAMETERS {
        for place in PLACES {
            for &(value, meaning) in parameter.good {
                let config = load_one(place, &dir, parameter.name, value).unwrap();
                assert_eq!((parameter.read)(&config), meaning, "{} = {value} in {place:?}", parameter.name);
                for other in PARAMETERS.iter().filter(|other| other.name != parameter.name) {
                    assert_eq!(
                        (other.read)(&config),
                        other.default,
                        "{} sets {}",
                        parameter.name,
                        other.name
                    );
                }
            }
            let config = load_one(place, &dir, parameter.name, "").unwrap();
            assert_eq!((parameter.read)(&config), parameter.default, "empty {} in {place:?}", parameter.name);
        }
    }
}

#[test]
fn what_can_not_be_used_is_refused_with_its_place() {
    let dir = Dir::new();
    for parameter in PARAMETERS {
        for place in PLACES {
            for value in parameter.bad {
                let error = load_one(place, &dir, parameter.name, value).unwrap_err();
                let from = place.source(&dir, PREFIX, parameter.name);
                assert_unusable(error, parameter.name, &from, value, parameter.why);
            }
        }
    }
}

#[test]
fn a_bound_on_the_handshake_and_a_pace_are_never_zero() {
    let dir = Dir::new();
    for name in ["ServerHandshakeTimeoutSecs", "ConnectionDropIntervalSecs"] {
        let from = Place::Environment.source(&dir, PREFIX, name);
        for value in ["0", "0.0", "-0", "none"] {
            let error = load_one(Place::Environment, &dir, name, value).unwrap_err();
            assert_unusable(error, name, &from, value, "it must be greater than 0");
        }
    }
}

#[test]
fn a_bound_too_short_to_tell_from_none_is_an_error() {
    let dir = Dir::new();
    for name in ["ServerHandshakeTimeoutSecs", "ServerWriteTimeoutSecs"] {
        let from = Place::Environment.source(&dir, PREFIX, name);
        for value in ["1e-300", "0.9e-9"] {
            let error = load_one(Place::Environment, &dir, name, value).unwrap_err();
            let why = "it is not a number of seconds from 0 to 1000000000";
            assert_unusable(error, name, &from, value, why);
        }
    }
}

#[test]
fn a_host_name_has_at_most_64_characters() {
    let dir = Dir::new();
    let longest = "t".repeat(64);
    let config = load_one(Place::Program, &dir, "ServerHost", &longest).unwrap();
    assert_eq!(config.listen_address(), (&*longest, 5473));
    let error = load_one(Place::Program, &dir, "ServerHost", &"t".repeat(65)).unwrap_err();
    assert!(matches!(error, ConfigError::Value { parameter: "ServerHost", .. }), "{error:?}");
}

#[test]
fn numbers_may_stand_between_blanks() {
    let dir = Dir::new();
    let config = load_one(Place::Environment, &dir, "ServerPort", " 6000\t").unwrap();
    assert_eq!(config.server_port, 6000);
    let config = load_one(Place::Environment, &dir, "ServerWriteTimeoutSecs", " 7 ").unwrap();
    assert_eq!(config.write_timeout, Some(Duration::from_secs(7)));
}

#[test]
fn the_tls_parameters_from_each_place() {
    let dir = Dir::new();
    let [ca, cert, key] = ["ca.pem", "cert.pem", "key.pem"].map(|name| {
        dir.write(name, "");
        dir.text(name)
    });
    let settings = [
        ("CAFile", &*ca),
        ("ServerCertFile", &cert),
        ("ServerKeyFile", &key),
        ("ClientCN", "typha-client"),
        ("ClientURISAN", "spiffe://td/felix"),
    ];
    for place in PLACES {
        let tls = load(&place.only(&dir, PREFIX, &settings)).unwrap().tls.unwrap();
        assert_eq!(tls.files, TlsFiles::new(&ca, &cert, &key), "{place:?}");
        let required = RequiredIdentity::either("typha-client", "spiffe://td/felix").unwrap();
        assert_eq!(tls.required_peer, required, "{place:?}");
    }
}

#[test]
fn felix_s_names_mean_nothing_to_typha() {
    let dir = Dir::new();
    let names = ["TyphaCAFile", "TyphaCertFile", "TyphaKeyFile", "TyphaCN", "TyphaURISAN", "TyphaAddr"];
    for place in [Place::Environment, Place::File] {
        let settings = names.map(|name| (name, "/nowhere"));
        assert!(load(&place.only(&dir, PREFIX, &settings)).unwrap().tls.is_none(), "{place:?}");
    }
}

#[test]
fn an_acceptor_is_made_of_the_files() {
    let dir = Dir::new();
    let pki = TestPki::new().unwrap();
    dir.write_material(&pki.ca, &pki.typha);
    let (ca, cert, key) = (dir.text("ca.pem"), dir.text("cert.pem"), dir.text("key.pem"));
    let settings =
        [("CAFile", &*ca), ("ServerCertFile", &cert), ("ServerKeyFile", &key), ("ClientCN", "typha-client")];
    let config = load(&Place::File.only(&dir, PREFIX, &settings)).unwrap();
    let acceptor = config.acceptor().unwrap();
    let required = RequiredIdentity::common_name("typha-client").unwrap();
    assert_eq!(acceptor.verifier().required(), &required);

    dir.write("key.pem", pki.felix.key_pem());
    let error = config.acceptor().unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("{key}: the private key does not belong to the certificate in {cert}")
    );
}

#[test]
fn built_in_code() {
    let dir = Dir::new();
    let pki = TestPki::new().unwrap();
    dir.write_material(&pki.ca, &pki.typha);
    let files = TlsFiles::new(dir.path("ca.pem"), dir.path("cert.pem"), dir.path("key.pem"));
    let required = RequiredIdentity::uri_san("spiffe://td/felix").unwrap();
    let mut config = TyphaConfig::default();
    config.tls = Some(TlsSettings::new(files, required.clone(), TlsPolicy::builder().build().unwrap()));
    config.server_host = Some("10.0.0.1".to_owned());
    config.server_port = 6000;
    assert_eq!(config.listen_address(), ("10.0.0.1", 6000));
    assert_eq!(config.acceptor().unwrap().verifier().required(), &required);
}
