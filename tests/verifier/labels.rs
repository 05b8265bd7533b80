//! The operation guide lists every stable label of the library, and no other.

use std::collections::BTreeSet;

const GUIDE: &str = include_str!("../../docs/operation.md");

/// The enums with labels: the heading of the table in the guide, the name of the enum, and its source.
const ENUMS: [(&str, &str, &str); 10] = [
    ("Refusals", "Rejection", include_str!("../../src/verifier/rejection.rs")),
    ("Failed handshakes", "HandshakeError", include_str!("../../src/error.rs")),
    ("Phases of a time-out", "HandshakePhase", include_str!("../../src/error.rs")),
    ("Shed connections", "ShedCause", include_str!("../../src/listener/limits.rs")),
    ("Close reasons", "CloseReason", include_str!("../../src/lifetime/mod.rs")),
    ("Dial errors", "DialError", include_str!("../../src/dialer/error.rs")),
    ("Failed attempts", "AttemptError", include_str!("../../src/dialer/error.rs")),
    ("Reload errors", "ReloadError", include_str!("../../src/reload/state.rs")),
    ("Findings", "MaterialWarning", include_str!("../../src/material/warning.rs")),
    ("Matched names", "MatchedBy", include_str!("../../src/identity/required.rs")),
];

/// The string literals of the method `label` of an enum.
fn in_source<'a>(name: &str, source: &'a str) -> BTreeSet<&'a str> {
    let (_, implementation) = source.split_once(&format!("\nimpl {name} {{")).unwrap();
    let (_, method) = implementation.split_once("pub fn label(").unwrap();
    let (body, _) = method.split_once("\n    }\n").unwrap();
    body.split('"').skip(1).step_by(2).collect()
}

/// The code words in the first column of the tables under a heading of the guide.
fn in_guide(heading: &str) -> BTreeSet<&'static str> {
    let (_, section) = GUIDE.split_once(&format!("\n### {heading}\n")).unwrap();
    let (section, _) = section.split_once("\n#").unwrap();
    let cells = section.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect()
}

#[test]
fn the_guide_lists_every_label() {
    for (heading, name, source) in ENUMS {
        let labels = in_source(name, source);
        assert!(!labels.is_empty(), "{name}");
        assert_eq!(in_guide(heading), labels, "{name}, under the heading {heading:?}");
    }
}
