//! The names in a certificate: distinguished names, and their text for people.

use std::borrow::Cow;

use x509_parser::asn1_rs::Oid;

use crate::der::{DerError, DerReader, OBJECT_IDENTIFIER, SEQUENCE, SET};
use crate::text::Quoted;

/// One attribute of a distinguished name.
pub(super) struct NameAttribute<'a> {
    pub(super) oid: &'a [u8],
    pub(super) tag: u8,
    value: &'a [u8],
}

pub(super) const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];

impl<'a> NameAttribute<'a> {
    /// The value, if it is valid in its string type.
    pub(super) fn text(&self) -> Result<Cow<'a, str>, &'static str> {
        string_value(self.tag, self.value)
    }

    fn label(&self) -> &'static str {
        match self.oid {
            COMMON_NAME => "CN",
            [0x55, 0x04, 0x06] => "C",
            [0x55, 0x04, 0x07] => "L",
            [0x55, 0x04, 0x08] => "ST",
            [0x55, 0x04, 0x0a] => "O",
            [0x55, 0x04, 0x0b] => "OU",
            [0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 0x01, 0x19] => "DC",
            _ => "other",
        }
    }
}

/// Decodes an ASN.1 character string by its identifier octet (X.680 section 41; RFC 5280 section 4.1.2.4).
fn string_value(tag: u8, value: &[u8]) -> Result<Cow<'_, str>, &'static str> {
    let ascii = || std::str::from_utf8(value).map(Cow::Borrowed).map_err(|_| "a name is not ASCII");
    match tag {
        // UTF8String
        0x0c => std::str::from_utf8(value)
            .map(Cow::Borrowed)
            .map_err(|_| "a UTF8String in a name is not valid UTF-8"),
        // NumericString
        0x12 if value.iter().all(|b| matches!(b, b'0'..=b'9' | b' ')) => ascii(),
        0x12 => Err("a NumericString in a name has a character outside its set"),
        // PrintableString. Like Go, this accepts `*` and `&`, too, which real CAs use.
        0x13 if value.iter().all(|&b| b.is_ascii_alphanumeric() || b" '()+,-./:=?*&".contains(&b)) => ascii(),
        0x13 => Err("a PrintableString in a name has a character outside its set"),
        // TeletexString, which in practice is Latin-1.
        0x14 => Ok(value.iter().copied().map(char::from).collect::<String>().into()),
        // IA5String
        0x16 if value.is_ascii() => ascii(),
        0x16 => Err("an IA5String in a name is not ASCII"),
        // BMPString: UTF-16BE.
        0x1e => {
            let (pairs, rest) = value.as_chunks::<2>();
            if !rest.is_empty() {
                return Err("a BMPString in a name has an odd number of octets");
            }
            char::decode_utf16(pairs.iter().map(|&pair| u16::from_be_bytes(pair)))
                .collect::<Result<String, _>>()
                .map(Cow::Owned)
                .map_err(|_| "a BMPString in a name is not valid UTF-16")
        }
        _ => Err("a name has a value of an unsupported string type"),
    }
}

/// Name ::= SEQUENCE OF SET OF SEQUENCE { type, value }
pub(super) fn read_name(der: &[u8]) -> Result<Vec<NameAttribute<'_>>, DerError> {
    let mut attributes = Vec::new();
    let mut names = DerReader::new(DerReader::single(der, SEQUENCE)?);
    while let Some((tag, name)) = names.next_element()? {
        let mut members = DerReader::new(name);
        if tag != SET || name.is_empty() {
            return Err(DerError::Tag);
        }
        while let Some((tag, attribute)) = members.next_element()? {
            if tag != SEQUENCE {
                return Err(DerError::Tag);
            }
            let mut attribute = DerReader::new(attribute);
            let oid = attribute.expect(OBJECT_IDENTIFIER)?;
            let (tag, value) = attribute.next_element()?.ok_or(DerError::Length)?;
            attribute.end()?;
            attributes.push(NameAttribute { oid, tag, value });
        }
    }
    Ok(attributes)
}

/// The number of attributes of a name that are shown; enough to distinguish the CAs of a cluster.
const SHOWN_ATTRIBUTES: usize = 4;

/// A DER name as text, escaped and cut.
pub(crate) fn name_text(der: &[u8]) -> String {
    let Ok(attributes) = read_name(der) else { return "(unreadable name)".to_owned() };
    let mut text = String::new();
    // The last attributes are the most specific ones. None is cut in the middle, so that every quote has its end.
    for attribute in attributes.iter().rev().take(SHOWN_ATTRIBUTES) {
        let value = attribute.text().unwrap_or(Cow::Borrowed("?"));
        let value: String = value.chars().take(64).collect();
        let separator = if text.is_empty() { "" } else { ", " };
        let longer = format!("{}={}{separator}{text}", attribute.label(), Quoted(&value));
        if longer.len() > MAX_NAME_LENGTH {
            return format!("..., {text}");
        }
        text = longer;
    }
    if text.is_empty() { "(empty name)".to_owned() } else { text }
}

/// An error text with two names of this length stays below 1 KiB.
const MAX_NAME_LENGTH: usize = 300;
/// Far longer than any object identifier that is in use.
const MAX_OID_LENGTH: usize = 64;

pub(super) fn oid_text(oid: &Oid<'_>) -> String {
    // Checked before it is formatted: an identifier can be as long as its certificate.
    if oid.as_bytes().len() > MAX_OID_LENGTH {
        return "with a very long identifier".to_owned();
    }
    cut(oid.to_id_string(), MAX_OID_LENGTH)
}

/// Cuts a text that is ASCII.
fn cut(mut text: String, limit: usize) -> String {
    if text.len() > limit {
        text.truncate(limit);
        text.push_str("...");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn string_types() {
        for (tag, value, text) in [
            (0x0c, "täst".as_bytes(), "täst"),
            (0x13, b"typha-client *&".as_slice(), "typha-client *&"),
            (0x14, b"caf\xe9", "café"),
            (0x16, b"typha@client", "typha@client"),
            (0x1e, b"\0t\0y\xd8\x3d\xde\x00", "ty\u{1f600}"),
            (0x12, b"12 3", "12 3"),
        ] {
            assert_eq!(string_value(tag, value).as_deref(), Ok(text), "{tag:#x}");
        }
        for (tag, value) in [
            (0x0c, b"\xff".as_slice()),
            (0x12, b"12a"),
            (0x13, b"a_b"),
            (0x13, b"a\0"),
            (0x16, b"caf\xe9"),
            (0x1e, b"\0t\0"),
            (0x1e, b"\xd8\x3d\0a"),
            (0x1c, b"\0\0\0a"),
            (0x03, b"\0a"),
        ] {
            assert!(string_value(tag, value).is_err(), "{tag:#x} {value:x?}");
        }
    }

    #[test]
    fn names_are_read_strictly() {
        let cn = |value: &[u8]| {
            let mut attribute = vec![0x06, 3, 0x55, 4, 3, 0x0c, value.len() as u8];
            attribute.extend(value);
            let wrap = |tag, inner: Vec<u8>| [vec![tag, inner.len() as u8], inner].concat();
            wrap(SET, wrap(SEQUENCE, attribute))
        };
        let name = |members: &[Vec<u8>]| {
            let inner = members.concat();
            [vec![SEQUENCE, inner.len() as u8], inner].concat()
        };
        let two = name(&[cn(b"Users"), cn(b"typha-client")]);
        let read = read_name(&two).unwrap();
        assert_eq!(read.iter().map(|a| a.text().unwrap()).collect::<Vec<_>>(), ["Users", "typha-client"]);
        assert!(read.iter().all(|attribute| attribute.oid == COMMON_NAME));
        assert_eq!(name_text(&two), r#"CN="Users", CN="typha-client""#);

        assert!(read_name(&name(&[])).unwrap().is_empty());
        assert_eq!(read_name(&name(&[vec![SET, 0]])).err(), Some(DerError::Tag));
        assert_eq!(read_name(&[two, vec![0]].concat()).err(), Some(DerError::Length));
    }
}
