//! `typha-tls pki`: makes a CA and the two leaves of the how-to.

use std::error::Error;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use clap::Args;
use serde_json::json;
use typha_tls::testing::{
    CertificateSpec, FELIX_COMMON_NAME, FELIX_SPIFFE_ID, Purpose, TYPHA_COMMON_NAME, TYPHA_SPIFFE_ID, TestCa,
};

use crate::output::{self, Format, SUCCESS, UNUSABLE};

/// Makes a CA and a certificate for each end, ready to use
///
/// Writes PEM files and an INI file for each daemon into DIR, and prints the parameters to set; with --format json, one
/// JSON line for each file and each daemon. Existing files are never overwritten.
///
/// Exit code: 0 done, 2 the directory can not be used.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The directory, created if it does not exist
    dir: PathBuf,
    /// The form of the output
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    format: Format,
}

const DAY: Duration = Duration::from_secs(24 * 3600);

pub(crate) fn run(arguments: &Arguments) -> u8 {
    match make(&arguments.dir, arguments.format) {
        Ok(()) => SUCCESS,
        Err(error) => {
            output::complain(&*error);
            UNUSABLE
        }
    }
}

fn make(dir: &Path, format: Format) -> Result<(), Box<dyn Error>> {
    let dir = std::path::absolute(dir)?;
    // In INI files these characters would end the value or begin a comment.
    let breaks_ini = |c: char| c.is_control() || "\"'`#;".contains(c);
    if dir.to_str().is_none_or(|path| path.contains(breaks_ini)) {
        return Err(format!(
            "{}: an INI file can not hold a path with quotes, `#`, `;` or controls",
            dir.display()
        )
        .into());
    }
    fs::create_dir_all(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    // Clocks of a cluster differ; a certificate that has been valid for an hour is valid on all of them.
    let from = SystemTime::now() - DAY / 24;
    let ca = TestCa::new(CertificateSpec::ca("calico-typha-ca").valid(from, from + 3650 * DAY))?;
    let leaf = |common_name: &str, spiffe_id: &str, purpose| {
        ca.issue(
            CertificateSpec::leaf(common_name)
                .uri_san(spiffe_id)
                .purpose(purpose)
                .valid(from, from + 365 * DAY),
        )
    };
    let typha = leaf(TYPHA_COMMON_NAME, TYPHA_SPIFFE_ID, Purpose::ServerAuth)?;
    let felix = leaf(FELIX_COMMON_NAME, FELIX_SPIFFE_ID, Purpose::ClientAuth)?;

    let path = |name: &str| dir.join(name).display().to_string();
    let typha_parameters = [
        ("CAFile", path("ca.pem")),
        ("ServerCertFile", path("typha-server.pem")),
        ("ServerKeyFile", path("typha-server-key.pem")),
        ("ClientCN", FELIX_COMMON_NAME.to_owned()),
        ("ClientURISAN", FELIX_SPIFFE_ID.to_owned()),
    ];
    let felix_parameters = [
        ("TyphaCAFile", path("ca.pem")),
        ("TyphaCertFile", path("typha-client.pem")),
        ("TyphaKeyFile", path("typha-client-key.pem")),
        ("TyphaCN", TYPHA_COMMON_NAME.to_owned()),
        ("TyphaURISAN", TYPHA_SPIFFE_ID.to_owned()),
    ];
    let files = [
        ("ca.pem", ca.root_pem(), 0o644),
        ("ca-key.pem", ca.key_pem(), 0o600),
        ("typha-server.pem", typha.chain_pem(), 0o644),
        ("typha-server-key.pem", typha.key_pem(), 0o600),
        ("typha-client.pem", felix.chain_pem(), 0o644),
        ("typha-client-key.pem", felix.key_pem(), 0o600),
        ("typha.cfg", ini(&typha_parameters), 0o644),
        ("felix.cfg", ini(&felix_parameters), 0o644),
    ];
    if let Some((name, ..)) = files.iter().find(|(name, ..)| dir.join(name).exists()) {
        return Err(format!("{} exists already, and nothing is overwritten", path(name)).into());
    }
    for (name, contents, mode) in &files {
        write_new(&dir.join(name), contents, *mode).map_err(|error| format!("{}: {error}", path(name)))?;
        match format {
            Format::Json => output::print(&json!({ "event": "created", "file": path(name) })),
            Format::Text => output::print_text(&format!("created {}", path(name))),
        }
    }
    print_settings(format, "typha", &path("typha.cfg"), &typha_parameters);
    print_settings(format, "felix", &path("felix.cfg"), &felix_parameters);
    Ok(())
}

fn ini(parameters: &[(&str, String)]) -> String {
    let lines = parameters.iter().map(|(name, value)| format!("{name} = {value}\n"));
    std::iter::once("[global]\n".to_owned()).chain(lines).collect()
}

/// Prints the settings of a daemon: its file, or its environment.
fn print_settings(format: Format, daemon: &str, file: &str, parameters: &[(&str, String)]) {
    let prefix = daemon.to_uppercase();
    let environment: Vec<_> =
        parameters.iter().map(|(name, value)| format!("{prefix}_{}={value}", name.to_uppercase())).collect();
    match format {
        Format::Json => output::print(
            &json!({ "event": "settings", "daemon": daemon, "config": file, "environment": environment }),
        ),
        Format::Text => output::print_text(&format!(
            "\nsettings of {daemon}: --config {file}, or these environment variables:\n  {}",
            environment.join("\n  ")
        )),
    }
}

fn write_new(path: &Path, contents: &str, mode: u32) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    #[cfg(not(unix))]
    let _ = mode;
    options.open(path)?.write_all(contents.as_bytes())
}
