//! When nobody can be judged, or the other end is.

use std::process::Command;

use typha_tls::testing::Purpose;

use super::site::{Site, check, detail, felix, names, only, spec};

#[test]
fn bad_usage() {
    for arguments in [
        &["--with-cn", "x"][..],
        &["--with-uri-san", "x"],
        &["--peers", "x", "--with-cn", ""],
        &["--with-crl-strict"],
        &["--at", "tomorrow"],
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_typha-tls"));
        let output = command.args(["check", "typha"]).args(arguments).env_clear().output().unwrap();
        assert_eq!((output.status.code(), &*output.stdout), (Some(2), &b""[..]), "{arguments:?}");
    }
}

#[test]
fn a_directory_without_chains_is_a_finding() {
    let site = Site::new();
    site.peer("notes.txt", "x");
    let (code, lines) = site.check_peers(&[]);
    let expected = [("info", "skipped"), ("info", "summary"), ("warning", "no_chain")];
    assert_eq!((code, names(&lines)), (Some(1), expected.to_vec()));
    let missing = site.path("missing");
    let (code, lines) = site.check(&["--peers", &missing]);
    assert_eq!((code, names(&lines)), (Some(1), vec![("error", "peers")]));
    assert!(detail(&lines, "peers").starts_with(&format!("{missing}: ")));
    let (code, lines) = site.check(&["--peers", &site.path("ca.pem")]);
    assert_eq!((code, names(&lines)), (Some(1), vec![("error", "peers")]));
}

#[test]
fn the_number_of_files_is_bounded() {
    let site = Site::new();
    for number in 0..=20_000 {
        std::fs::File::create(site.path(&format!("peers/{number}"))).unwrap();
    }
    let (code, lines) = site.check_peers(&[]);
    assert_eq!((code, names(&lines)), (Some(1), vec![("error", "peers")]));
    assert_eq!(
        detail(&lines, "peers"),
        format!(
            "{}: it has more than 20000 entries; divide them among several directories",
            site.path("peers")
        )
    );
    std::fs::remove_file(site.path("peers/0")).unwrap();
    let (_, lines) = site.check_peers(&[]);
    assert_eq!(only(&lines, "summary")["skipped"], 20_000);
}

#[test]
fn peers_are_judged_without_our_own_key() {
    let site = Site::new();
    site.peer("a.pem", felix(&site.old).chain_pem());
    site.write("own.key", "");
    let (config, peers) = (site.path("typha.cfg"), site.path("peers"));
    let base = ["typha", "--config", &config, "--peers", &peers];
    let (code, lines) = check(&[&base[..], &["--with-ca-file", &site.path("new.pem")]].concat());
    let expected = [
        ("info", "required_peer"),
        ("info", "tls_policy"),
        ("info", "trusted_ca"),
        ("info", "trusted_ca"),
        ("error", "cert_file_and_key_file"),
        ("info", "ca_removed"),
        ("info", "ca_added"),
        ("error", "cut_off"),
        ("info", "summary"),
    ];
    assert_eq!((code, names(&lines)), (Some(1), expected.to_vec()));

    // But not without a CA file.
    site.write("ca.pem", "");
    let (code, lines) = check(&[&base[..], &["--with-ca-file", &site.path("new.pem")]].concat());
    let expected = [
        ("info", "required_peer"),
        ("info", "tls_policy"),
        ("error", "ca_file"),
        ("error", "cert_file_and_key_file"),
        ("error", "peers"),
    ];
    assert_eq!((code, names(&lines)), (Some(1), expected.to_vec()));
}

#[test]
fn typhas_are_judged_on_felix_end() {
    let site = Site::new();
    let typha = site.old.issue(spec("typha-server", Purpose::ServerAuth)).unwrap();
    site.peer("typha.pem", typha.chain_pem());
    site.peer("felix.pem", felix(&site.kept).chain_pem());
    let own = site.kept.issue(spec("typha-client", Purpose::ClientAuth)).unwrap();
    let [ca, cert, key] =
        [("ca.pem", None), ("own.pem", Some(own.chain_pem())), ("own.key", Some(own.key_pem()))]
            .map(|(name, text)| text.map_or_else(|| site.path(name), |text| site.write(name, text)));
    let (peers, new) = (site.path("peers"), site.path("new.pem"));
    let (code, lines) = check(&[
        "felix",
        "--ca-file",
        &ca,
        "--cert-file",
        &cert,
        "--key-file",
        &key,
        "--typha-cn",
        "typha-server",
        "--peers",
        &peers,
        "--with-ca-file",
        &new,
    ]);
    assert_eq!(code, Some(1));
    assert_eq!(only(&lines, "cut_off")["file"], "typha.pem");
    let refused = only(&lines, "refused");
    assert_eq!((&refused["file"], &refused["reason"]), (&"felix.pem".into(), &"wrong_key_usage".into()));
}

#[test]
fn each_unusable_file_has_a_remedy() {
    let site = Site::new();
    let see = "see whether the path is right and this user may read the file";
    let [missing, typha, ca, own] = ["missing", "typha.cfg", "ca.pem", "own.pem"].map(|name| site.path(name));
    let fix_of = |arguments: &[&str], finding: &str| {
        let (code, lines) = check(&[&["typha", "--config"], arguments].concat());
        assert_eq!(code, Some(1));
        only(&lines, finding)["fix"].as_str().unwrap().to_owned()
    };
    assert_eq!(fix_of(&[&missing], "configuration"), see);
    assert_eq!(fix_of(&[&ca], "configuration"), "correct that file");
    assert_eq!(fix_of(&[&typha, "--ca-file", &missing], "configuration"), see);
    assert_eq!(fix_of(&[&typha, "--client-uri-san", "a b"], "configuration"), "correct ClientURISAN");
    assert_eq!(fix_of(&[&typha, "--crl-file", &missing], "crl_file"), see);
    assert_eq!(fix_of(&[&typha, "--against", &missing], "against"), see);
    assert_eq!(fix_of(&[&typha, "--with-ca-file", &missing], "with_ca_file"), see);
    assert_eq!(fix_of(&[&typha, "--with-crl-file", &missing], "with_crl_file"), see);
    let see_directory = "see whether the path is right and this user may read the directory";
    assert_eq!(fix_of(&[&typha, "--peers", &missing], "peers"), see_directory);

    site.write("own.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let again = "copy the file again, or issue it again";
    assert_eq!(fix_of(&[&typha], "cert_file_and_key_file"), again);
    assert_eq!(fix_of(&[&typha, "--ca-file", &own], "ca_file"), again);
}
