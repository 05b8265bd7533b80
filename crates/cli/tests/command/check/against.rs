//! `--against`: the configuration of the other end.

use std::time::SystemTime;

use serde_json::{Value, json};
use typha_tls::testing::{CertificateSpec, Purpose, TestCa};

use super::site::{DAY, Site, ca, ca_name, check, felix, name, only, spec};
use crate::lists::certificate_pem;

/// A site with the files of its Felix, which has no key here.
fn site() -> Site {
    let site = Site::new();
    let felix = site.kept.issue(spec("typha-client", Purpose::ClientAuth)).unwrap();
    site.write("felix.pem", felix.chain_pem());
    let parameters = [("TyphaCAFile", "ca.pem"), ("TyphaCertFile", "felix.pem"), ("TyphaKeyFile", "no.key")];
    let files = parameters.map(|(parameter, file)| format!("{parameter}={}\n", site.path(file)));
    site.write("felix.cfg", files.concat() + "TyphaCN=typha-server\n");
    site
}

/// The exit code of a check against Felix, and its lines `against`.
fn against(site: &Site) -> (Option<i32>, Vec<Value>) {
    let (typha, felix) = (site.path("typha.cfg"), site.path("felix.cfg"));
    let (code, mut lines) = check(&["typha", "--config", &typha, "--against", &felix]);
    lines.retain(|line| name(line) == "against");
    (code, lines)
}

fn fact(detail: &str) -> Value {
    json!({ "level": "info", "fact": "against", "detail": detail })
}

#[test]
fn both_directions_are_judged_without_the_other_key() {
    let site = site();
    let expected = vec![
        fact("we would accept Felix, matched by common_name"),
        fact("Felix would accept us, matched by common_name"),
    ];
    assert_eq!(against(&site), (Some(0), expected));
}

#[test]
fn the_other_chain_is_judged_without_its_key() {
    let site = site();
    let now = SystemTime::now();
    let expired = CertificateSpec::leaf("typha-client").valid(now - 3 * DAY, now - DAY);
    let middle = site.kept.intermediate(CertificateSpec::ca("middle")).unwrap();
    let below = middle.issue(spec("typha-client", Purpose::ClientAuth)).unwrap();
    let version_1 = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/version1.pem");
    let refusals = [
        (site.kept.issue(expired).unwrap().chain_pem(), "(expired): the leaf certificate "),
        (certificate_pem(&below.chain()[0]), "(unknown_ca): the certificate of "),
        (std::fs::read_to_string(version_1).unwrap(), "(unsupported_version): the leaf certificate "),
    ];
    for (chain, refusal) in refusals {
        site.write("felix.pem", chain);
        let (code, lines) = against(&site);
        assert_eq!((code, lines.len()), (Some(1), 2), "{lines:?}");
        let text = format!("we would refuse Felix {refusal}CN=\"typha-client\" ");
        assert!(lines[0]["detail"].as_str().unwrap().starts_with(&text), "{lines:?}");
        assert_eq!(lines[0]["finding"], "against");
        assert_eq!(lines[1], fact("Felix would accept us, matched by common_name"));
    }
}

#[test]
fn an_unusable_chain_of_the_other_end_is_an_error() {
    let site = site();
    let chain = std::fs::read_to_string(site.path("felix.pem")).unwrap();
    let joined = chain.trim_end().to_owned() + &site.kept.root_pem();
    let line = chain.lines().count();
    let joined_problem =
        &*format!("line {line} has the END of a block and the BEGIN of the next one; put a line break ");
    let files = [
        (String::new(), "there is no certificate (a PEM block CERTIFICATE) in it: "),
        ("garbage".to_owned(), "there is no certificate (a PEM block CERTIFICATE) in it: "),
        (
            chain.replacen("\nM", "\n!", 1),
            "the block CERTIFICATE that begins in line 1 is not valid base64; ",
        ),
        (joined, joined_problem),
    ];
    for (contents, problem) in files {
        let file = site.write("felix.pem", contents);
        let (code, lines) = against(&site);
        assert_eq!((code, lines.len()), (Some(1), 2), "{lines:?}");
        assert_eq!((&lines[0]["level"], &lines[0]["about"]), (&"error".into(), &"TyphaCertFile".into()));
        assert!(lines[0]["detail"].as_str().unwrap().starts_with(&format!("{file}: {problem}")), "{lines:?}");
        assert_eq!(lines[1], fact("Felix would accept us, matched by common_name"));
    }
}

#[test]
fn what_can_not_be_judged_is_said() {
    let site = site();
    std::fs::remove_file(site.path("felix.pem")).unwrap();
    let (code, lines) = against(&site);
    let file = site.path("felix.pem");
    let detail = format!("not judged whether we would accept Felix: {file} can not be read here");
    let mut unjudged = fact(&detail);
    unjudged["about"] = "TyphaCertFile".into();
    let accepted = fact("Felix would accept us, matched by common_name");
    assert_eq!((code, lines), (Some(0), vec![unjudged, accepted]));

    let site = self::site();
    site.write("own.key", "");
    let unjudged = fact("not judged whether Felix would accept us: see the errors of our own files");
    let accepted = fact("we would accept Felix, matched by common_name");
    assert_eq!(against(&site), (Some(1), vec![unjudged, accepted]));

    let site = self::site();
    let ca = site.write("theirs.pem", site.kept.root_pem());
    let config = std::fs::read_to_string(site.path("felix.cfg")).unwrap();
    site.write("felix.cfg", config.replace(&site.path("ca.pem"), &ca));
    site.write("ca.pem", "");
    let unjudged = fact("not judged whether we would accept Felix: see the errors of our own files");
    let accepted = fact("Felix would accept us, matched by common_name");
    assert_eq!(against(&site), (Some(1), vec![unjudged, accepted]));
}

/// The key of a CA in its name: `CN="ca" (key 1f0c88a2)`.
fn key(ca: &TestCa) -> String {
    let name = ca_name(&ca.root_pem());
    name.split_once("(key ").unwrap().1.trim_end_matches(')').to_owned()
}

#[test]
fn the_files_of_another_cluster_are_named_once() {
    let site = site();
    // All files of Felix are of another cluster, whose CA has the same name.
    let other = ca("kept");
    site.write("felix.pem", other.issue(spec("typha-client", Purpose::ClientAuth)).unwrap().chain_pem());
    let theirs = site.write("theirs.pem", other.root_pem());
    let config = std::fs::read_to_string(site.path("felix.cfg")).unwrap();
    site.write("felix.cfg", config.replace(&site.path("ca.pem"), &theirs));
    let fix = "give the end with another cluster's files the CA file, the certificate and the key of this cluster; if \
               you made that CA anew, put its old and its new certificate into both CA files; never add a CA that you \
               did not make";
    let (code, lines) = against(&site);
    assert_eq!((code, lines.len()), (Some(1), 3), "{lines:?}");
    let problem = format!(
        "the two CA files have CAs of the same name with different keys ({}, {}): one end probably has another \
         cluster's files",
        key(&site.kept),
        key(&other)
    );
    assert_eq!(lines[0]["detail"], format!("{problem}; {fix}"));
    for (line, refusal) in lines[1..].iter().zip(["we would refuse Felix", "Felix would refuse us"]) {
        assert!(
            line["detail"].as_str().unwrap().starts_with(&format!("{refusal} (ca_key_mismatch): ")),
            "{line}"
        );
    }
    for line in &lines {
        assert_eq!((&line["finding"], &line["fix"]), (&"against".into(), &fix.into()));
    }

    // With both CAs in one file, only the chain is of another cluster.
    site.write("theirs.pem", other.root_pem() + &site.kept.root_pem());
    let (_, lines) = against(&site);
    assert_eq!((lines.len(), &lines[1]["level"]), (2, &"info".into()), "{lines:?}");
    let fix = lines[0]["fix"].as_str().unwrap();
    assert!(fix.starts_with("re-issue it by the CA that is in CAFile "), "{fix}");
}

#[test]
fn a_ca_may_be_added_only_if_it_is_ours() {
    let site = site();
    let theirs = site.write("theirs.pem", site.new.root_pem());
    let config = std::fs::read_to_string(site.path("felix.cfg")).unwrap();
    let config = config.replace(&site.path("ca.pem"), &theirs);
    site.write("felix.cfg", &config);
    let (_, lines) = against(&site);
    let own = site.path("own.pem");
    assert_eq!(
        lines[1]["fix"],
        format!(
            "if CN=\"kept\" is an intermediate CA, append its certificate to ServerCertFile {own}; otherwise add it to \
             TyphaCAFile {theirs}, if it is a CA of this cluster; never add a CA that you did not make"
        )
    );
    // The CA file of Felix has both.
    let again = ca("kept");
    site.write("theirs.pem", site.kept.root_pem() + &again.root_pem());
    site.own_chain(&ca("kept"));
    let (_, lines) = against(&site);
    assert_eq!(
        lines[1]["fix"],
        format!(
            "have our certificate issued by the CA in TyphaCAFile {theirs}; or, if you made that CA anew, put its old \
             and its new certificate there; never add a CA that you did not make"
        )
    );
}

#[test]
fn a_doubtful_name_is_corrected_first() {
    let site = site();
    for file in ["typha.cfg", "felix.cfg"] {
        let config = std::fs::read_to_string(site.path(file)).unwrap();
        let config = config.replace("ClientCN=typha-client", "ClientCN='typha-client '");
        site.write(file, config.replace("TyphaCN=typha-server", "TyphaCN='CN=typha-server'"));
    }
    site.peer("a.pem", felix(&site.kept).chain_pem());
    let (typha, felix_cfg, peers) = (site.path("typha.cfg"), site.path("felix.cfg"), site.path("peers"));
    let (_, lines) = check(&["typha", "--config", &typha, "--against", &felix_cfg, "--peers", &peers]);
    let of = |finding| {
        let found = lines.iter().filter(move |line| line["finding"] == finding);
        found.map(|line| line["fix"].as_str().unwrap()).collect::<Vec<_>>()
    };
    let there = format!("correct TyphaCN in {felix_cfg} (see doubtful_identity)");
    assert_eq!(of("against"), ["correct ClientCN (see doubtful_identity)", &there]);
    assert_eq!(of("refused"), ["correct ClientCN (see doubtful_identity)"]);
    // The doubts about both ends.
    assert_eq!(of("doubtful_identity").len(), 2);

    // By the plan.
    site.write(
        "typha.cfg",
        std::fs::read_to_string(&typha).unwrap().replace("'typha-client '", "typha-client"),
    );
    let (_, lines) = site.check_peers(&["--with-cn", "CN=typha-client"]);
    assert_eq!(only(&lines, "cut_off")["fix"], "correct --with-cn (see doubtful_identity)");
}

#[test]
fn the_environment_of_the_other_end_is_not_read() {
    let site = site();
    let file = site.path("felix.cfg");
    for (config, problem, set) in [
        (
            "TyphaCN=typha-server\n",
            "if any Felix-Typha TLS config parameters are specified, they _all_ must be - except that either TyphaCN \
             or TyphaURISAN may be left unset",
            "TyphaCAFile, TyphaCertFile, TyphaKeyFile",
        ),
        (
            "LogSeverityScreen=Info\n",
            "TLS is not configured on Felix",
            "TyphaCAFile, TyphaCertFile, TyphaKeyFile, and TyphaCN or TyphaURISAN",
        ),
    ] {
        site.write("felix.cfg", config);
        let fix = format!("set {set} in {file}; --against does not read the environment");
        let expected = json!({
            "level": "error", "finding": "against", "about": file, "detail": format!("{problem}; {fix}"), "fix": fix,
        });
        assert_eq!(against(&site), (Some(1), vec![expected]));
    }
}
