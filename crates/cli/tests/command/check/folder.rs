//! A directory with whatever may stand in one.

use rcgen::{CertificateParams, DnType, Issuer, KeyPair};
use serde_json::{Value, json};
use typha_tls::testing::{CertificateSpec, Purpose, TestCa};

use super::site::{DAY, Site, detail, felix, names, spec};
use crate::lists::{List, certificate_pem, pem};

/// The certificate of the CA `subject` made anew by the CA `issuer`, under the names that are given.
fn cross(subject: (&TestCa, &str), issuer: (&TestCa, &str)) -> String {
    let params = |name: &str| {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params
    };
    let key = |ca: &TestCa| KeyPair::from_pem(&ca.key_pem()).unwrap();
    let issuer = Issuer::new(params(issuer.1), key(issuer.0));
    certificate_pem(params(subject.1).signed_by(&key(subject.0), &issuer).unwrap().der())
}

fn accepted(file: &str) -> Value {
    json!({
        "level": "info", "fact": "accepted", "file": file, "matched_by": "common_name",
        "common_name": "typha-client", "uri_sans": [], "detail": "accepted now and by the plan",
    })
}

fn skipped(file: &str, why: &str) -> Value {
    json!({ "level": "info", "fact": "skipped", "file": file, "detail": why })
}

fn unusable(file: &str, why: &str, fix: &str) -> Value {
    let detail = format!("{why}; {fix}");
    json!({ "level": "error", "finding": "peer_file", "file": file, "detail": detail, "fix": fix })
}

#[cfg(unix)]
#[test]
fn every_file_gets_its_line() {
    use std::os::unix::fs::symlink;

    let site = Site::new();
    let good = felix(&site.kept);
    site.peer("good.pem", good.chain_pem());
    site.peer("good-and-key.pem", good.chain_pem() + &good.key_pem());
    site.peer("of-old.pem", felix(&site.old).chain_pem());
    site.peer("of-new.pem", felix(&site.new).chain_pem());
    let by_old = cross((&site.new, "new"), (&site.old, "old"));
    site.peer("of-both.pem", felix(&site.new).chain_pem() + &by_old);
    let now = std::time::SystemTime::now();
    let expired = CertificateSpec::leaf("typha-client").valid(now - 3 * DAY, now - DAY);
    site.peer("expired.pem", site.kept.issue(expired).unwrap().chain_pem());
    let revoked = felix(&site.kept);
    site.peer("revoked.pem", revoked.chain_pem());
    let other_name = site.kept.issue(spec("mallory", Purpose::ClientAuth)).unwrap();
    site.peer("wrong-name.pem", other_name.chain_pem());
    site.peer("damaged.pem", good.chain_pem().replacen("\nM", "\n!", 1));
    site.peer("cut.pem", good.chain_pem().split_once("-----END").unwrap().0);
    site.peer("begin-line.pem", good.chain_pem().replacen("-----BEGIN", "----BEGIN", 1));
    site.peer("second-begin-line.pem", good.chain_pem() + &by_old.replacen("-----BEGIN", "----BEGIN", 1));
    site.peer("no-certificate.pem", pem("CERTIFICATE", b"nonsense"));
    site.peer("request.pem", pem("CERTIFICATE REQUEST", b"x"));
    site.peer("der.cer", &good.chain()[0]);
    site.peer("key.pem", good.key_pem());
    site.peer("notes.txt", "typha-client of node 1");
    site.peer("empty", "");
    site.peer("several.pem", good.chain_pem() + &felix(&site.old).chain_pem());
    let sparse = |name: &str| {
        let file = std::fs::File::options().append(true).create(true).open(site.path(name)).unwrap();
        file.set_len((16 << 20) + 1).unwrap();
    };
    site.peer(
        "late.pem",
        good.chain_pem() + &"\n".repeat(2 << 20) + &good.chain_pem().replacen("\nM", "\n!", 1),
    );
    site.peer("large.pem", good.chain_pem());
    sparse("peers/large.pem");
    sparse("peers/large.log");
    std::fs::create_dir(site.path("peers/directory")).unwrap();
    // A volume of Kubernetes.
    std::fs::create_dir(site.path("peers/..2026_11_21")).unwrap();
    site.peer("..2026_11_21/tls.crt", good.chain_pem());
    symlink("..2026_11_21", site.path("peers/..data")).unwrap();
    symlink("..data/tls.crt", site.path("peers/tls.crt")).unwrap();
    symlink("nowhere", site.path("peers/dangling.pem")).unwrap();
    let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR);
    rustix::fs::mknodat(rustix::fs::CWD, site.path("peers/pipe"), kind, mode, 0).unwrap();

    let list = List::new().revoking(&revoked.chain()[0]).signed_by(&site.kept, "kept");
    let (new, list) = (site.path("new.pem"), site.write("kept.crl", list));
    let (code, mut lines) = site.check_peers(&["--with-ca-file", &new, "--with-crl-file", &list]);
    // It tells the time.
    for line in &mut lines {
        if line["file"] == "expired.pem" {
            let detail = line["detail"].as_str().unwrap().to_owned();
            assert!(
                detail.starts_with(
                    "refused now and by the plan: the leaf certificate CN=\"typha-client\" expired at "
                ),
                "{detail}"
            );
            line.as_object_mut().unwrap().remove("detail");
        }
    }
    let first = lines.iter().position(|line| line["file"].is_string()).unwrap();
    let expected = vec![
        skipped("..2026_11_21", "it is a directory, which is not followed"),
        skipped("..data", "it is a directory, which is not followed"),
        unusable(
            "begin-line.pem",
            "this peer was not judged: line 10 is an END line without its BEGIN line",
            AGAIN,
        ),
        unusable(
            "cut.pem",
            "this peer was not judged: the block CERTIFICATE that begins in line 1 has no END line",
            AGAIN,
        ),
        unusable(
            "damaged.pem",
            "this peer was not judged: the block CERTIFICATE that begins in line 1 is not valid base64",
            "copy it again",
        ),
        unusable("dangling.pem", "it is a symbolic link to a file that does not exist", AGAIN),
        unusable(
            "der.cer",
            "this peer was not judged: it is a certificate in DER, and not PEM",
            "convert it: openssl x509 -inform DER -in FILE -out NEW",
        ),
        skipped("directory", "it is a directory, which is not followed"),
        skipped("empty", "it is empty"),
        json!({
            "level": "info", "fact": "refused", "file": "expired.pem", "reason": "expired", "reason_now": "expired",
        }),
        accepted("good-and-key.pem"),
        accepted("good.pem"),
        skipped("key.pem", "there is no PEM block CERTIFICATE in it"),
        unusable("large.log", TOO_LARGE, "leave only what is needed in it"),
        unusable("large.pem", TOO_LARGE, "leave only what is needed in it"),
        unusable(
            "late.pem",
            "this peer was not judged: the block CERTIFICATE that begins in line 2097163 is not valid base64",
            "copy it again",
        ),
        unusable(
            "no-certificate.pem",
            "malformed certificate (the leaf): it is not a DER-encoded X.509 certificate",
            "copy the file again, or issue the certificate again",
        ),
        skipped("notes.txt", "there is no PEM block CERTIFICATE in it"),
        accepted("of-both.pem"),
        json!({
            "level": "info", "fact": "newly_accepted", "file": "of-new.pem", "matched_by": "common_name",
            "common_name": "typha-client", "uri_sans": [],
            "detail": "accepted by the plan; refused now (unknown_ca)",
        }),
        json!({
            "level": "error", "finding": "cut_off", "file": "of-old.pem", "reason": "unknown_ca",
            "common_name": "typha-client", "uri_sans": [],
            "detail": format!(
                "would be cut off: the certificate of CN=\"typha-client\" is issued by CN=\"old\", which is not in the \
                 CA file; re-issue it by a CA of {new} first, or keep the old CA in {new} until then"
            ),
            "fix": format!("re-issue it by a CA of {new} first, or keep the old CA in {new} until then"),
        }),
        skipped("pipe", "it is a pipe, a socket or a device"),
        skipped("request.pem", "there is no PEM block CERTIFICATE in it"),
        json!({
            "level": "error", "finding": "cut_off", "file": "revoked.pem", "reason": "revoked",
            "common_name": "typha-client", "uri_sans": [],
            "detail": "would be cut off: the leaf certificate CN=\"typha-client\" has been revoked by its issuer; \
                       issue a new one first; if that is not meant, take it off the list",
            "fix": "issue a new one first; if that is not meant, take it off the list",
        }),
        unusable(
            "second-begin-line.pem",
            "this peer was not judged: line 20 is an END line without its BEGIN line",
            AGAIN,
        ),
        accepted("several.pem"),
        json!({
            "level": "warning", "finding": "several_leaves", "file": "several.pem",
            "detail": "not judged, since it stands after the first and is no CA: 1 certificate; put each chain into a \
                       file of its own",
            "fix": "put each chain into a file of its own",
        }),
        accepted("tls.crt"),
        json!({
            "level": "info", "fact": "refused", "file": "wrong-name.pem", "reason": "identity_mismatch",
            "reason_now": "identity_mismatch",
            "detail": "refused now and by the plan: peer certificate does not have required CN: required CN \
                       \"typha-client\", but presented CN \"mallory\", no URI SAN",
        }),
        json!({
            "level": "info", "fact": "summary", "accepted": 5, "cut_off": 2, "newly_accepted": 1, "refused": 2,
            "skipped": 8, "unusable": 10, "detail": "2 of 10 would be cut off; 2 are refused today, and by the plan",
        }),
    ];
    for (line, expected) in lines[first..].iter().zip(&expected) {
        let mut line = line.clone();
        // Who is accepted by whom: the names end in something of the key.
        if let Some(ca) = line.as_object_mut().unwrap().remove("ca") {
            crate::remove_leaf_numbers(&mut line);
            assert!(
                ["CN=\"kept\" (key ", "CN=\"new\" (key ", "CN=\"gone\" (key "]
                    .iter()
                    .any(|name| ca.as_str().unwrap().starts_with(name)),
                "{ca}"
            );
        }
        let is_refused = !expected["reason"].is_null();
        assert_eq!(line, if is_refused { site.with_leaf(expected.clone()) } else { expected.clone() });
    }
    assert_eq!((code, lines.len() - first), (Some(1), expected.len()));
}

const TOO_LARGE: &str = "this peer was not judged: it can not be read: it is larger than 16 MiB";

const AGAIN: &str = "copy the file again";

#[test]
fn nobody_cut_off_is_clean() {
    let site = Site::new();
    site.peer("a.pem", felix(&site.old).chain_pem());
    site.peer("b.pem", felix(&site.new).chain_pem());
    let all = site.write("all.pem", site.old.root_pem() + &site.kept.root_pem() + &site.new.root_pem());
    let (code, lines) = site.check_peers(&["--with-ca-file", &all]);
    let summary = json!({
        "level": "info", "fact": "summary", "accepted": 1, "cut_off": 0, "newly_accepted": 1, "refused": 0,
        "skipped": 0, "unusable": 0, "detail": "0 of 2 would be cut off",
    });
    assert_eq!((code, lines.last()), (Some(0), Some(&summary)));
}

#[test]
fn without_a_plan_who_is_refused_today_is_an_error() {
    let site = Site::new();
    site.peer("a.pem", felix(&site.old).chain_pem());
    let (code, lines) = site.check_peers(&[]);
    assert_eq!((code, names(&lines)), (Some(0), vec![("info", "accepted"), ("info", "summary")]));
    assert_eq!(
        (detail(&lines, "accepted"), detail(&lines, "summary")),
        ("accepted", "0 of 1 peers are refused today")
    );
    site.peer("b.pem", felix(&site.new).chain_pem());
    let (code, lines) = site.check_peers(&[]);
    let expected = [("info", "accepted"), ("error", "refused"), ("info", "summary")];
    assert_eq!((code, names(&lines)), (Some(1), expected.to_vec()));
    let fix = format!(
        "if CN=\"new\" is an intermediate CA, append its certificate to TyphaCertFile of the peer; otherwise add it to \
         CAFile {}, if it is a CA of this cluster",
        site.path("ca.pem")
    );
    assert_eq!(
        lines[1],
        site.with_leaf(json!({
            "level": "error", "finding": "refused", "file": "b.pem", "reason": "unknown_ca",
            "reason_now": "unknown_ca",
            "detail": format!(
                "refused today: the certificate of CN=\"typha-client\" is issued by CN=\"new\", which is not in the CA \
                 file; {fix}"
            ),
            "fix": fix,
        }))
    );
    assert_eq!(
        lines[2],
        json!({
            "level": "info", "fact": "summary", "accepted": 1, "cut_off": 0, "newly_accepted": 0, "refused": 1,
            "skipped": 0, "unusable": 0, "detail": "1 of 2 peers is refused today",
        })
    );
}
