//! A strict reader of DER elements (X.690), for the parts of a certificate that decide the identity of a peer.
//!
//! x509-parser accepts lengths that are not minimal and data after an element. This reader refuses both.

/// The reason why bytes are not strict DER.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum DerError {
    /// An element is shorter than its length, or data follows the last element.
    Length,
    /// A length is indefinite or not in its shortest form.
    NotCanonical,
    /// A tag is not the expected one.
    Tag,
    /// A value is not valid in its type.
    Value,
}

pub(crate) const BIT_STRING: u8 = 0x03;
pub(crate) const BOOLEAN: u8 = 0x01;
pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const OBJECT_IDENTIFIER: u8 = 0x06;
pub(crate) const OCTET_STRING: u8 = 0x04;
pub(crate) const SEQUENCE: u8 = 0x30;
pub(crate) const SET: u8 = 0x31;

/// Reads one element after the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DerReader<'a>(&'a [u8]);

impl<'a> DerReader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The contents of the only element in `bytes`, which must have this tag.
    pub(crate) fn single(bytes: &'a [u8], tag: u8) -> Result<&'a [u8], DerError> {
        let mut reader = Self(bytes);
        let contents = reader.expect(tag)?;
        reader.end()?;
        Ok(contents)
    }

    /// The contents of the next element, which must have this tag.
    pub(crate) fn expect(&mut self, tag: u8) -> Result<&'a [u8], DerError> {
        match self.next_element()? {
            Some((found, contents)) if found == tag => Ok(contents),
            _ => Err(DerError::Tag),
        }
    }

    /// The next element's identifier octet and contents; `None` at the end.
    pub(crate) fn next_element(&mut self) -> Result<Option<(u8, &'a [u8])>, DerError> {
        let Some((&tag, rest)) = self.0.split_first() else { return Ok(None) };
        // Tag numbers above 30 take several octets; nothing in a name uses them.
        if tag & 0x1f == 0x1f {
            return Err(DerError::Tag);
        }
        let (length, rest) = read_length(rest)?;
        let (contents, rest) = rest.split_at_checked(length).ok_or(DerError::Length)?;
        self.0 = rest;
        Ok(Some((tag, contents)))
    }

    /// The next element whole, with its header; `None` at the end.
    pub(crate) fn next_whole(&mut self) -> Result<Option<&'a [u8]>, DerError> {
        let before = self.0;
        let Some(_) = self.next_element()? else { return Ok(None) };
        Ok(before.get(..before.len() - self.0.len()))
    }

    /// The contents of the next element, which must be a BIT STRING of whole octets.
    pub(crate) fn octets_of_bit_string(&mut self) -> Result<&'a [u8], DerError> {
        match self.expect(BIT_STRING)?.split_first() {
            Some((0, octets)) => Ok(octets),
            _ => Err(DerError::Value),
        }
    }

    /// What is left to read.
    pub(crate) fn rest(self) -> &'a [u8] {
        self.0
    }

    /// Checks that nothing is left.
    pub(crate) fn end(self) -> Result<(), DerError> {
        if self.0.is_empty() { Ok(()) } else { Err(DerError::Length) }
    }
}

/// The contents of the INTEGER of the same value in its shortest form (X.690 section 8.3.2), which DER demands.
pub(crate) fn shortest_integer(mut contents: &[u8]) -> &[u8] {
    while let [0x00, shorter @ ..] | [0xff, shorter @ ..] = contents
        && matches!(contents, [0x00, 0x00..=0x7f, ..] | [0xff, 0x80..=0xff, ..])
    {
        contents = shorter;
    }
    contents
}

/// Checks the DER of an element and of all elements inside it; nothing may follow it.
pub(crate) fn check_nested(bytes: &[u8]) -> Result<(), DerError> {
    let mut reader = DerReader::new(bytes);
    let (tag, contents) = reader.next_element()?.ok_or(DerError::Length)?;
    reader.end()?;
    check_contents(tag, contents, MAX_DEPTH)
}

/// Far deeper than any extension nests.
const MAX_DEPTH: usize = 16;

fn check_contents(tag: u8, contents: &[u8], depth: usize) -> Result<(), DerError> {
    const CONSTRUCTED: u8 = 0x20;
    match tag {
        BOOLEAN if !matches!(contents, [0x00 | 0xff]) => Err(DerError::Value),
        OBJECT_IDENTIFIER if !is_object_identifier(contents) => Err(DerError::Value),
        tag if tag & CONSTRUCTED != 0 => {
            let depth = depth.checked_sub(1).ok_or(DerError::Length)?;
            let mut reader = DerReader::new(contents);
            while let Some((tag, contents)) = reader.next_element()? {
                check_contents(tag, contents, depth)?;
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Whether these are the contents of an object identifier: its last octet ends its last component.
pub(crate) fn is_object_identifier(contents: &[u8]) -> bool {
    contents.last().is_some_and(|last| last & 0x80 == 0)
}

fn read_length(bytes: &[u8]) -> Result<(usize, &[u8]), DerError> {
    let (&first, rest) = bytes.split_first().ok_or(DerError::Length)?;
    if first < 0x80 {
        return Ok((usize::from(first), rest));
    }
    // Certificates are far below 16 MiB, so that a length takes at most three octets.
    let octets = usize::from(first & 0x7f);
    if octets == 0 {
        return Err(DerError::NotCanonical);
    }
    if octets > 3 {
        return Err(DerError::Length);
    }
    let (length, rest) = rest.split_at_checked(octets).ok_or(DerError::Length)?;
    let length = length.iter().fold(0_usize, |length, &octet| (length << 8) | usize::from(octet));
    // The shortest form: no long form below 128, and no leading zero octet.
    if length < 0x80 || length >> (8 * (octets - 1)) == 0 {
        return Err(DerError::NotCanonical);
    }
    Ok((length, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_one_after_the_other() {
        let mut reader = DerReader::new(&[0x0c, 2, b'a', b'b', 0x86, 0]);
        assert_eq!(reader.next_element(), Ok(Some((0x0c, &b"ab"[..]))));
        assert_eq!(reader.next_element(), Ok(Some((0x86, &b""[..]))));
        assert_eq!(reader.next_element(), Ok(None));
    }

    #[test]
    fn whole_elements_and_bit_strings() {
        let mut reader = DerReader::new(&[0x0c, 2, b'a', b'b', 0x86, 0]);
        assert_eq!(reader.next_whole(), Ok(Some(&[0x0c, 2, b'a', b'b'][..])));
        assert_eq!(reader.next_whole(), Ok(Some(&[0x86, 0][..])));
        assert_eq!(reader.next_whole(), Ok(None));
        for (bytes, octets) in [
            (&[3, 2, 0, 7][..], Ok(&[7][..])),
            (&[3, 1, 0], Ok(&[])),
            (&[3, 0], Err(DerError::Value)),
            (&[3, 2, 1, 6], Err(DerError::Value)),
            (&[4, 2, 0, 7], Err(DerError::Tag)),
        ] {
            assert_eq!(DerReader::new(bytes).octets_of_bit_string(), octets, "{bytes:x?}");
        }
    }

    #[test]
    fn integers_in_their_shortest_form() {
        for (contents, shortest) in [
            (&[0x7f][..], &[0x7f][..]),
            (&[0, 0x7f], &[0x7f]),
            (&[0, 0, 0x80], &[0, 0x80]),
            (&[0, 0], &[0]),
            (&[0xff, 0xff, 0x80], &[0x80]),
            (&[0xff, 0x7f], &[0xff, 0x7f]),
            (&[0xff], &[0xff]),
            (&[], &[]),
        ] {
            assert_eq!(shortest_integer(contents), shortest, "{contents:x?}");
        }
    }

    #[test]
    fn long_lengths() {
        for length in [127, 128, 255, 256, 65_535, 65_536] {
            let mut bytes = vec![0x0c];
            match length {
                0..128 => bytes.push(length as u8),
                128..256 => bytes.extend([0x81, length as u8]),
                256..65_536 => bytes.extend([0x82, (length >> 8) as u8, length as u8]),
                _ => bytes.extend([0x83, (length >> 16) as u8, (length >> 8) as u8, length as u8]),
            }
            bytes.resize(bytes.len() + length, 0);
            assert_eq!(DerReader::single(&bytes, 0x0c).map(<[u8]>::len), Ok(length));
        }
    }

    #[test]
    fn encodings_that_are_not_strict() {
        for (bytes, why) in [
            (&[0x0c][..], DerError::Length),
            (&[0x0c, 1], DerError::Length),
            (&[0x0c, 1, b'a', 0], DerError::Length),
            (&[0x0c, 0x81], DerError::Length),
            (&[0x0c, 0x84, 0, 0, 0, 1], DerError::Length),
            (&[0x0c, 0x81, 1, b'a'], DerError::NotCanonical),
            (&[0x0c, 0x82, 0, 0x80], DerError::NotCanonical),
            (&[0x0c, 0x80, 0, 0], DerError::NotCanonical),
            (&[0x16, 1, b'a'], DerError::Tag),
            (&[0x1f, 1, b'a'], DerError::Tag),
            (&[], DerError::Tag),
        ] {
            assert_eq!(DerReader::single(bytes, 0x0c), Err(why), "{bytes:x?}");
        }
    }

    #[test]
    fn nested_elements() {
        for (bytes, outcome) in [
            (&[0x30, 6, 1, 1, 0xff, 6, 1, 0x2a][..], Ok(())),
            (&[0x04, 1, 0xff], Ok(())),
            (&[], Err(DerError::Length)),
            (&[0x30, 0, 0], Err(DerError::Length)),
            (&[0x30, 3, 0x30, 2, 0x04], Err(DerError::Length)),
            (&[0x30, 3, 1, 1, 1], Err(DerError::Value)),
            (&[0x30, 2, 6, 0], Err(DerError::Value)),
            (&[0x30, 3, 6, 1, 0x80], Err(DerError::Value)),
            (&[0x30, 3, 4, 0x81, 0], Err(DerError::NotCanonical)),
        ] {
            assert_eq!(check_nested(bytes), outcome, "{bytes:x?}");
        }
        let deep = (0..40).fold(Vec::new(), |inner, _| [vec![0x30, inner.len() as u8], inner].concat());
        assert_eq!(check_nested(&deep), Err(DerError::Length));
    }
}
