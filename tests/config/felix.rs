//! Felix's parameters: each one, from each place, with its default and with values that can not be used; and what is
//! Felix's alone: the endpoint, prefixes of other clients, and the slip in Calico's documentation.

use crate::material::{Dir, PLACES, Place, assert_unusable};
use typha_tls::RequiredIdentity;
use typha_tls::config::{ConfigError, FelixConfig, SetupError, Sources, TlsSettings};
use typha_tls::material::TlsFiles;
use typha_tls::policy::TlsPolicy;
use typha_tls::testing::TestPki;

const PREFIX: &str = "FELIX_";

fn load(sources: &Sources) -> Result<FelixConfig, ConfigError> {
    FelixConfig::load(sources)
}

fn load_one(place: Place, dir: &Dir, name: &str, value: &str) -> Result<FelixConfig, ConfigError> {
    load(&place.only(dir, PREFIX, &[(name, value)]))
}

struct Parameter {
    name: &'static str,
    read: fn(&FelixConfig) -> String,
    default: &'static str,
    /// Values that can be used, and what they mean.
    good: &'static [(&'static str, &'static str)],
    bad: &'static [&'static str],
    why: &'static str,
}

const SECONDS: &str = "it is not a number of seconds from 0 to 1000000000";
const BAD_SECONDS: &[&str] = &["ten", "-1", "30s", "1,5", "nan", "inf", "1e10", "0x10"];

const PARAMETERS: &[Parameter] = &[
    Parameter {
        name: "TyphaAddr",
        read: |config| format!("{:?}", config.typha_addr),
        default: "None",
        good: &[
            ("10.0.0.1:5473", r#"Some("10.0.0.1:5473")"#),
            ("[fd00::1]:5473", r#"Some("[fd00::1]:5473")"#),
            ("typha.example:1", r#"Some("typha.example:1")"#),
            ("localhost:65535", r#"Some("localhost:65535")"#),
            ("NoNe", "None"),
        ],
        bad: &[
            "typha",
            "typha:",
            ":5473",
            "typha:0",
            "typha:65536",
            "typha:+1",
            "typha:-1",
            "typha:calico-typha",
            "fd00::1:5473",
            "[fd00::1]",
            "[typha]:5473",
            "https://typha:5473",
            "ty pha:5473",
            "typha:5473/",
        ],
        why: "it is not of the form host:port",
    },
    Parameter {
        name: "TyphaK8sServiceName",
        read: |config| format!("{:?}", config.typha_k8s_service_name),
        default: "None",
        good: &[("calico-typha", r#"Some("calico-typha")"#), ("none", "None")],
        bad: &[],
        why: "",
    },
    Parameter {
        name: "TyphaK8sNamespace",
        read: |config| config.typha_k8s_namespace.clone(),
        default: "kube-system",
        good: &[("calico-system", "calico-system"), ("none", "")],
        bad: &[],
        why: "",
    },
    Parameter {
        name: "TyphaReadTimeout",
        read: |config| format!("{:?}", config.read_timeout),
        default: "Some(30s)",
        good: &[("5", "Some(5s)"), ("0.5", "Some(500ms)"), ("0", "None"), ("none", "None")],
        bad: BAD_SECONDS,
        why: SECONDS,
    },
    Parameter {
        name: "TyphaWriteTimeout",
        read: |config| format!("{:?}", config.write_timeout),
        default: "Some(10s)",
        good: &[("5", "Some(5s)"), ("1.25", "Some(1.25s)"), ("0.0", "None"), ("NONE", "None")],
        bad: BAD_SECONDS,
        why: SECONDS,
    },
    Parameter {
        name: "FelixHostname",
        read: |config| format!("{:?}", config.felix_hostname),
        default: "None",
        good: &[
            ("Node-1.example", r#"Some("Node-1.example")"#),
            ("192.0.2.1", r#"Some("192.0.2.1")"#),
            ("node_1", r#"Some("node_1")"#),
            ("none", "None"),
        ],
        bad: &["node 1", "node/1", "fd00::1", "n\u{f6}de"],
        why: "it may have letters, digits, `_`, `.` and `-` only",
    },
];

fn has_endpoint(config: &FelixConfig) -> bool {
    config.typha_addr.is_some() || config.typha_k8s_service_name.is_some()
}

#[test]
fn nothing_set_gives_the_defaults() {
    for config in [FelixConfig::default(), load(&Sources::none()).unwrap()] {
        assert!(config.tls.is_none());
        assert!(!has_endpoint(&config));
        let error = config.connector().unwrap_err();
        assert!(matches!(error, SetupError::TlsNotConfigured { .. }));
        assert_eq!(
            error.to_string(),
            "TLS is not configured; set TyphaCAFile, TyphaCertFile, TyphaKeyFile, and TyphaCN or TyphaURISAN"
        );
        for parameter in PARAMETERS {
            assert_eq!((parameter.read)(&config), parameter.default, "{}", parameter.name);
        }
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

/// The five TLS parameters, with files that can be read.
fn tls_settings(dir: &Dir) -> [(&'static str, String); 5] {
    let file = |name: &str| {
        dir.write(name, "");
        dir.text(name)
    };
    [
        ("TyphaCAFile", file("ca.pem")),
        ("TyphaCertFile", file("cert.pem")),
        ("TyphaKeyFile", file("key.pem")),
        ("TyphaCN", "typha-server".to_owned()),
        ("TyphaURISAN", "spiffe://td/typha".to_owned()),
    ]
}

fn assert_tls(config: &FelixConfig, dir: &Dir) {
    let tls = config.tls.as_ref().unwrap();
    let files = TlsFiles::new(dir.path("ca.pem"), dir.path("cert.pem"), dir.path("key.pem"));
    assert_eq!(tls.files, files);
    assert_eq!(tls.required_peer, RequiredIdentity::either("typha-server", "spiffe://td/typha").unwrap());
}

#[test]
fn the_tls_parameters_from_each_place() {
    let dir = Dir::new();
    let settings = tls_settings(&dir);
    let settings = settings.each_ref().map(|(name, value)| (*name, &**value));
    for place in PLACES {
        let config = load(&place.only(&dir, PREFIX, &settings)).unwrap();
        assert_tls(&config, &dir);
        assert!(!has_endpoint(&config), "TLS alone is no endpoint");
    }
}

#[test]
fn an_endpoint_is_configured_without_tls() {
    for (name, value) in [("TyphaAddr", "typha:5473"), ("TyphaK8sServiceName", "calico-typha")] {
        let config = load(&Sources::none().with_value(name, value)).unwrap();
        assert!(has_endpoint(&config), "{name}");
        assert!(config.tls.is_none(), "{name}");
        let config = load(&Sources::none().with_value(name, "none")).unwrap();
        assert!(!has_endpoint(&config), "{name}");
    }
    // A namespace alone says nothing of where Typha is.
    assert!(!has_endpoint(&load(&Sources::none().with_value("TyphaK8sNamespace", "ns")).unwrap()));
}

#[test]
fn the_first_prefix_that_sets_a_parameter_wins() {
    let environment = [
        ("CALICO_TYPHAADDR", "calico:1"),
        ("CONFD_TYPHAADDR", "confd:1"),
        ("FELIX_TYPHAADDR", "felix:1"),
        ("CALICO_TYPHAK8SNAMESPACE", "calico"),
        ("CONFD_TYPHAREADTIMEOUT", ""),
        ("CALICO_TYPHAREADTIMEOUT", "7"),
        ("CONFD_TYPHAK8SSERVICENAME", "none"),
        ("CALICO_TYPHAK8SSERVICENAME", "calico-typha"),
    ];
    let sources = |prefixes: [&str; 2]| Sources::none().with_prefixes(prefixes).with_environment(environment);
    let config = load(&sources(["CONFD_", "CALICO_"])).unwrap();
    assert_eq!(config.typha_addr.as_deref(), Some("confd:1"));
    assert_eq!(config.typha_k8s_namespace, "calico");
    assert_eq!(config.read_timeout.unwrap().as_secs(), 7, "an empty value is not set");
    assert_eq!(config.typha_k8s_service_name, None, "none is set");
    let config = load(&sources(["CALICO_", "CONFD_"])).unwrap();
    assert_eq!(config.typha_addr.as_deref(), Some("calico:1"));
    assert_eq!(config.typha_k8s_service_name.as_deref(), Some("calico-typha"));
    // No prefix, no variable.
    assert!(!has_endpoint(&load(&Sources::none().with_environment(environment)).unwrap()));
}

#[test]
fn the_tls_parameters_under_several_prefixes() {
    let dir = Dir::new();
    let variables = tls_settings(&dir).into_iter().enumerate().map(|(index, (name, value))| {
        let prefix = if index % 2 == 0 { "CONFD_" } else { "CALICO_" };
        (format!("{prefix}{}", name.to_uppercase()), value)
    });
    let sources = Sources::none().with_prefixes(["CONFD_", "CALICO_"]).with_environment(variables);
    assert_tls(&load(&sources).unwrap(), &dir);
}

#[test]
fn the_bad_value_of_the_winning_prefix_is_an_error() {
    let sources = Sources::none()
        .with_prefixes(["CONFD_", "CALICO_"])
        .with_environment([("CONFD_TYPHAADDR", "confd"), ("CALICO_TYPHAADDR", "calico:1")]);
    let from = "environment variable CONFD_TYPHAADDR";
    assert_unusable(load(&sources).unwrap_err(), "TyphaAddr", from, "confd", "it is not of the form");
}

#[test]
fn the_identity_of_typha_under_typha_s_own_names() {
    let dir = Dir::new();
    for (name, meant) in [("ClientCN", "TyphaCN"), ("ClientURISAN", "TyphaURISAN")] {
        for place in PLACES {
            let mut settings = tls_settings(&dir).to_vec();
            settings.push((name, "typha-server".to_owned()));
            let settings: Vec<_> = settings.iter().map(|(name, value)| (*name, &**value)).collect();
            for settings in [&settings[5..], &settings] {
                let error = load(&place.only(&dir, PREFIX, settings)).unwrap_err();
                let from = place.source(&dir, PREFIX, name);
                assert_eq!(
                    error.to_string(),
                    format!(
                        "{name} (from {from}) is a parameter of Typha; on Felix, the identity that Typha must have is \
                         set by {meant}"
                    )
                );
                assert!(matches!(error, ConfigError::WrongEnd { parameter, source_of_value, instead, .. }
                        if (parameter, instead) == (name, meant) && source_of_value == from));
            }
            for unset in ["", "none"] {
                assert!(load_one(place, &dir, name, unset).unwrap().tls.is_none(), "{name} = {unset}");
            }
        }
    }
}

#[test]
fn a_connector_is_made_of_the_files() {
    let dir = Dir::new();
    let pki = TestPki::new().unwrap();
    let settings = tls_settings(&dir);
    dir.write_material(&pki.ca, &pki.felix);
    let settings = settings.each_ref().map(|(name, value)| (*name, &**value));
    let config = load(&Place::Environment.only(&dir, PREFIX, &settings)).unwrap();
    let connector = config.connector().unwrap();
    let required = RequiredIdentity::either("typha-server", "spiffe://td/typha").unwrap();
    assert_eq!(connector.verifier().required(), &required);

    // The files are read at each call, as Felix does on each dial.
    std::fs::remove_file(dir.path("ca.pem")).unwrap();
    let error = config.connector().unwrap_err();
    assert_eq!(error.to_string(), format!("{}: it can not be read", dir.text("ca.pem")));
}

#[test]
fn a_dialer_knows_where_typha_is_and_on_which_node_we_are() {
    let dir = Dir::new();
    let pki = TestPki::new().unwrap();
    let settings = tls_settings(&dir);
    dir.write_material(&pki.ca, &pki.felix);
    let load = |more: &[(&str, &str)]| {
        let settings = settings.iter().map(|(name, value)| (*name, &**value)).chain(more.iter().copied());
        load(&settings.fold(Sources::none(), |sources, (name, value)| sources.with_value(name, value)))
            .unwrap()
    };
    let address = ("TyphaAddr", "typha.example:5473");
    let dialer = load(&[address, ("FelixHostname", "Node-1")]).dialer().unwrap();
    assert_eq!(dialer.node_name(), Some("Node-1"), "as it was set");
    assert_eq!(dialer.connector().verifier().required().to_string(), {
        RequiredIdentity::either("typha-server", "spiffe://td/typha").unwrap().to_string()
    });
    let dialer = load(&[address, ("TyphaK8sServiceName", "calico-typha")]).dialer().unwrap();
    let host_name = gethostname::gethostname().to_str().unwrap().trim().to_lowercase();
    assert_eq!(dialer.node_name(), Some(&*host_name));

    let without_tls = FelixConfig::default().dialer();
    assert!(matches!(without_tls, Err(SetupError::TlsNotConfigured { .. })), "without TLS no dialer");
    let error = load(&[]).dialer().unwrap_err();
    assert!(matches!(error, SetupError::NoEndpoint));
    assert_eq!(
        error.to_string(),
        "there is no Typha to connect to; set TyphaAddr (host:port) or TyphaK8sServiceName"
    );
    let error = load(&[("TyphaK8sServiceName", "calico-typha")]).dialer().unwrap_err();
    assert!(matches!(error, SetupError::KubernetesService { .. }));
    assert_eq!(
        error.to_string(),
        "TyphaK8sServiceName is set (the service \"calico-typha\" in the namespace \"kube-system\"), but this program \
         can not ask Kubernetes: set TyphaAddr, or build the program with the package typha-tls-kubernetes, whose \
         `dialer(&config)` finds the Typhas of a service"
    );
    // The program knows where they are, whatever the parameters say.
    let typhas = vec!["127.0.0.1:1".parse::<std::net::SocketAddr>().unwrap()];
    let dialer = load(&[("TyphaK8sServiceName", "calico-typha")]).dialer_with(typhas);
    assert!(dialer.is_ok());
    let mut config = load(&[address]);
    config.typha_addr = Some("typha".to_owned());
    let error = config.dialer().unwrap_err();
    assert!(matches!(error, SetupError::Address(_)));
    assert!(
        error.to_string().starts_with("TyphaAddr can not be used: \"typha\" is not of the form host:port")
    );
}

#[test]
fn built_in_code() {
    let dir = Dir::new();
    let pki = TestPki::new().unwrap();
    dir.write_material(&pki.ca, &pki.felix);
    let files = TlsFiles::new(dir.path("ca.pem"), dir.path("cert.pem"), dir.path("key.pem"));
    let required = RequiredIdentity::common_name("typha-server").unwrap();
    let mut config = FelixConfig::default();
    config.tls = Some(TlsSettings::new(files, required.clone(), TlsPolicy::builder().build().unwrap()));
    config.typha_addr = Some("typha:5473".to_owned());
    assert!(has_endpoint(&config));
    assert_eq!(config.connector().unwrap().verifier().required(), &required);
}
