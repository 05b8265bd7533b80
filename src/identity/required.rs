//! The identity that a peer must have.

use std::fmt;

use thiserror::Error;

use super::peer::PeerIdentity;
use super::spiffe;
use crate::text::Quoted;

/// The identity that a peer must present: a Common Name, a URI SAN, or either of two.
///
/// In Calico's terms: `ClientCN` and `ClientURISAN` on Typha, `TyphaCN` and `TyphaURISAN` on Felix. A value that
/// requires nothing can not be built: no peer is accepted because a requirement is missing.
///
/// Comparison is exact, byte for byte: no case folding, no trimming, no wildcards.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RequiredIdentity(Rule);

#[derive(Clone, Debug, Eq, PartialEq)]
enum Rule {
    CommonName(Box<str>),
    UriSan(Box<str>),
    Either { common_name: Box<str>, uri_san: Box<str> },
}

/// The reason why an identity can not be required.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum InvalidIdentity {
    /// The Common Name is the empty text. Empty never means "any".
    #[error("the required Common Name is empty")]
    EmptyCommonName,
    /// The URI SAN is the empty text. Empty never means "any".
    #[error("the required URI SAN is empty")]
    EmptyUriSan,
    /// Neither a Common Name nor a URI SAN was given: every certificate of the CA would be accepted.
    #[error("neither a Common Name nor a URI SAN is required; at least one must be")]
    NothingRequired,
    /// The URI SAN has the scheme `spiffe` but no SPIFFE-conforming peer could ever present it.
    #[error("the required URI SAN {} is not a valid SPIFFE ID: {problem}", Quoted(uri_san))]
    Spiffe {
        /// The URI as given.
        uri_san: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The URI SAN has a character that no URI contains (RFC 3986: white space, controls, anything outside ASCII).
    #[error("the required URI SAN {} has white space, a control or a non-ASCII character, which no URI \
             has", Quoted(.0))]
    UriCharacter(String),
}

impl RequiredIdentity {
    /// Requires this Common Name.
    ///
    /// # Errors
    ///
    /// [`InvalidIdentity::EmptyCommonName`].
    pub fn common_name(common_name: &str) -> Result<Self, InvalidIdentity> {
        Self::new(Some(common_name), None)
    }

    /// Requires this URI SAN.
    ///
    /// # Errors
    ///
    /// [`InvalidIdentity`] if it is empty, can not occur in a certificate, or has the scheme `spiffe` and is no SPIFFE
    /// ID.
    pub fn uri_san(uri_san: &str) -> Result<Self, InvalidIdentity> {
        Self::new(None, Some(uri_san))
    }

    /// Requires the Common Name or the URI SAN; a peer that has one of them is accepted.
    ///
    /// # Errors
    ///
    /// As [`common_name`](Self::common_name) and [`uri_san`](Self::uri_san).
    pub fn either(common_name: &str, uri_san: &str) -> Result<Self, InvalidIdentity> {
        Self::new(Some(common_name), Some(uri_san))
    }

    /// Requires the names that are given: one of them, or either of two.
    ///
    /// # Errors
    ///
    /// [`InvalidIdentity::NothingRequired`] if both are `None`; else as [`either`](Self::either).
    pub fn new(common_name: Option<&str>, uri_san: Option<&str>) -> Result<Self, InvalidIdentity> {
        if common_name.is_some_and(str::is_empty) {
            return Err(InvalidIdentity::EmptyCommonName);
        }
        uri_san.map(check_uri_san).transpose()?;
        match (common_name, uri_san) {
            (Some(name), None) => Ok(Self(Rule::CommonName(name.into()))),
            (None, Some(uri)) => Ok(Self(Rule::UriSan(uri.into()))),
            (Some(name), Some(uri)) => {
                Ok(Self(Rule::Either { common_name: name.into(), uri_san: uri.into() }))
            }
            (None, None) => Err(InvalidIdentity::NothingRequired),
        }
    }

    /// Compares the names that a peer presents with the required ones.
    ///
    /// # Errors
    ///
    /// [`IdentityMismatch`] with both sides, required and presented.
    ///
    /// # Security
    ///
    /// This compares names only. [`PeerVerifier`](crate::verifier::PeerVerifier) verifies the certificate first.
    pub fn check(&self, presented: &PeerIdentity) -> Result<MatchedBy, IdentityMismatch> {
        let by_common_name =
            self.required_common_name().is_some_and(|name| presented.common_name() == Some(name));
        let by_uri_san =
            self.required_uri_san().is_some_and(|uri| presented.uri_sans().any(|san| san == uri));
        match (by_common_name, by_uri_san) {
            (true, true) => Ok(MatchedBy::Both),
            (true, false) => Ok(MatchedBy::CommonName),
            (false, true) => Ok(MatchedBy::UriSan),
            (false, false) => Err(IdentityMismatch { required: self.clone(), presented: presented.clone() }),
        }
    }

    /// Reasons why a required name is probably not the one that was meant, such as a line break at its end. Such a name
    /// is compared byte for byte like any other, because Calico does so.
    pub fn doubts(&self) -> Vec<IdentityDoubt> {
        let common_name = self.required_common_name().and_then(|name| {
            let (problem, remedy) =
                doubt(name).or_else(|| has_attribute_type(name).then_some(ATTRIBUTE_TYPE))?;
            Some(IdentityDoubt { kind: "Common Name", value: name.to_owned(), problem, remedy })
        });
        let uri_san = self.required_uri_san().and_then(|uri| {
            let (problem, remedy) = doubt(uri).or_else(|| doubt_of_scheme(uri))?;
            Some(IdentityDoubt { kind: "URI SAN", value: uri.to_owned(), problem, remedy })
        });
        common_name.into_iter().chain(uri_san).collect()
    }

    /// The required Common Name, if there is one.
    pub fn required_common_name(&self) -> Option<&str> {
        match &self.0 {
            Rule::CommonName(common_name) | Rule::Either { common_name, .. } => Some(common_name),
            Rule::UriSan(_) => None,
        }
    }

    /// The required URI SAN, if there is one.
    pub fn required_uri_san(&self) -> Option<&str> {
        match &self.0 {
            Rule::UriSan(uri_san) | Rule::Either { uri_san, .. } => Some(uri_san),
            Rule::CommonName(_) => None,
        }
    }
}

impl fmt::Display for RequiredIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Rule::CommonName(name) => write!(f, "CN {}", Quoted(name)),
            Rule::UriSan(uri) => write!(f, "URI SAN {}", Quoted(uri)),
            Rule::Either { common_name, uri_san } => {
                write!(f, "CN {} or URI SAN {}", Quoted(common_name), Quoted(uri_san))
            }
        }
    }
}

fn check_uri_san(uri: &str) -> Result<(), InvalidIdentity> {
    if uri.is_empty() {
        return Err(InvalidIdentity::EmptyUriSan);
    }
    if !uri.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(InvalidIdentity::UriCharacter(uri.to_owned()));
    }
    if spiffe::has_spiffe_scheme(uri) {
        spiffe::validate(uri)
            .map_err(|problem| InvalidIdentity::Spiffe { uri_san: uri.to_owned(), problem })?;
    }
    Ok(())
}

/// A reason why a required name is probably not the one that was meant; see [`RequiredIdentity::doubts`].
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("the required {kind} {} {problem}, and a peer must have exactly this name; {remedy}", Quoted(value))]
#[non_exhaustive]
pub struct IdentityDoubt {
    /// `Common Name` or `URI SAN`.
    pub kind: &'static str,
    /// The required name.
    pub value: String,
    /// What is unusual about it.
    pub problem: &'static str,
    /// What to do if it is not meant.
    pub remedy: &'static str,
}

/// A problem of any name, and its remedy.
fn doubt(name: &str) -> Option<(&'static str, &'static str)> {
    const QUOTES: [char; 2] = ['"', '\''];
    // Zero-width characters, the soft hyphen and the byte order mark.
    let is_invisible = |c| matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}');
    if name.ends_with(['\n', '\r']) {
        Some((
            "ends in a line break",
            "if that is not meant, make the value without one: echo -n, or printf %s",
        ))
    } else if name.chars().any(char::is_control) {
        Some(("has a control character", "if that is not meant, type the value again"))
    } else if name.trim() != name {
        Some(("begins or ends with white space", "if that is not meant, remove the white space"))
    } else if name.starts_with(QUOTES) || name.ends_with(QUOTES) {
        Some(("begins or ends with a quotation mark", "if that is not meant, remove the quotation marks"))
    } else if name.contains(is_invisible) {
        Some(("has an invisible character", "if that is not meant, type the value again"))
    } else if name.contains("\\n") || name.contains("\\r") {
        Some(("has \\n or \\r in it, as two characters", "if that is not meant, remove both"))
    } else {
        None
    }
}

const ATTRIBUTE_TYPE: (&str, &str) =
    ("has CN= in it", "if that is not meant, give the Common Name alone, without CN= and other attributes");

/// Whether it is a whole subject, such as `CN=typha-client` or `/O=example/CN=typha-client`.
fn has_attribute_type(name: &str) -> bool {
    name.split(['/', ',', '+']).any(|attribute| {
        let (kind, _) = attribute.split_once('=').unwrap_or_default();
        kind.trim().eq_ignore_ascii_case("CN")
    })
}

fn doubt_of_scheme(uri: &str) -> Option<(&'static str, &'static str)> {
    match uri.split_once(':') {
        None => Some((
            "has no scheme",
            "if that is not meant, give the whole URI, such as spiffe://example.org/typha",
        )),
        // As openssl prints a SAN.
        Some((scheme, _)) if scheme.eq_ignore_ascii_case("URI") => {
            Some(("has the prefix URI:", "if that is not meant, give the URI without it"))
        }
        _ => None,
    }
}

/// By which of the required names a peer was accepted.
///
/// A migration from Common Names to SPIFFE IDs is finished when no peer matches by [`CommonName`](Self::CommonName)
/// alone any more.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum MatchedBy {
    /// The Common Name and the URI SAN; both are required and the peer has both. Label: `both`.
    Both,
    /// The Common Name alone. Label: `common_name`.
    CommonName,
    /// The host that was dialled. Only the host rule accepts a server by it. Label: `host`.
    Host,
    /// The URI SAN alone. Label: `uri_san`.
    UriSan,
}

impl MatchedBy {
    /// A stable label for logs and metrics: `both`, `common_name`, `host` or `uri_san`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Both => "both",
            Self::CommonName => "common_name",
            Self::Host => "host",
            Self::UriSan => "uri_san",
        }
    }
}

impl fmt::Display for MatchedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// The peer presented none of the required names.
///
/// The text begins as Calico's text does, so that operators find it with the log searches that they know.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("peer certificate does not have required {}: required {required}, but presented {presented}", .required.kind())]
#[non_exhaustive]
pub struct IdentityMismatch {
    /// What was required.
    pub required: RequiredIdentity,
    /// What the peer presented.
    pub presented: PeerIdentity,
}

impl RequiredIdentity {
    fn kind(&self) -> &'static str {
        match self.0 {
            Rule::CommonName(_) => "CN",
            Rule::UriSan(_) => "URI SAN",
            Rule::Either { .. } => "CN or URI SAN",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn presented(common_name: Option<&str>, uri_sans: &[&str]) -> PeerIdentity {
        PeerIdentity {
            common_name: common_name.map(Into::into),
            uri_sans: uri_sans.iter().map(|&uri| uri.into()).collect(),
            dns_name: None,
        }
    }

    #[test]
    fn either_name_suffices_and_is_reported() {
        let both = RequiredIdentity::either("cn", "spiffe://td/a").unwrap();
        let name = RequiredIdentity::common_name("cn").unwrap();
        let uri = RequiredIdentity::uri_san("spiffe://td/a").unwrap();
        for (required, common_name, uris, outcome) in [
            (&both, Some("cn"), &["spiffe://td/a"][..], Some(MatchedBy::Both)),
            (&both, Some("cn"), &["spiffe://td/b"], Some(MatchedBy::CommonName)),
            (&both, Some("other"), &["x:y", "spiffe://td/a"], Some(MatchedBy::UriSan)),
            (&both, None, &["spiffe://td/a"], Some(MatchedBy::UriSan)),
            (&both, Some("other"), &["spiffe://td/b"], None),
            (&both, None, &[], None),
            (&name, Some("cn"), &["spiffe://td/a"], Some(MatchedBy::CommonName)),
            (&name, Some("other"), &["spiffe://td/a"], None),
            (&uri, Some("cn"), &["spiffe://td/a"], Some(MatchedBy::UriSan)),
            (&uri, Some("cn"), &[], None),
        ] {
            let presented = presented(common_name, uris);
            assert_eq!(required.check(&presented).ok(), outcome, "{required} / {presented}");
        }
    }

    #[test]
    fn comparison_is_exact() {
        let required = RequiredIdentity::either("typha-client", "spiffe://td/a").unwrap();
        for name in
            ["Typha-client", "typha-client ", " typha-client", "typha-client\0", "typha-clien", "*", ""]
        {
            required.check(&presented(Some(name), &[])).unwrap_err();
        }
        for uri in ["Spiffe://td/a", "spiffe://td/a/", "spiffe://td/%61", "spiffe://td/ab", "spiffe://TD/a"] {
            required.check(&presented(None, &[uri])).unwrap_err();
        }
    }

    #[test]
    fn mismatches_read_as_calicos_do() {
        let presented = presented(Some("bad\n"), &["spiffe://td/b"]);
        for (required, text) in [
            (
                RequiredIdentity::common_name("cn"),
                "peer certificate does not have required CN: required CN \"cn\", but presented CN \"bad\\n\", URI SANs \
                 [\"spiffe://td/b\"]",
            ),
            (
                RequiredIdentity::uri_san("a:b"),
                "peer certificate does not have required URI SAN: required URI SAN \"a:b\", but presented CN \
                 \"bad\\n\", URI SANs [\"spiffe://td/b\"]",
            ),
            (
                RequiredIdentity::either("cn", "a:b"),
                "peer certificate does not have required CN or URI SAN: required CN \"cn\" or URI SAN \"a:b\", but \
                 presented CN \"bad\\n\", URI SANs [\"spiffe://td/b\"]",
            ),
        ] {
            assert_eq!(required.unwrap().check(&presented).unwrap_err().to_string(), text);
        }
    }

    #[test]
    fn what_can_not_be_required() {
        assert_eq!(RequiredIdentity::new(None, None), Err(InvalidIdentity::NothingRequired));
        assert_eq!(RequiredIdentity::common_name(""), Err(InvalidIdentity::EmptyCommonName));
        assert_eq!(RequiredIdentity::either("", "a:b"), Err(InvalidIdentity::EmptyCommonName));
        assert_eq!(RequiredIdentity::uri_san(""), Err(InvalidIdentity::EmptyUriSan));
        assert_eq!(RequiredIdentity::either("cn", ""), Err(InvalidIdentity::EmptyUriSan));
        for uri in ["a b", "a:b\n", "a:\0", "a:é"] {
            assert_eq!(RequiredIdentity::uri_san(uri), Err(InvalidIdentity::UriCharacter(uri.to_owned())));
        }
        for (uri, problem) in [
            ("spiffe://td/", "the path has an empty segment or a trailing slash"),
            ("SPIFFE://td/a", "it does not begin with \"spiffe://\" in lower case"),
            ("spiffe:td", "it does not begin with \"spiffe://\" in lower case"),
        ] {
            let uri_san = uri.to_owned();
            assert_eq!(RequiredIdentity::uri_san(uri), Err(InvalidIdentity::Spiffe { uri_san, problem }));
        }
    }

    #[test]
    fn other_schemes_may_be_required() {
        for uri in ["https://typha.example/", "urn:uuid:1", "typha"] {
            assert_eq!(RequiredIdentity::uri_san(uri).unwrap().required_uri_san(), Some(uri));
        }
    }
}
