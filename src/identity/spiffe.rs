//! Validation of SPIFFE IDs, as the SPIFFE ID standard (section 2) defines them.

/// The longest SPIFFE ID that implementations must support.
const MAX_LENGTH: usize = 2048;
/// The longest trust domain.
const MAX_TRUST_DOMAIN_LENGTH: usize = 255;

/// Whether `uri` has the scheme `spiffe`, in any case (RFC 3986 section 3.1: schemes are case-insensitive).
pub(super) fn has_spiffe_scheme(uri: &str) -> bool {
    uri.split_once(':').is_some_and(|(scheme, _)| scheme.eq_ignore_ascii_case("spiffe"))
}

/// Checks that `uri` is a SPIFFE ID. The error says what is wrong with it.
pub(super) fn validate(uri: &str) -> Result<(), &'static str> {
    let rest = uri.strip_prefix("spiffe://").ok_or("it does not begin with \"spiffe://\" in lower case")?;
    let (trust_domain, path) = match rest.split_once('/') {
        Some((trust_domain, path)) => (trust_domain, Some(path)),
        None => (rest, None),
    };
    if uri.len() > MAX_LENGTH || trust_domain.len() > MAX_TRUST_DOMAIN_LENGTH {
        return Err("it is longer than 2048 bytes, or its trust domain than 255");
    }
    if trust_domain.is_empty() {
        return Err("the trust domain is empty");
    }
    if !trust_domain.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_')) {
        return Err(
            "the trust domain has a character other than lower-case letters, digits, \".\", \"-\" and \"_\"",
        );
    }
    for segment in path.iter().flat_map(|path| path.split('/')) {
        match segment {
            "" => return Err("the path has an empty segment or a trailing slash"),
            "." | ".." => return Err("a path segment is \".\" or \"..\""),
            _ if !segment.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_')) => {
                return Err("the path has a character other than letters, digits, \".\", \"-\" and \"_\"");
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
        const SCHEME: &str = "it does not begin with \"spiffe://\" in lower case";
        const TOO_LONG: &str = "it is longer than 2048 bytes, or its trust domain than 255";
        const EMPTY_TRUST_DOMAIN: &str = "the trust domain is empty";
        const TRUST_DOMAIN_CHARACTER: &str =
            "the trust domain has a character other than lower-case letters, digits, \".\", \"-\" and \"_\"";
        const EMPTY_SEGMENT: &str = "the path has an empty segment or a trailing slash";
        const DOT_SEGMENT: &str = "a path segment is \".\" or \"..\"";
        const PATH_CHARACTER: &str =
            "the path has a character other than letters, digits, \".\", \"-\" and \"_\"";
        for (id, why) in [
            ("SPIFFE://td/p", SCHEME),
            ("spiffe:/td/p", SCHEME),
            ("spiffe:td", SCHEME),
            ("spiffe://", EMPTY_TRUST_DOMAIN),
            ("spiffe:///p", EMPTY_TRUST_DOMAIN),
            ("spiffe://TD/p", TRUST_DOMAIN_CHARACTER),
            ("spiffe://td:8443/p", TRUST_DOMAIN_CHARACTER),
            ("spiffe://user@td/p", TRUST_DOMAIN_CHARACTER),
            ("spiffe://td?q", TRUST_DOMAIN_CHARACTER),
            ("spiffe://t%64/p", TRUST_DOMAIN_CHARACTER),
            ("spiffe://td/", EMPTY_SEGMENT),
            ("spiffe://td/a//b", EMPTY_SEGMENT),
            ("spiffe://td/a/", EMPTY_SEGMENT),
            ("spiffe://td/./a", DOT_SEGMENT),
            ("spiffe://td/a/..", DOT_SEGMENT),
            ("spiffe://td/a?q=1", PATH_CHARACTER),
            ("spiffe://td/a#f", PATH_CHARACTER),
            ("spiffe://td/a%20b", PATH_CHARACTER),
            ("spiffe://td/a b", PATH_CHARACTER),
            ("spiffe://td/é", PATH_CHARACTER),
            (&format!("spiffe://td/{}", "p".repeat(2048 - 11)), TOO_LONG),
            (&format!("spiffe://{}/p", "t".repeat(256)), TOO_LONG),
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
