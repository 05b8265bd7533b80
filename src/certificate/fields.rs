//! The fields of a certificate that x509-parser reads less strictly than RFC 5280 demands.

use crate::der::{DerError, DerReader, INTEGER, SEQUENCE, shortest_integer};

const GENERALIZED_TIME: u8 = 0x18;
const UTC_TIME: u8 = 0x17;
/// `[0]` EXPLICIT Version.
const VERSION: u8 = 0xa0;
/// `[1]` and `[2]` IMPLICIT UniqueIdentifier, a BIT STRING.
const UNIQUE_IDENTIFIERS: [u8; 4] = [0x81, 0x82, 0xa1, 0xa2];

/// Checks the serial number, the times, and that there is no unique identifier. The error is the problem; `None` if the
/// certificate does not even have these fields.
pub(super) fn check(der: &[u8]) -> Result<(), Option<&'static str>> {
    let fields = Fields::read(der).map_err(|_| None)?;
    let problem = match fields.serial {
        // Go has refused the first two since version 1.23; the third is no DER.
        [] => Some("its serial number is empty (RFC 5280 section 4.1.2.2)"),
        [0x80..=0xff, ..] => Some("its serial number is negative (RFC 5280 section 4.1.2.2); issue it again"),
        serial if shortest_integer(serial) != serial => {
            Some("its serial number is not in its shortest form, as DER demands; issue it again")
        }
        _ if fields.times.iter().any(|(tag, time)| !is_time(*tag, time)) => Some(
            "a time of its validity has no seconds or is not in UTC with a `Z` (RFC 5280 section 4.1.2.5); issue it \
             again",
        ),
        // webpki does not support them. RFC 5280 section 4.1.2.8 forbids CAs to use them.
        _ if fields.has_unique_identifier => Some(
            "it has a unique identifier (RFC 5280 section 4.1.2.8), which is not supported; issue it again",
        ),
        _ => None,
    };
    problem.map_or(Ok(()), |problem| Err(Some(problem)))
}

struct Fields<'a> {
    serial: &'a [u8],
    times: [(u8, &'a [u8]); 2],
    has_unique_identifier: bool,
}

impl<'a> Fields<'a> {
    fn read(der: &'a [u8]) -> Result<Self, DerError> {
        let certificate = DerReader::single(der, SEQUENCE)?;
        let mut fields = DerReader::new(DerReader::new(certificate).expect(SEQUENCE)?);
        let mut without_version = fields;
        let serial = match fields.next_element()? {
            Some((VERSION, _)) => fields.expect(INTEGER)?,
            _ => {
                let serial = without_version.expect(INTEGER)?;
                fields = without_version;
                serial
            }
        };
        let _algorithm = fields.expect(SEQUENCE)?;
        let _issuer = fields.expect(SEQUENCE)?;
        let mut validity = DerReader::new(fields.expect(SEQUENCE)?);
        let mut time = || validity.next_element()?.ok_or(DerError::Length);
        let times = [time()?, time()?];
        let _subject = fields.expect(SEQUENCE)?;
        let _key = fields.expect(SEQUENCE)?;
        let has_unique_identifier =
            fields.next_element()?.is_some_and(|(tag, _)| UNIQUE_IDENTIFIERS.contains(&tag));
        Ok(Self { serial, times, has_unique_identifier })
    }
}

/// Whether a time is in the form of RFC 5280: YYMMDDHHMMSSZ or YYYYMMDDHHMMSSZ.
fn is_time(tag: u8, contents: &[u8]) -> bool {
    let digits = match tag {
        UTC_TIME => 12,
        GENERALIZED_TIME => 14,
        _ => return false,
    };
    matches!(contents.split_last(), Some((b'Z', time)) if time.len() == digits && time.iter().all(u8::is_ascii_digit))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn element(tag: u8, contents: &[u8]) -> Vec<u8> {
        [&[tag, contents.len() as u8], contents].concat()
    }

    /// The fields of a certificate, with empty names and keys. `more` comes after the key.
    fn certificate(version: &[u8], serial: &[u8], times: [(u8, &str); 2], more: &[u8]) -> Vec<u8> {
        let empty = element(SEQUENCE, &[]);
        let times = times.map(|(tag, time)| element(tag, time.as_bytes())).concat();
        let fields = [
            version.to_vec(),
            element(INTEGER, serial),
            [&*empty, &*empty].concat(),
            element(SEQUENCE, &times),
            [&*empty, &*empty].concat(),
            more.to_vec(),
        ];
        element(SEQUENCE, &element(SEQUENCE, &fields.concat()))
    }

    const V3: &[u8] = &[VERSION, 3, INTEGER, 1, 2];
    const TIMES: [(u8, &str); 2] = [(UTC_TIME, "200101000000Z"), (GENERALIZED_TIME, "20500101000000Z")];

    #[track_caller]
    fn assert_problem(der: &[u8], beginning: &str) {
        let problem = check(der).unwrap_err().unwrap();
        assert!(problem.starts_with(beginning), "{problem}");
    }

    #[test]
    fn serial_numbers() {
        for serial in [&[0][..], &[1], &[0x7f], &[0, 0x80], &[0x7f; 20], &[0x7f; 40]] {
            assert_eq!(check(&certificate(V3, serial, TIMES, &[])), Ok(()), "{serial:x?}");
            assert_eq!(check(&certificate(&[], serial, TIMES, &[])), Ok(()), "version 1, {serial:x?}");
        }
        assert_problem(&certificate(V3, &[], TIMES, &[]), "its serial number is empty");
        for negative in [&[0x80][..], &[0xff], &[0xff, 0x80], &[0x80; 20]] {
            assert_problem(&certificate(V3, negative, TIMES, &[]), "its serial number is negative");
        }
        for longer in [&[0, 0][..], &[0, 1], &[0, 0, 0x80]] {
            assert_problem(
                &certificate(V3, longer, TIMES, &[]),
                "its serial number is not in its shortest form",
            );
        }
    }

    #[test]
    fn times() {
        let utc = |time| (UTC_TIME, time);
        for time in [
            utc("2001010000Z"),
            utc("200101000000"),
            utc("200101000000+0000"),
            utc("200101000000-0530"),
            utc("20010100000-Z"),
            utc("20200101000000Z"),
            (GENERALIZED_TIME, "200101000000Z"),
            (GENERALIZED_TIME, "20200101000000.5Z"),
            (GENERALIZED_TIME, "20200101000000+0100"),
            (0x16, "200101000000Z"),
        ] {
            for times in [[time, TIMES[1]], [TIMES[0], time]] {
                assert_problem(&certificate(V3, &[1], times, &[]), "a time of its validity");
            }
        }
        assert_eq!(check(&certificate(V3, &[1], [TIMES[1], TIMES[0]], &[])), Ok(()));
    }

    #[test]
    fn unique_identifiers() {
        for tag in UNIQUE_IDENTIFIERS {
            assert_problem(&certificate(V3, &[1], TIMES, &[tag, 2, 0, 1]), "it has a unique identifier");
        }
        assert_eq!(check(&certificate(V3, &[1], TIMES, &[0xa3, 0])), Ok(()));
    }

    #[test]
    fn what_has_not_even_these_fields() {
        for der in
            [&[][..], &[SEQUENCE, 0], &[SEQUENCE, 2, SEQUENCE, 0], &[SEQUENCE, 4, SEQUENCE, 2, INTEGER, 0]]
        {
            assert_eq!(check(der), Err(None));
        }
    }
}
