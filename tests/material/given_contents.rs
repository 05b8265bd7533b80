//! Contents that stand in place of files, as a kubeconfig has them.

use typha_tls::material::HostTlsFiles;

use super::*;

#[test]
fn given_contents_are_those_of_the_files() {
    let (dir, pki) = (Dir::new(), TestPki::new().unwrap());
    dir.write_material(&pki.ca, &pki.felix);
    let read =
        HostTlsFiles::new(dir.path("ca.pem")).with_own_files(dir.path("cert.pem"), dir.path("key.pem"));
    let read = read.load(&provider()).unwrap();
    // All that differs is where the contents come from. The key is still read.
    let given = HostTlsFiles::new("ca-data")
        .with_own_files("cert-data", dir.path("key.pem"))
        .with_contents("ca-data", pki.ca.root_pem())
        .with_contents("cert-data", pki.felix.chain_pem());
    let loaded = given.load(&provider()).unwrap();
    assert!(loaded.trust_bundle.names().eq(read.trust_bundle.names()));
    assert_eq!(loaded.credentials.unwrap().chain(), read.credentials.unwrap().chain());
}

#[test]
fn the_last_contents_for_a_path_count() {
    let pki = TestPki::new().unwrap();
    let once = HostTlsFiles::new("ca-data").with_contents("ca-data", pki.ca.root_pem());
    let twice = HostTlsFiles::new("ca-data")
        .with_contents("ca-data", "no PEM")
        .with_contents("ca-data", pki.ca.root_pem());
    assert_eq!(twice, once);
    twice.load(&provider()).unwrap();
}

#[test]
fn an_error_names_the_contents() {
    let pki = TestPki::new().unwrap();
    let files = HostTlsFiles::new("ca-data").with_contents("ca-data", "no PEM");
    let error = files.load(&provider()).unwrap_err();
    assert!(error.to_string().starts_with("ca-data: "), "{error}");
    let files = HostTlsFiles::new("ca-data")
        .with_own_files("cert-data", "nowhere/key-data")
        .with_contents("ca-data", pki.ca.root_pem())
        .with_contents("cert-data", pki.felix.chain_pem());
    let error = files.load(&provider()).unwrap_err();
    assert!(
        matches!(&error, MaterialError::Read { path, .. } if path == Path::new("nowhere/key-data")),
        "{error:?}"
    );
}

#[test]
fn a_given_key_is_not_shown() {
    let pki = TestPki::new().unwrap();
    let files = HostTlsFiles::new("ca-data").with_contents("key-data", pki.felix.key_pem());
    let shown = format!("{files:?}");
    Secret::of(&pki.felix).assert_not_in(&shown);
    assert!(
        shown.ends_with(&format!("given: [(\"key-data\", {} bytes)] }}", pki.felix.key_pem().len())),
        "{shown}"
    );
}
