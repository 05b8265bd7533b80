//! The configuration: a parameter of TLS that is set is never lost, least of all so that TLS is off.
//!
//! Input: an INI file; after the first NUL, if there is one, the lines of an environment.

#![no_main]

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use typha_tls::config::{ConfigError, FelixConfig, Sources, TlsSettings, TyphaConfig};

static FILE: LazyLock<PathBuf> = LazyLock::new(|| {
    // In memory where that is to be had: on a disk, each run would wait for it.
    let folder = Some(PathBuf::from("/dev/shm")).filter(|folder| folder.is_dir());
    folder.unwrap_or_else(std::env::temp_dir).join(format!("typha-tls-fuzz-{}.cfg", std::process::id()))
});

const TYPHA: [&str; 5] = ["CAFile", "ServerCertFile", "ServerKeyFile", "ClientCN", "ClientURISAN"];
const FELIX: [&str; 5] = ["TyphaCAFile", "TyphaCertFile", "TyphaKeyFile", "TyphaCN", "TyphaURISAN"];

fuzz_target!(|data: &[u8]| {
    let (ini, environment) = match data.iter().position(|&byte| byte == 0) {
        Some(end) => (&data[..end], String::from_utf8_lossy(&data[end + 1..])),
        None => (data, String::new().into()),
    };
    // The names of variables have no NUL, and those of Windows are not meant.
    let environment: Vec<(&str, &str)> = environment
        .lines()
        .filter_map(|line| line.split_once('='))
        .filter(|(name, _)| !name.is_empty())
        .collect();
    std::fs::write(&*FILE, ini).expect("the directory for temporary files can be written to");
    let sources = |prefix| {
        Sources::none()
            .with_file(&*FILE)
            .with_prefixes([prefix])
            .with_environment(environment.iter().copied())
    };
    let values = |prefix| {
        let mut values = file_values(ini);
        values.extend(environment_values(&environment, prefix));
        values
    };

    let typha = TyphaConfig::load(&sources("TYPHA_"));
    if let Ok(config) = &typha {
        assert!(config.server_port != 0 && !config.handshake_timeout.is_zero());
    }
    check(typha.map(|config| config.tls), &TYPHA, &values("TYPHA_"));
    check(FelixConfig::load(&sources("FELIX_")).map(|config| config.tls), &FELIX, &values("FELIX_"));
});

/// Everything that is beyond doubt set must be an error, or in the result as it was set.
fn check(loaded: Result<Option<TlsSettings>, ConfigError>, names: &[&str; 5], values: &Values) {
    let Ok(tls) = loaded else { return };
    let expected = names.map(|name| values.get(&name.to_ascii_lowercase())?.as_deref());
    let Some(tls) = tls else {
        assert_eq!(expected, [None; 5], "TLS is off, although a parameter of it is set");
        return;
    };
    let found = [
        tls.files.ca_file.to_str(),
        tls.files.cert_file.to_str(),
        tls.files.key_file.to_str(),
        tls.required_peer.required_common_name(),
        tls.required_peer.required_uri_san(),
    ];
    for (name, (expected, found)) in names.iter().zip(expected.into_iter().zip(found)) {
        assert!(expected.is_none() || expected == found, "{name}: {expected:?} was set, {found:?} was read");
    }
}

/// By name in lower case: the value that a parameter has, or `None` where that is open to doubt.
type Values = HashMap<String, Option<String>>;

/// Reads an INI file by lines, as an operator does. What is open to doubt makes no claim: quoted values, remarks,
/// continued lines, `none`, and all of a file with line ends of its own.
fn file_values(ini: &[u8]) -> Values {
    let Ok(text) = std::str::from_utf8(ini) else { return Values::new() };
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut values = Values::new();
    if text.replace("\r\n", "\n").contains('\r') {
        return Values::new();
    }
    let mut is_continued = false;
    for line in text.split('\n').map(str::trim) {
        if is_continued || line.starts_with('[') {
            // Whether it assigns anything is open.
            let line = line.to_ascii_lowercase();
            values.retain(|name, _| !line.contains(name));
        }
        if is_continued || line.is_empty() || line.starts_with(['[', '#', ';']) {
            is_continued &= line.ends_with('\\');
            continue;
        }
        let Some((name, value)) = line.split_once(['=', ':']) else { continue };
        let value = value.trim();
        if value.starts_with("\"\"\"") || value.starts_with('`') {
            return Values::new();
        }
        is_continued = value.ends_with('\\');
        set(&mut values, name.trim(), value);
    }
    values
}

fn environment_values(environment: &[(&str, &str)], prefix: &str) -> Values {
    let mut values = Values::new();
    for (variable, value) in environment {
        match variable.split_at_checked(prefix.len()) {
            Some((start, name)) if start.eq_ignore_ascii_case(prefix) => set(&mut values, name, value),
            _ => {}
        }
    }
    values
}

fn set(values: &mut Values, name: &str, value: &str) {
    let is_plain = value.bytes().all(|b| b.is_ascii_alphanumeric() || b"/._-:".contains(&b));
    let value = (is_plain && !value.eq_ignore_ascii_case("none")).then(|| value.to_owned());
    if value.as_deref() != Some("") {
        values.insert(name.to_ascii_lowercase(), value);
    }
}
