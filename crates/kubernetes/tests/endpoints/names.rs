//! Names of services and namespaces, and the dialer that is made of the parameters.

use std::fs;

use typha_tls::config::{FelixConfig, SetupError, Sources};
use typha_tls::testing::TestPki;
use typha_tls_kubernetes::{KubernetesEndpoints, KubernetesSetupError, dialer};

#[test]
fn names_are_labels() {
    let longest = "x".repeat(63);
    for name in ["kube-system", "calico-typha", "a", "1", "a--1", &longest] {
        KubernetesEndpoints::infer(name, name).unwrap();
    }
    let too_long = "x".repeat(64);
    for name in ["", "-a", "a-", "A", "a.b", "a/b", "..", "a?b", "a b", "ä", "a\n", &too_long] {
        let namespace = KubernetesEndpoints::infer(name, "calico-typha").unwrap_err();
        assert!(
            matches!(&namespace, KubernetesSetupError::BadName { what: "namespace", name: bad } if bad == name),
            "{namespace}"
        );
        let service = KubernetesEndpoints::infer("kube-system", name).unwrap_err();
        assert!(
            matches!(&service, KubernetesSetupError::BadName { what: "service", name: bad } if bad == name),
            "{service}"
        );
    }
}

#[test]
fn a_dialer_of_the_parameters() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let pki = TestPki::new().unwrap();
    fs::write(path("ca.pem"), pki.ca.root_pem()).unwrap();
    fs::write(path("cert.pem"), pki.felix.chain_pem()).unwrap();
    fs::write(path("key.pem"), pki.felix.key_pem()).unwrap();
    let load = |settings: &[(&str, &str)]| {
        let tls = [
            ("TyphaCAFile", path("ca.pem")),
            ("TyphaCertFile", path("cert.pem")),
            ("TyphaKeyFile", path("key.pem")),
            ("TyphaCN", "typha-server".to_owned()),
        ];
        let sources =
            tls.iter().fold(Sources::none(), |sources, (name, value)| sources.with_value(name, value));
        let sources = settings.iter().fold(sources, |sources, (name, value)| sources.with_value(name, value));
        FelixConfig::load(&sources).unwrap()
    };

    // Nothing is asked yet, so that no Kubernetes is needed for this.
    assert!(dialer(&load(&[("TyphaK8sServiceName", "calico-typha")])).is_ok());
    let error = dialer(&load(&[("TyphaK8sServiceName", "Calico/Typha")])).unwrap_err();
    assert!(matches!(error, KubernetesSetupError::BadName { what: "service", .. }));
    // The address wins, as in Calico, so that nothing is wrong with the service.
    let both = [("TyphaK8sServiceName", "Calico/Typha"), ("TyphaAddr", "127.0.0.1:5473")];
    assert!(dialer(&load(&both)).is_ok());
    let error = dialer(&load(&[])).unwrap_err();
    assert!(matches!(error, KubernetesSetupError::Config(SetupError::NoEndpoint)));

    // Without TLS there is no dialer, wherever the Typhas are.
    let plain = Sources::none().with_value("TyphaK8sServiceName", "calico-typha");
    let error = dialer(&FelixConfig::load(&plain).unwrap()).unwrap_err();
    assert!(matches!(error, KubernetesSetupError::Config(SetupError::TlsNotConfigured { .. })));
}
