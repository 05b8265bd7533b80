//! The lines of `typha-tls check`, and whether one of them is a finding.

use std::error::Error;

use serde_json::{Value, json};
use typha_tls::error::WithCauses;
use typha_tls::material::MaterialWarning;

use crate::output::{self, FOUND, SUCCESS};

#[derive(Default)]
pub(super) struct Report {
    found: bool,
}

impl Report {
    pub(super) fn info(&self, fact: &str, detail: &str) {
        self.info_with(fact, json!({}), detail);
    }

    /// With additional members.
    pub(super) fn info_with(&self, fact: &str, more: Value, detail: &str) {
        print(json!({ "level": "info", "fact": fact }), more, detail);
    }

    pub(super) fn warning(&mut self, finding: &str, detail: &str) {
        self.warning_with(finding, json!({}), detail);
    }

    pub(super) fn warning_with(&mut self, finding: &str, more: Value, detail: &str) {
        self.found = true;
        print(json!({ "level": "warning", "finding": finding }), more, detail);
    }

    pub(super) fn error(&mut self, finding: &str, detail: &str) {
        self.error_with(finding, json!({}), detail);
    }

    pub(super) fn error_with(&mut self, finding: &str, more: Value, detail: &str) {
        self.found = true;
        print(json!({ "level": "error", "finding": finding }), more, detail);
    }

    /// Returns the value of a result. Reports an error as a finding.
    pub(super) fn usable<T, E: Error>(&mut self, result: Result<T, E>, finding: &str) -> Option<T> {
        result.map_err(|error| self.error(finding, &WithCauses(&error).to_string())).ok()
    }

    /// Reports each warning, with the prefix `about`.
    pub(super) fn warnings(&mut self, about: &str, warnings: impl IntoIterator<Item = MaterialWarning>) {
        for warning in warnings {
            self.warning(warning.label(), &format!("{about}{warning}"));
        }
    }

    pub(super) fn exit_code(&self) -> u8 {
        if self.found { FOUND } else { SUCCESS }
    }
}

fn print(head: Value, more: Value, detail: &str) {
    output::print(&output::merge(output::merge(head, more), json!({ "detail": detail })));
}
