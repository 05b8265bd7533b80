//! Reads the configuration file.

use std::path::Path;

use ini::{Ini, ParseOption};

use super::error::ConfigError;

/// All names and values of the file, in its order; sections are ignored.
pub(super) fn read(path: &Path) -> Result<Vec<(String, String)>, ConfigError> {
    let (bytes, _) =
        crate::file::read(path).map_err(|source| ConfigError::File { path: path.to_owned(), source })?;
    parse(&bytes).map_err(|problem| ConfigError::FileSyntax { path: path.to_owned(), problem })
}

fn parse(bytes: &[u8]) -> Result<Vec<(String, String)>, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8 text".to_owned())?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    check_lines(text)?;
    let options = ParseOption { enabled_escape: false, ..ParseOption::default() };
    let file = Ini::load_from_str_opt(text, options).map_err(|error| error.to_string())?;
    let values = file.iter().flat_map(|(_, properties)| properties.iter());
    Ok(values.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect())
}

/// The parser takes a line that assigns nothing for the begin of the next line's name, which would then not be found.
fn check_lines(text: &str) -> Result<(), String> {
    let mut continued = false;
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        let skipped = continued || line.is_empty() || line.starts_with(['#', ';']);
        let is_section = line.starts_with('[') && line.contains(']');
        let name = line.split_once(['=', ':']).map(|(name, _)| name.trim());
        if !skipped && !is_section && name.is_none_or(str::is_empty) {
            return Err(format!(
                "line {} is neither `name = value`, nor a section, nor a comment",
                index + 1
            ));
        }
        continued = line.ends_with('\\');
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values() {
        let text = "\u{feff}; comment\nCAFile = /a b/ca.pem\r\n# comment = no\n\n[global]\n  ClientCN=typha-client # remark\n\
                    ClientURISAN: spiffe://td/a#f\n[other section]\nServerKeyFile = \"/quoted\"\nEmpty =\nPath = C:\\dir\\n";
        let expected = [
            ("CAFile", "/a b/ca.pem"),
            ("ClientCN", "typha-client"),
            ("ClientURISAN", "spiffe://td/a#f"),
            ("ServerKeyFile", "/quoted"),
            ("Empty", ""),
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
    fn a_line_that_assigns_nothing_is_an_error() {
        for (text, line) in
            [("CAFile /ca.pem\nClientCN = x", 1), ("[a]\n= x", 2), ("A = 1\n  CAFile", 2), ("A = 1\n[x", 2)]
        {
            let problem = parse(text.as_bytes()).unwrap_err();
            assert!(problem.starts_with(&format!("line {line} ")), "{text}: {problem}");
        }
    }

    #[test]
    fn what_is_no_text_is_an_error() {
        assert_eq!(parse(b"A = \xff").unwrap_err(), "it is not UTF-8 text");
    }
}
