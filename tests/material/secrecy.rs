//! The private key appears in no output.

use super::*;

#[test]
fn a_secret_is_found_where_it_is() {
    let leaf = TestPki::new().unwrap().felix;
    let secret = Secret::of(&leaf);
    let key = leaf.key();
    let der = key.secret_der();
    let hexadecimal: String = der.iter().map(|octet| format!("{octet:02x}")).collect();
    for text in [format!("{der:?}"), format!("{der:#?}"), format!("{der:02x?}"), hexadecimal, leaf.key_pem()]
    {
        assert!(std::panic::catch_unwind(|| secret.assert_not_in(&text)).is_err(), "{text}");
    }
    secret.assert_not_in(&leaf.chain_pem());
}

#[test]
fn no_debug_output_shows_the_key() {
    let (dir, pki) = (Dir::new(), TestPki::new().unwrap());
    dir.write_material(&pki.ca, &pki.typha);
    let files = TlsFiles::new(dir.path("ca.pem"), dir.path("cert.pem"), dir.path("key.pem"));
    let material = files.load(&provider()).unwrap();
    let acceptor = pki.acceptor().unwrap();
    let connector = pki.connector().unwrap();
    let (typha, felix) = (acceptor.config(), connector.config());
    let shown: [&dyn std::fmt::Debug; 9] = [
        &material,
        &material.credentials,
        &acceptor,
        &typha,
        &acceptor.verifier(),
        &connector,
        &felix,
        &connector.verifier(),
        &pki,
    ];
    for secret in [Secret::of(&pki.typha), Secret::of(&pki.felix)] {
        for value in shown {
            secret.assert_not_in(&format!("{value:?}"));
            secret.assert_not_in(&format!("{value:#?}"));
        }
    }
    let debug = format!("{:?}", material.credentials);
    assert!(
        debug.starts_with("Credentials { identity: PeerIdentity {") && debug.ends_with(", .. }"),
        "{debug}"
    );
}

/// Files that an operator has spoilt in some way, each with the whole key in it.
fn spoilt_key_files(key: &str) -> Vec<String> {
    let unix = key.replace('\r', "");
    let body = unix.lines().filter(|line| !line.contains("-----")).collect::<Vec<_>>();
    vec![
        format!("{unix}{unix}"),
        unix.replace("PRIVATE KEY", "RSA PRIVATE KEY"),
        unix.replace("PRIVATE KEY", "CERTIFICATE"),
        unix.replace("-----END", "-----EMD"),
        unix.replacen("-----\n", "----\n", 1),
        unix.replacen("-----\n", "-----", 1),
        unix.replace("\n-----END", "-----END"),
        unix.replacen('M', "!", 1),
        unix.trim_end().trim_end_matches('-').to_owned(),
        format!("-----BEGIN {}", unix.trim_end()),
        // The ends of its lines are lost, as in a variable or in YAML.
        unix.replace('\n', ""),
        unix.replace('\n', " "),
        unix.replace('\n', "\r"),
        unix.replace('\n', "\\n"),
        format!("-----BEGIN {}-----", body.concat()),
        format!("-----BEGIN PRIVATE KEY-----\n-----BEGIN {}-----\n", body.concat()),
        // Forms that are diagnosed.
        body.concat(),
        body.join("\n"),
        format!("\u{feff}{unix}"),
        format!("  {}", unix.replace('\n', "\n  ")),
        format!("apiVersion: v1\ndata:\n  tls.key: {}\n", body.concat()),
        format!("{{\"tls.key\": \"{}\"}}", unix.replace('\n', "\\n")),
        unix.replace("PRIVATE KEY", "OPENSSH PRIVATE KEY"),
        unix.replace("PRIVATE KEY", "DSA PRIVATE KEY"),
        unix.replace("BEGIN PRIVATE KEY", "BEGIN ENCRYPTED PRIVATE KEY"),
    ]
}

#[test]
fn no_error_shows_the_key() {
    let (dir, pki) = (Dir::new(), TestPki::new().unwrap());
    let (ca, chain, key) = (pki.ca.root_pem(), pki.felix.chain_pem(), pki.felix.key_pem());
    let bundle = pki.ca.trust_bundle().unwrap();
    let secret = Secret::of(&pki.felix);
    let check = |error: MaterialError| {
        let cause = error.source().map(ToString::to_string);
        secret.assert_not_in(&format!("{error}\n{error:?}\n{error:#?}\n{cause:?}\n"));
    };
    check(load_key(&dir, &pki.typha.chain_pem(), &key).unwrap_err());
    for spoilt in spoilt_key_files(&key) {
        check(load_key(&dir, &chain, &spoilt).unwrap_err());
        check(load_key(&dir, &spoilt, &key).unwrap_err());
        // Whole private keys are skipped in a CA file.
        if let Err(error) = TrustBundle::from_pem(format!("{ca}{spoilt}").as_bytes()) {
            check(error);
        }
        check(RevocationLists::from_pem(spoilt.as_bytes(), &bundle, &provider()).unwrap_err());
    }
}

#[tokio::test]
async fn no_log_shows_the_key() {
    let (dir, pki) = (Dir::new(), TestPki::new().unwrap());
    dir.write_material(&pki.ca, &pki.felix);
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    subscribers::let_all_be_asked();
    let guard = tracing::subscriber::set_default(subscriber);
    let credentials =
        Credentials::from_files(dir.path("cert.pem"), dir.path("key.pem"), &provider()).unwrap();
    tracing::info!(?credentials);
    let other = TestPki::new().unwrap();
    for acceptor in [pki.acceptor().unwrap(), other.acceptor().unwrap()] {
        let _ = typha_tls::testing::handshake(&acceptor, &pki.connector().unwrap()).await;
    }
    let wrong = RequiredIdentity::common_name("other").unwrap();
    let connector = typha_tls::testing::connector(&pki.ca, &pki.felix, wrong).unwrap();
    let _ = typha_tls::testing::handshake(&pki.acceptor().unwrap(), &connector).await;
    drop(guard);
    let text = log.text();
    assert!(text.contains("peer certificate does not have required CN"), "{text}");
    for leaf in [&pki.felix, &pki.typha] {
        Secret::of(leaf).assert_not_in(&text);
    }
}
