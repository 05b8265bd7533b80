//! `--with-cn` and `--with-uri-san`.

use serde_json::json;
use typha_tls::testing::Purpose;

use super::site::{Site, detail, felix, name, names, only, spec};

const ID: &str = "spiffe://td/felix";

/// One Felix with the Common Name alone, one with both names, one with the URI SAN alone.
fn migrating() -> Site {
    let site = Site::new();
    site.peer("cn.pem", felix(&site.kept).chain_pem());
    for (file, common_name) in [("both.pem", "typha-client"), ("uri.pem", "felix")] {
        let leaf = site.kept.issue(spec(common_name, Purpose::ClientAuth).uri_san(ID)).unwrap();
        site.peer(file, leaf.chain_pem());
    }
    site
}

/// The exit code, and what is said of `both.pem`, `cn.pem` and `uri.pem`.
fn verdicts(site: &Site, more: &[&str]) -> (Option<i32>, Vec<String>) {
    let (code, lines) = site.check_peers(more);
    let verdicts = lines.iter().filter(|line| line["file"].is_string()).map(|line| name(line).to_owned());
    (code, verdicts.collect())
}

#[test]
fn what_is_not_named_stays() {
    let site = migrating();
    let expect = |more: &[&str], code, expected: [&str; 3]| {
        assert_eq!(verdicts(&site, more), (Some(code), expected.map(str::to_owned).to_vec()), "{more:?}");
    };
    expect(&[], 1, ["accepted", "accepted", "refused"]);
    expect(&["--with-uri-san", ID], 0, ["accepted", "accepted", "newly_accepted"]);
    expect(&["--with-uri-san", ID, "--with-cn", "None"], 1, ["accepted", "cut_off", "newly_accepted"]);
    expect(&["--with-cn", "felix"], 1, ["cut_off", "cut_off", "newly_accepted"]);
    // As it is then.
    let config = std::fs::read_to_string(site.path("typha.cfg")).unwrap();
    site.write("typha.cfg", config + &format!("ClientURISAN={ID}\n"));
    expect(&["--with-uri-san", "none"], 1, ["accepted", "accepted", "cut_off"]);
    expect(&["--with-cn", "none"], 1, ["accepted", "cut_off", "accepted"]);
}

#[test]
fn the_lines_say_which_name() {
    let site = migrating();
    let (_, lines) = site.check_peers(&["--with-uri-san", ID, "--with-cn", "none"]);
    assert_eq!(detail(&lines, "planned_peer"), "Felix will have to present URI SAN \"spiffe://td/felix\"");
    assert_eq!(
        *only(&lines, "cut_off"),
        site.with_leaf(json!({
            "level": "error", "finding": "cut_off", "file": "cn.pem", "reason": "identity_mismatch",
            "common_name": "typha-client", "uri_sans": [],
            "detail": "would be cut off: peer certificate does not have required URI SAN: required URI SAN \
                       \"spiffe://td/felix\", but presented CN \"typha-client\", no URI SAN; re-issue it with the new \
                       name first, or require the old name, too, until then: of a Common Name and a URI SAN, either \
                       suffices",
            "fix": "re-issue it with the new name first, or require the old name, too, until then: of a Common Name \
                    and a URI SAN, either suffices",
        }))
    );
}

#[test]
fn a_plan_that_requires_nothing_is_a_finding() {
    let site = migrating();
    let (code, lines) = site.check_peers(&["--with-cn", "none"]);
    assert_eq!((code, names(&lines)), (Some(1), vec![("error", "with_identity"), ("error", "peers")]));
    let (code, lines) = site.check_peers(&["--with-uri-san", "spiffe://"]);
    assert_eq!((code, names(&lines)), (Some(1), vec![("error", "with_identity"), ("error", "peers")]));
}

#[test]
fn a_doubtful_name_is_a_warning_once() {
    let site = Site::new();
    site.peer("a.pem", felix(&site.kept).chain_pem());
    let (code, lines) = site.check_peers(&["--with-cn", "CN=typha-client"]);
    let expected = [
        ("info", "planned_peer"),
        ("warning", "doubtful_identity"),
        ("error", "cut_off"),
        ("info", "summary"),
    ];
    assert_eq!((code, names(&lines)), (Some(1), expected.to_vec()));
    // The configuration has it already.
    let config = std::fs::read_to_string(site.path("typha.cfg")).unwrap();
    site.write("typha.cfg", config.replace("typha-client", "'typha-client '"));
    let (_, lines) = site.check_peers(&["--with-uri-san", ID]);
    let expected = [("info", "planned_peer"), ("info", "refused"), ("info", "summary")];
    assert_eq!(names(&lines), expected);
}
