//! Which versions of other crates this command was built with.

/// What cargo resolved.
const LOCK: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.lock"));

/// Their names with their versions.
pub(super) fn of(crates: &[&str]) -> String {
    crates.iter().map(|name| format!("{name} {}", version(LOCK, name))).collect::<Vec<_>>().join(", ")
}

/// Each package is a line with its name, and then one with its version.
fn version<'a>(lock: &'a str, name: &str) -> &'a str {
    let named = format!("name = \"{name}\"");
    let mut lines = lock.lines().skip_while(|line| *line != named);
    let version = lines.nth(1).and_then(|line| line.strip_prefix("version = \"")?.strip_suffix('"'));
    version.unwrap_or("(unknown version)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_that_of_the_package_itself() {
        let lock =
            "name = \"rustls-webpki\"\nversion = \"0.1.0\"\n\nname = \"rustls\"\nversion = \"0.2.0\"\n";
        assert_eq!(version(lock, "rustls"), "0.2.0");
        assert_eq!(version(lock, "absent"), "(unknown version)");
        assert_eq!(version(LOCK, "typha-tls"), env!("CARGO_PKG_VERSION"));
    }
}
