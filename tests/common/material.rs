//! Files and sources for the tests of configuration and material.

#![allow(dead_code, unreachable_pub, reason = "every test file uses a part of it")]

pub mod secret;

use std::path::PathBuf;

use tempfile::TempDir;
use typha_tls::config::{ConfigError, Sources};
use typha_tls::testing::{TestCa, TestLeaf};

/// A directory that goes away at the end of the test.
pub struct Dir(TempDir);

impl Dir {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The path as an operator would write it.
    pub fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    pub fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, contents).unwrap();
        path
    }

    /// `ca.pem`, `cert.pem` and `key.pem` of one end.
    pub fn write_material(&self, peer_ca: &TestCa, leaf: &TestLeaf) {
        self.write("ca.pem", peer_ca.root_pem());
        self.write("cert.pem", leaf.chain_pem());
        self.write("key.pem", leaf.key_pem());
    }
}

/// The places where a parameter can be set.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Place {
    Environment,
    File,
    Program,
}

pub const PLACES: [Place; 3] = [Place::Environment, Place::File, Place::Program];

const INI_FILE: &str = "daemon.cfg";

impl Place {
    /// Sets these parameters here, and no others; `prefix` is that of variables.
    pub fn set(self, sources: Sources, dir: &Dir, prefix: &str, settings: &[(&str, &str)]) -> Sources {
        match self {
            Self::Environment => sources.with_prefixes([prefix]).with_environment(
                settings.iter().map(|(name, value)| (variable(prefix, name), (*value).to_owned())),
            ),
            Self::File => {
                let lines = settings.iter().map(|(name, value)| format!("{name} = {value}\n"));
                sources.with_file(dir.write(INI_FILE, format!("[global]\n{}", lines.collect::<String>())))
            }
            Self::Program => {
                settings.iter().fold(sources, |sources, (name, value)| sources.with_value(name, value))
            }
        }
    }

    /// Only these parameters.
    pub fn only(self, dir: &Dir, prefix: &str, settings: &[(&str, &str)]) -> Sources {
        self.set(Sources::none(), dir, prefix, settings)
    }

    /// The text of an error about a parameter that is set here.
    pub fn source(self, dir: &Dir, prefix: &str, name: &str) -> String {
        match self {
            Self::Environment => format!("environment variable {}", variable(prefix, name)),
            Self::File => format!("file {}", dir.text(INI_FILE)),
            Self::Program => "program or command line".to_owned(),
        }
    }
}

/// Variables are conventionally written in upper case.
fn variable(prefix: &str, name: &str) -> String {
    format!("{prefix}{}", name.to_ascii_uppercase())
}

/// Asserts that a value is refused with all that an operator needs to find it.
#[track_caller]
pub fn assert_unusable(error: ConfigError, name: &str, from: &str, bad_value: &str, why: &str) {
    let text = error.to_string();
    let ConfigError::Value { parameter, source_of_value, value, problem, .. } = error else {
        panic!("{name} = {bad_value:?}: {error:?}");
    };
    assert_eq!((parameter, &*value), (name, bad_value));
    assert_eq!(source_of_value, from, "{name}");
    assert!(problem.starts_with(why), "{name} = {bad_value:?}: {problem}");
    let shown = bad_value.escape_default();
    assert_eq!(text, format!("the parameter {name} (from {from}) has the value \"{shown}\": {problem}"));
}
