//! `--against`: the configuration of the other end.

use std::time::SystemTime;

use serde_json::{Value, json};
use typha_tls::testing::{CertificateSpec, Purpose};

use super::site::{DAY, Site, check, name, spec};
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
        assert_eq!(lines[0]["level"], "error");
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
    let accepted = fact("Felix would accept us, matched by common_name");
    assert_eq!((code, &lines[..]), (Some(0), &[fact(&detail), accepted][..]));

    let site = self::site();
    site.write("own.key", "");
    let unjudged = fact("not judged whether Felix would accept us: see the errors of our own files");
    let accepted = fact("we would accept Felix, matched by common_name");
    assert_eq!(against(&site), (Some(1), vec![accepted, unjudged]));

    let site = self::site();
    let ca = site.write("theirs.pem", site.kept.root_pem());
    let config = std::fs::read_to_string(site.path("felix.cfg")).unwrap();
    site.write("felix.cfg", config.replace(&site.path("ca.pem"), &ca));
    site.write("ca.pem", "");
    let unjudged = fact("not judged whether we would accept Felix: see the errors of our own files");
    let accepted = fact("Felix would accept us, matched by common_name");
    assert_eq!(against(&site), (Some(1), vec![unjudged, accepted]));
}
