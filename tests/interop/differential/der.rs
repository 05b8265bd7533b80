//! A writer of DER, also of what no library writes.

pub(super) const BOOLEAN: u8 = 0x01;
pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const NULL: u8 = 0x05;
pub(super) const OBJECT_IDENTIFIER: u8 = 0x06;
pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const SET: u8 = 0x31;

/// An element with its length in the shortest form.
pub(super) fn element(tag: u8, contents: &[u8]) -> Vec<u8> {
    let [.., high, middle, low] = contents.len().to_be_bytes();
    let header = match contents.len() {
        0..0x80 => vec![tag, low],
        0x80..0x100 => vec![tag, 0x81, low],
        0x100..0x1_0000 => vec![tag, 0x82, middle, low],
        _ => vec![tag, 0x83, high, middle, low],
    };
    [header, contents.to_vec()].concat()
}

/// A SEQUENCE of elements.
pub(super) fn sequence(elements: &[Vec<u8>]) -> Vec<u8> {
    element(SEQUENCE, &elements.concat())
}

/// Whether this is one element and nothing else, with its length in the shortest form.
pub(super) fn is_element(der: &[u8]) -> bool {
    (2..=4).any(|header| der.get(header..).is_some_and(|contents| element(der[0], contents) == der))
}

/// The tags and contents of the elements in `der`, as far as they are shorter than 128 octets.
pub(super) fn elements(mut der: &[u8]) -> Vec<(u8, &[u8])> {
    let mut elements = Vec::new();
    while let [tag, length @ 0..0x80, rest @ ..] = der
        && let Some((contents, rest)) = rest.split_at_checked(usize::from(*length))
    {
        elements.push((*tag, contents));
        der = rest;
    }
    elements
}
