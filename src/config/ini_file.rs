//! Reads the configuration file.
//!
//! It reads line by line; nothing spans lines. In general INI parsers, comments, quotes and continuations can swallow
//! the next line, which could turn TLS off. Every line that is neither clear nor harmless is an error.

use std::path::Path;

use super::error::ConfigError;

/// All names and values of the file, in its order; sections are ignored.
pub(super) fn read(path: &Path) -> Result<Vec<(String, String)>, ConfigError> {
    let (bytes, _) =
        crate::file::read(path).map_err(|source| ConfigError::File { path: path.to_owned(), source })?;
    parse(&bytes).map_err(|problem| ConfigError::FileSyntax { path: path.to_owned(), problem })
}

fn parse(bytes: &[u8]) -> Result<Vec<(String, String)>, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8 text".to_owned())?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).replace("\r\n", "\n").replace('\r', "\n");
    let mut values = Vec::new();
    for (number, line) in (1..).zip(text.split('\n')) {
        match read_line(line.trim()) {
            Ok(Some((name, value))) => values.push((name.to_owned(), value.to_owned())),
            Ok(None) => {}
            Err(problem) => return Err(format!("line {number}: {problem}")),
        }
    }
    Ok(values)
}

/// The name and the value that a line sets; `None` for a section, a comment and an empty line.
fn read_line(line: &str) -> Result<Option<(&str, &str)>, &'static str> {
    if is_empty_or_comment(line) {
        return Ok(None);
    }
    if let Some(section) = line.strip_prefix('[') {
        return match section.split_once(']') {
            Some((_, rest)) if is_empty_or_comment(rest.trim_start()) => Ok(None),
            _ => Err("a section is a name in brackets, on a line of its own"),
        };
    }
    let (name, value) = line.split_once(['=', ':']).ok_or("it is not `name = value`")?;
    let (name, value) = (name.trim_end(), value.trim_start());
    if name.is_empty() {
        return Err("there is no name in front of the value");
    }
    // Otherwise a name in quotes, for example, would be unknown and ignored.
    if !name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.')) {
        return Err("a name has letters, digits, `_`, `-` and `.` only");
    }
    match value.chars().next() {
        Some(quote @ ('"' | '\'' | '`')) => match value.get(1..).and_then(|rest| rest.split_once(quote)) {
            Some((value, rest)) if is_empty_or_comment(rest.trim_start()) => Ok(Some((name, value))),
            _ => Err("the value is quoted, but its line does not end with the quote"),
        },
        _ => {
            let value = without_comment(value);
            if value.ends_with('\\') {
                return Err("a value can not be continued on the next line");
            }
            Ok(Some((name, value)))
        }
    }
}

fn is_empty_or_comment(text: &str) -> bool {
    text.is_empty() || text.starts_with(['#', ';'])
}

/// A comment after a value begins with a `#` or `;` that follows white space.
fn without_comment(value: &str) -> &str {
    let mut after_space = true;
    for (position, character) in value.char_indices() {
        if after_space && matches!(character, '#' | ';') {
            return value.get(..position).unwrap_or_default().trim_end();
        }
        after_space = character.is_whitespace();
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values() {
        let text = "\u{feff}; comment\nCAFile = /a b/ca.pem\r\n# comment = no\n\n[global] ; remark\n  # indented\n  \
                    ClientCN=typha-client # remark\nClientURISAN: spiffe://td/a#f\n[other section]\nServerKeyFile = \
                    \"/quoted # path\" ; remark\nEmpty =\nAlso = ; remark\nPath = C:\\dir\\n";
        let expected = [
            ("CAFile", "/a b/ca.pem"),
            ("ClientCN", "typha-client"),
            ("ClientURISAN", "spiffe://td/a#f"),
            ("ServerKeyFile", "/quoted # path"),
            ("Empty", ""),
            ("Also", ""),
            ("Path", "C:\\dir\\n"),
        ];
        let parsed = parse(text.as_bytes()).unwrap();
        assert_eq!(parsed, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    #[test]
    fn the_same_section_and_name_twice() {
        let parsed = parse(b"[a]\nX = 1\n[a]\nX = 2\nX = 3").unwrap();
        assert_eq!(parsed.iter().map(|(_, value)| &**value).collect::<Vec<_>>(), ["1", "2", "3"]);
    }

    #[test]
    fn no_line_swallows_the_next() {
        for text in [
            "[a]\n  # remark\nClientCN = x\n",
            "# remark \\\nOdd = 1\nClientCN = x",
            "Odd = 1\r\nClientCN = x\r\n",
            "Odd = 1\rClientCN = x\r",
            "[a = b]\nClientCN = x",
        ] {
            let parsed = parse(text.as_bytes()).unwrap();
            assert_eq!(parsed.last(), Some(&("ClientCN".to_owned(), "x".to_owned())), "{text}");
        }
    }

    #[test]
    fn what_is_not_clear_is_an_error() {
        for (text, problem) in [
            ("CAFile /ca.pem\nClientCN = x", "line 1: it is not `name = value`"),
            ("A = 1\r\n\r\n  CAFile\r\n", "line 3: it is not `name = value`"),
            ("A = 1\rCAFile\r", "line 2: it is not `name = value`"),
            ("[a]\n= x", "line 2: there is no name in front of the value"),
            ("[a] odd\nClientCN = x", "line 1: a section is a name in brackets, on a line of its own"),
            ("[a = b\nClientCN = x\nY = c]", "line 1: a section is a name in brackets, on a line of its own"),
            (
                "X = \"a\nClientCN = x\nY = b\"",
                "line 1: the value is quoted, but its line does not end with the quote",
            ),
            ("\"CAFile\" = /ca.pem", "line 1: a name has letters, digits, `_`, `-` and `.` only"),
            ("X = 'a' b", "line 1: the value is quoted, but its line does not end with the quote"),
            ("A = 1\nX = a\\\nClientCN = x", "line 2: a value can not be continued on the next line"),
        ] {
            assert_eq!(parse(text.as_bytes()).unwrap_err(), problem, "{text}");
        }
    }

    #[test]
    fn what_is_no_text_is_an_error() {
        assert_eq!(parse(b"A = \xff").unwrap_err(), "it is not UTF-8 text");
    }
}
