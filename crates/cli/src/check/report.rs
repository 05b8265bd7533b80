//! The report of `typha-tls check`: facts and findings, as JSON lines or as text for people.

use std::io::{IsTerminal as _, Write as _};

use serde_json::{Value, json};
use typha_tls::error::WithCauses;
use typha_tls::material::MaterialError;

use crate::output::{self, FOUND, Format, SUCCESS};

/// The remedy for a file that can not be read.
pub(super) const SEE_PATH: &str = "see whether the path is right and this user may read the file";

/// The order is that of the text.
#[derive(Clone, Copy, Eq, Ord, PartialEq, PartialOrd)]
enum Level {
    Error,
    Warning,
    Info,
}

/// A fact or a finding.
pub(super) struct Line {
    level: Level,
    label: &'static str,
    members: Value,
    about: Option<String>,
    problem: String,
    fix: Option<String>,
}

impl Line {
    /// A fact.
    pub(super) fn info(label: &'static str, problem: impl Into<String>) -> Self {
        Self::new(Level::Info, label, problem)
    }

    pub(super) fn warning(label: &'static str, problem: impl Into<String>) -> Self {
        Self::new(Level::Warning, label, problem)
    }

    pub(super) fn error(label: &'static str, problem: impl Into<String>) -> Self {
        Self::new(Level::Error, label, problem)
    }

    /// An error about a file. It has a remedy, also where the library gives none.
    pub(super) fn of_file(label: &'static str, error: &MaterialError) -> Self {
        let remedy = match error {
            MaterialError::Read { .. } => SEE_PATH,
            _ => "copy the file again, or issue it again",
        };
        Self::error(label, WithCauses(error).to_string()).split().or_fix(remedy)
    }

    fn new(level: Level, label: &'static str, problem: impl Into<String>) -> Self {
        Self { level, label, members: json!({}), about: None, problem: problem.into(), fix: None }
    }

    /// Names the parameter or the file.
    pub(super) fn about(mut self, about: impl Into<String>) -> Self {
        self.about = Some(about.into());
        self
    }

    /// Adds the remedy, for people who read only this line.
    pub(super) fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }

    /// As [`fix`](Self::fix), if there is no other remedy.
    pub(super) fn or_fix(mut self, fix: &str) -> Self {
        self.fix.get_or_insert_with(|| fix.to_owned());
        self
    }

    /// Makes the remedy with which a text of the library ends the remedy of the line.
    pub(super) fn split(mut self) -> Self {
        if let Some((problem, remedy)) = split_remedy(&self.problem) {
            (self.fix, self.problem) = (Some(remedy.to_owned()), problem.to_owned());
        }
        self
    }

    /// Adds members to the JSON.
    pub(super) fn members(mut self, members: Value) -> Self {
        self.members = output::merge(self.members, members);
        self
    }

    /// As a line about this peer's file.
    pub(super) fn file(self, file: &str) -> Self {
        self.about(file).members(json!({ "file": file }))
    }

    fn to_json(&self) -> Value {
        let (level, kind) = match self.level {
            Level::Error => ("error", "finding"),
            Level::Warning => ("warning", "finding"),
            Level::Info => ("info", "fact"),
        };
        let head = output::merge(json!({ "level": level, kind: self.label }), self.members.clone());
        let head = match &self.about {
            // The file of a peer is a member of its own.
            Some(about) if self.members.get("file").is_none() => {
                output::merge(head, json!({ "about": about }))
            }
            _ => head,
        };
        match &self.fix {
            Some(fix) => {
                output::merge(head, json!({ "detail": format!("{}; {fix}", self.problem), "fix": fix }))
            }
            None => output::merge(head, json!({ "detail": self.problem })),
        }
    }

    /// The mark, the label, what it is about and the problem; the remedy in a line of its own.
    fn to_text(&self, colours: bool) -> String {
        let (mark, colour) = match self.level {
            Level::Error => ("✗", "31"),
            Level::Warning => ("!", "33"),
            Level::Info => ("-", "2"),
        };
        let label = self.label;
        let head =
            if colours { format!("\x1b[{colour}m{mark} {label}\x1b[0m") } else { format!("{mark} {label}") };
        let about =
            self.about.as_ref().map(|about| format!("{}: ", output::printable(about))).unwrap_or_default();
        let fix = self.fix.as_ref().map(|fix| format!("\n    fix: {}", output::printable(fix)));
        format!("{head}: {about}{}{}", output::printable(&self.problem), fix.unwrap_or_default())
    }
}

/// Prints JSON lines as they come; collects the lines of the text, which has the errors first.
pub(super) struct Report {
    format: Format,
    found: bool,
    lines: Vec<Line>,
}

impl Report {
    pub(super) fn new(format: Format) -> Self {
        Self { format, found: false, lines: Vec::new() }
    }

    pub(super) fn add(&mut self, line: Line) {
        self.found |= line.level != Level::Info;
        match self.format {
            Format::Json => output::print(&line.to_json()),
            Format::Text => self.lines.push(line),
        }
    }

    /// Returns what was read from a file. Reports an error as a finding.
    pub(super) fn usable<T>(&mut self, result: Result<T, MaterialError>, finding: &'static str) -> Option<T> {
        result.map_err(|error| self.add(Line::of_file(finding, &error))).ok()
    }

    /// Prints the text, and returns the exit code.
    pub(super) fn finish(mut self) -> u8 {
        if self.format == Format::Text {
            // Facts with advice come before the other facts.
            self.lines.sort_by_key(|line| (line.level, line.level == Level::Info && line.fix.is_none()));
            let mut stdout = std::io::stdout().lock();
            let colours = output::colours(stdout.is_terminal());
            for line in &self.lines {
                let _ = writeln!(stdout, "{}", line.to_text(colours));
            }
            let _ = writeln!(stdout, "\n{}", self.totals());
        }
        if self.found { FOUND } else { SUCCESS }
    }

    /// The numbers of errors and warnings, and which they are.
    fn totals(&self) -> String {
        let count = |level, what: &str| match self.lines.iter().filter(|line| line.level == level).count() {
            0 => format!("no {what}s"),
            1 => format!("1 {what}"),
            more => format!("{more} {what}s"),
        };
        let mut labels: Vec<_> =
            self.lines.iter().filter(|line| line.level != Level::Info).map(|line| line.label).collect();
        labels.dedup();
        let which = if labels.is_empty() { String::new() } else { format!(": {}", labels.join(", ")) };
        format!("{}, {}{which}", count(Level::Error, "error"), count(Level::Warning, "warning"))
    }
}

/// Splits `problem; remedy`, the form of the library's texts, at the first semicolon outside of a name in quotes.
fn split_remedy(text: &str) -> Option<(&str, &str)> {
    let mut semicolons = text.match_indices("; ").map(|(at, _)| text.split_at(at));
    let (problem, remedy) = semicolons
        .find(|(before, _)| before.replace("\\\\", "").replace("\\\"", "").matches('"').count() % 2 == 0)?;
    Some((problem, remedy.strip_prefix("; ")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remedy_is_split_off_outside_of_quotes() {
        let split = |text| split_remedy(text).unwrap();
        assert_eq!(
            split("it expired: x; if a, do b; if c, do d"),
            ("it expired: x", "if a, do b; if c, do d")
        );
        assert_eq!(split(r#"CN="a\"; b" is old; add c"#), (r#"CN="a\"; b" is old"#, "add c"));
        assert_eq!(split(r#"CN="a\\"; add b"#), (r#"CN="a\\""#, "add b"));
        assert_eq!(split_remedy(r#"CN="a; b" expired"#), None);
    }

    #[test]
    fn colours_are_around_the_label_only() {
        let line = Line::error("cut_off", "would be cut off").file("a.pem").fix("renew it");
        let plain = "✗ cut_off: a.pem: would be cut off\n    fix: renew it";
        assert_eq!(line.to_text(false), plain);
        assert_eq!(line.to_text(true), plain.replace("✗ cut_off", "\u{1b}[31m✗ cut_off\u{1b}[0m"));
    }

    #[test]
    fn a_file_name_can_not_fake_a_line() {
        let line = Line::info("skipped", "it is empty").file("a\n✗ b\u{1b}[2J\u{202e}ü");
        assert_eq!(line.to_text(false), "- skipped: a\\n✗ b\\u{1b}[2J\\u{202e}ü: it is empty");
    }
}
