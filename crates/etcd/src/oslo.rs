//! Reads the INI files of OpenStack as its library oslo.config does.

use std::collections::HashMap;

/// The values of one section, each as `oslo.config` gives it to a program.
pub(crate) struct Section(HashMap<String, String>);

impl Section {
    /// Reads the section with this name. The error says in which line the file is wrong. It shows no part of the line,
    /// which may have a password.
    ///
    /// - Sections with the same name are one, and the case of the name does not matter. The case of an option does.
    /// - The last value of an option counts, even if it is empty.
    /// - A line that begins with a space or a tab continues the value of the line before it.
    /// - A value loses its quotes if it begins and ends with the same one. A comment has a line of its own.
    pub(crate) fn read(text: &str, name: &str) -> Result<Self, String> {
        let mut values = HashMap::new();
        let mut is_in_section = None;
        // The option that the next line may continue.
        let mut open: Option<(&str, String)> = None;
        let mut close = |open: &mut Option<(&str, String)>, is_in_section| {
            if let Some((option, value)) = open.take()
                && is_in_section == Some(true)
            {
                values.insert(option.to_owned(), value);
            }
        };
        let lines = text.replace("\r\n", "\n");
        for (number, line) in (1..).zip(lines.split(['\n', '\r'])) {
            let wrong = |problem: &str| Err(format!("line {number}: {problem}"));
            let line = line.trim_end();
            if line.starts_with([' ', '\t']) {
                match &mut open {
                    Some((_, value)) => {
                        value.push('\n');
                        value.push_str(line.trim_start());
                    }
                    None => {
                        return wrong("it is indented, but there is no option in front of it to continue");
                    }
                }
                continue;
            }
            close(&mut open, is_in_section);
            if line.is_empty() || line.starts_with(['#', ';']) {
                continue;
            }
            if let Some(section) = line.strip_prefix('[') {
                match section.strip_suffix(']') {
                    Some("") | None => return wrong("a section is a name in brackets, on a line of its own"),
                    Some(section) => is_in_section = Some(section.to_lowercase() == name),
                }
                continue;
            }
            let Some((option, value)) = line.split_once([':', '=']) else {
                return wrong("it is not `name = value`");
            };
            let (option, value) = (option.trim(), value.trim());
            if option.is_empty() {
                return wrong("there is no name in front of the value");
            }
            if is_in_section.is_none() {
                return wrong("there is no section in front of it");
            }
            open = Some((option, without_quotes(value).to_owned()));
        }
        close(&mut open, is_in_section);
        Ok(Self(values))
    }

    /// The value of an option, if it is set. `$$` and `\$` stand for `$`. A reference to another option, such as
    /// `$name`, is an error.
    pub(crate) fn get(&self, option: &str) -> Result<Option<String>, String> {
        let Some(value) = self.0.get(option) else { return Ok(None) };
        let value = value.replace("\\$", "$$");
        let (mut expanded, mut rest) = (String::new(), &*value);
        while let Some((before, after)) = rest.split_once('$') {
            expanded.push_str(before);
            expanded.push('$');
            let name = after.strip_prefix('{').unwrap_or(after);
            if name.starts_with(|c: char| c == '_' || c.is_ascii_alphabetic()) {
                return Err(
                    "it refers to another option by `$`; write the value itself, and `$$` for each `$`"
                        .to_owned(),
                );
            }
            rest = after.strip_prefix('$').unwrap_or(after);
        }
        expanded.push_str(rest);
        Ok(Some(expanded))
    }
}

fn without_quotes(value: &str) -> &str {
    let strip = |quote| match value.strip_prefix(quote) {
        // A lone quote is both ends of an empty value.
        Some("") => Some(""),
        rest => rest?.strip_suffix(quote),
    };
    strip('"').or_else(|| strip('\'')).unwrap_or(value)
}
