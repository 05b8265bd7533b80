//! Validation of SPIFFE IDs, as the SPIFFE ID standard (section 2) defines them.

use thiserror::Error;

/// The longest SPIFFE ID that implementations must support.
const MAX_LENGTH: usize = 2048;
/// The longest trust domain.
const MAX_TRUST_DOMAIN_LENGTH: usize = 255;

/// Why a text with the scheme `spiffe` is not a SPIFFE ID.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum InvalidSpiffeId {
    /// A path segment is `.` or `..`.
    #[error("a path segment is \".\" or \"..\"")]
    DotSegment,
    /// Two slashes follow each other, or the path ends in one.
    #[error("the path has an empty segment or a trailing slash")]
    EmptySegment,
    /// There is nothing between `spiffe://` and the path.
    #[error("the trust domain is empty")]
    EmptyTrustDomain,
    /// A character outside `[A-Za-z0-9._-]` in a path segment; also a query, a fragment or percent-encoding.
    #[error("the path has a character other than letters, digits, \".\", \"-\" and \"_\"")]
    PathCharacter,
    /// The scheme is not written `spiffe://`, in lower case.
    #[error("it does not begin with \"spiffe://\" in lower case")]
    Scheme,
    /// More than 2048 bytes, or a trust domain of more than 255.
    #[error("it is longer than 2048 bytes, or its trust domain than 255")]
    TooLong,
    /// A character outside `[a-z0-9._-]` in the trust domain; also a port or user information.
    #[error("the trust domain has a character other than lower-case letters, digits, \".\", \"-\" and \"_\"")]
    TrustDomainCharacter,
}

/// Whether `uri` has the scheme `spiffe`, in any case (RFC 3986 section 3.1: schemes are case-insensitive).
pub(super) fn has_spiffe_scheme(uri: &str) -> bool {
    uri.split_once(':').is_some_and(|(scheme, _)| scheme.eq_ignore_ascii_case("spiffe"))
}

/// Checks that `uri` is a SPIFFE ID.
pub(super) fn validate(uri: &str) -> Result<(), InvalidSpiffeId> {
    let rest = uri.strip_prefix("spiffe://").ok_or(InvalidSpiffeId::Scheme)?;
    let (trust_domain, path) = match rest.split_once('/') {
        Some((trust_domain, path)) => (trust_domain, Some(path)),
        None => (rest, None),
    };
    if uri.len() > MAX_LENGTH || trust_domain.len() > MAX_TRUST_DOMAIN_LENGTH {
        return Err(InvalidSpiffeId::TooLong);
    }
    if trust_domain.is_empty() {
        return Err(InvalidSpiffeId::EmptyTrustDomain);
    }
    if !trust_domain.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_')) {
        return Err(InvalidSpiffeId::TrustDomainCharacter);
    }
    for segment in path.iter().flat_map(|path| path.split('/')) {
        match segment {
            "" => return Err(InvalidSpiffeId::EmptySegment),
            "." | ".." => return Err(InvalidSpiffeId::DotSegment),
            _ if !segment.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_')) => {
                return Err(InvalidSpiffeId::PathCharacter);
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valid_ids() {
        for id in [
            "spiffe://cluster.local/ns/calico-system/sa/calico-node",
            "spiffe://td",
            "spiffe://t_d-1.x/A.b_c-9/...",
            &format!("spiffe://td/{}", "p".repeat(2048 - 12)),
            &format!("spiffe://{}/p", "t".repeat(255)),
        ] {
            assert_eq!(validate(id), Ok(()), "{id}");
        }
    }

    #[test]
    fn invalid_ids() {
        use InvalidSpiffeId::*;
        for (id, why) in [
            ("SPIFFE://td/p", Scheme),
            ("spiffe:/td/p", Scheme),
            ("spiffe:td", Scheme),
            ("spiffe://", EmptyTrustDomain),
            ("spiffe:///p", EmptyTrustDomain),
            ("spiffe://TD/p", TrustDomainCharacter),
            ("spiffe://td:8443/p", TrustDomainCharacter),
            ("spiffe://user@td/p", TrustDomainCharacter),
            ("spiffe://td?q", TrustDomainCharacter),
            ("spiffe://t%64/p", TrustDomainCharacter),
            ("spiffe://td/", EmptySegment),
            ("spiffe://td/a//b", EmptySegment),
            ("spiffe://td/a/", EmptySegment),
            ("spiffe://td/./a", DotSegment),
            ("spiffe://td/a/..", DotSegment),
            ("spiffe://td/a?q=1", PathCharacter),
            ("spiffe://td/a#f", PathCharacter),
            ("spiffe://td/a%20b", PathCharacter),
            ("spiffe://td/a b", PathCharacter),
            ("spiffe://td/é", PathCharacter),
            (&format!("spiffe://td/{}", "p".repeat(2048 - 11)), TooLong),
            (&format!("spiffe://{}/p", "t".repeat(256)), TooLong),
        ] {
            assert_eq!(validate(id), Err(why), "{id}");
        }
    }

    #[test]
    fn the_scheme_is_found_in_any_case() {
        assert!(has_spiffe_scheme("SpIfFe://td"));
        assert!(has_spiffe_scheme("spiffe:"));
        assert!(!has_spiffe_scheme("spiffex://td"));
        assert!(!has_spiffe_scheme("spiffe"));
    }
}
