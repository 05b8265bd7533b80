//! Settings that have no effect, although they were probably meant to.

use std::ffi::OsString;

use thiserror::Error;
use tracing::warn;

use super::names::{CIPHER_SUITES, FELIX_TLS, MIN_VERSION, TYPHA_TLS};
use crate::role::Role;
use crate::text::Quoted;

/// A setting that has no effect, although it was probably meant to. Its name is close to that of a parameter, or it
/// stands in a place where it does not count. The text names the right name and place after a semicolon.
///
/// Names of other components are no warning: one file and one environment may configure a whole daemon.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("{} (from {source_of_value}) has no effect: {problem}; set {instead} if that is meant", Quoted(name))]
#[non_exhaustive]
pub struct ConfigWarning {
    /// The name as it is written there.
    pub name: String,
    /// Where it is set: `environment variable NAME`, escaped and cut, or `file PATH`.
    pub source_of_value: String,
    /// Why it has no effect.
    pub problem: &'static str,
    /// The name and the place that have an effect.
    pub instead: String,
}

impl ConfigWarning {
    /// The stable label for logs: `ineffective_parameter`.
    pub fn label(&self) -> &'static str {
        "ineffective_parameter"
    }
}

/// Logs each warning.
pub(super) fn log(warnings: &[ConfigWarning]) {
    for warning in warnings {
        warn!(finding = warning.label(), "{warning}");
    }
}

/// A name in a place that this end reads, which is no parameter of this end.
#[derive(Clone, Debug)]
pub(super) struct Unknown {
    /// The name as it is written; without the prefix of an environment variable.
    pub(super) name: String,
    pub(super) place: Place,
}

/// Where a name was found.
#[derive(Clone, Debug)]
pub(super) enum Place {
    /// In a variable with this prefix.
    Environment {
        variable: String,
        prefix: String,
    },
    File {
        source: String,
    },
}

impl Place {
    fn warning(&self, name: &str, problem: &'static str, instead: &str) -> ConfigWarning {
        let (name, source_of_value, instead) = match self {
            Self::Environment { variable, prefix } => {
                let instead = format!("the environment variable {prefix}{}", instead.to_ascii_uppercase());
                (variable.clone(), environment_variable(variable), instead)
            }
            Self::File { source } => (name.to_owned(), source.clone(), instead.to_owned()),
        };
        ConfigWarning { name, source_of_value, problem, instead }
    }
}

fn environment_variable(variable: &str) -> String {
    format!("environment variable {}", Quoted(variable))
}

const MISSPELT: &str = "there is no parameter of this name";
const PROCESS_WIDE: &str = "it counts only in the environment, without a prefix and spelt exactly";

/// Finds the names that are close to a parameter of the end `local`, whose parameters are `known`, or in a wrong place.
pub(super) fn find(
    local: Role,
    known: &[&'static str],
    unknown: &[Unknown],
    environment: &[(OsString, OsString)],
    prefixes: &[String],
) -> Vec<ConfigWarning> {
    let (ours, theirs, foreign_prefix, of_the_other) = if local == Role::Typha {
        (TYPHA_TLS, FELIX_TLS, "FELIX_", "it is a parameter of Felix")
    } else {
        (FELIX_TLS, TYPHA_TLS, "TYPHA_", "it is a parameter of Typha")
    };
    let (ours_names, theirs_names) = (ours.names(), theirs.names());
    let of_other_end = |name: &str| {
        let counterparts = theirs_names.into_iter().zip(ours_names);
        counterparts.into_iter().find(|(theirs, _)| *theirs == name).map(|(_, ours)| ours)
    };
    let mut warnings: Vec<ConfigWarning> = Vec::new();
    let mut add = |warning: ConfigWarning| {
        if !warnings.contains(&warning) {
            warnings.push(warning);
        }
    };
    for Unknown { name, place } in unknown {
        if let Some(policy) = process_wide(name) {
            add(ConfigWarning {
                instead: format!("the environment variable {policy}"),
                ..place.warning(name, PROCESS_WIDE, policy)
            });
        } else if let Some(meant) = closest(name, known.iter().copied().chain(theirs_names)) {
            add(match of_other_end(meant) {
                Some(instead) if same(name, meant) => place.warning(name, of_the_other, instead),
                Some(instead) => place.warning(name, MISSPELT, instead),
                None => place.warning(name, MISSPELT, meant),
            });
        }
    }
    for (variable, value) in environment {
        let Some(variable) = variable.to_str().filter(|_| !value.is_empty()) else { continue };
        let has_prefix = |prefix: &str| {
            variable.split_at_checked(prefix.len()).filter(|(start, _)| start.eq_ignore_ascii_case(prefix))
        };
        if prefixes.iter().any(|prefix| has_prefix(prefix).is_some()) {
            continue;
        }
        match process_wide(variable) {
            Some(policy) if policy != variable => add(ConfigWarning {
                name: variable.to_owned(),
                source_of_value: environment_variable(variable),
                problem: MISSPELT,
                instead: format!("the environment variable {policy}"),
            }),
            _ => {}
        }
        // A parameter of ours with the prefix of the other end.
        let foreign = has_prefix(foreign_prefix).map(|(_, name)| name);
        let meant = foreign.and_then(|name| ours_names.into_iter().find(|ours| same(name, ours)));
        if let (Some(meant), Some(prefix)) = (meant, prefixes.first()) {
            let place = Place::Environment { variable: variable.to_owned(), prefix: prefix.clone() };
            add(place.warning(variable, "it has the prefix of the other end", meant));
        }
    }
    warnings
}

/// The process-wide variable that is meant, in whatever spelling.
fn process_wide(name: &str) -> Option<&'static str> {
    // Two changes would make TLS_MAX_VERSION the same as TLS_MIN_VERSION.
    let normal = normalized(name);
    [MIN_VERSION, CIPHER_SUITES].into_iter().find(|known| distance(&normal, &normalized(known)) <= 1)
}

fn same(name: &str, other: &str) -> bool {
    normalized(name) == normalized(other)
}

/// The name without what people spell in different ways.
fn normalized(name: &str) -> Vec<char> {
    let is_part = |c: &char| !matches!(c, '_' | '-' | '.') && !c.is_whitespace();
    name.to_lowercase().chars().filter(is_part).collect()
}

/// The parameter that is closest to this name, if it is close enough to be meant.
fn closest(name: &str, known: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    // No name is longer, and the comparison takes time.
    const LONGEST: usize = 64;
    let name = normalized(name);
    if name.len() > LONGEST {
        return None;
    }
    let candidates = known.map(|candidate| {
        let other = normalized(candidate);
        let allowed = if other.len() < 10 { 1 } else { 2 };
        (distance(&name, &other), allowed, candidate)
    });
    let close = candidates.filter(|(distance, allowed, _)| distance <= allowed);
    close.min_by_key(|(distance, ..)| *distance).map(|(.., candidate)| candidate)
}

/// How many characters to insert, remove, replace or swap with the next one (optimal string alignment).
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    let mut previous = None;
    for (i, &x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, &y) in b.iter().enumerate() {
            let at = |row: &[usize], j: usize| row.get(j).copied().unwrap_or(usize::MAX - 1);
            let changed = at(&last, j) + usize::from(x != y);
            let mut least = changed.min(at(&last, j + 1) + 1).min(at(&row, j) + 1);
            let is_swap = j.checked_sub(1).and_then(|j| b.get(j)) == Some(&x) && previous == Some(y);
            if is_swap && j > 0 {
                least = least.min(at(&before, j - 1) + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut last, row);
        previous = Some(x);
    }
    last.last().copied().unwrap_or(a.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_slip_counts_once() {
        let distance = |a: &str, b: &str| distance(&normalized(a), &normalized(b));
        for (a, b, expected) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("CA_File", "ca-file", 0),
            ("clientcn", "cleintcn", 1),
            ("clientcn", "clientcns", 1),
            ("clientcn", "lientcn", 1),
            ("clientcn", "clienttn", 1),
            ("ab", "ba", 1),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!((distance(a, b), distance(b, a)), (expected, expected), "{a} {b}");
        }
    }
}
