//! The host rule: for which host a server's certificate must be valid.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use rustls_pki_types::{CertificateDer, DnsName, ServerName};
use thiserror::Error;
use webpki::EndEntityCert;

use crate::certificate::Certificate;
use crate::text::{Quoted, QuotedList};

/// The host that a client has dialled: a DNS name or an IP address. A server's certificate must have it among the DNS
/// names or IP addresses of its subject alternative names (RFC 9525). Its Common Name does not count.
///
/// An empty host, a wildcard and an unspecified address are errors, because they name no single server.
///
/// A DNS name is compared without regard to case. A final dot is for the resolver only, which then tries no search
/// domains. In the certificate, `*` may stand for the whole first label. An IPv4 address that is written as an IPv6
/// address (`::ffff:192.0.2.1`) is that IPv4 address.
///
/// ```
/// use typha_tls::ServerHost;
///
/// assert_eq!(ServerHost::new("ETCD-1.example.")?.to_string(), "etcd-1.example");
/// assert_eq!(ServerHost::new("[2001:db8::1]")?.to_string(), "2001:db8::1");
/// assert!(ServerHost::new("*.example").is_err());
/// # Ok::<(), typha_tls::identity::InvalidHost>(())
/// ```
#[derive(Clone)]
pub struct ServerHost {
    /// Without a final dot.
    name: ServerName<'static>,
    has_final_dot: bool,
}

/// Hosts are equal if the same certificates are valid for them.
impl PartialEq for ServerHost {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for ServerHost {}

impl Hash for ServerHost {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

/// The reason why a text can not be the host of a server.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum InvalidHost {
    /// It is the empty text. Empty never means "any".
    #[error("the host of the server is empty; give a DNS name or an IP address")]
    Empty,
    /// It is neither a DNS name nor an IP address.
    #[error(
        "the host {} is neither a DNS name nor an IP address; write a name outside ASCII in its ASCII form (xn--...), \
         and leave out the port",
        Quoted(.0)
    )]
    Malformed(String),
    /// It is `0.0.0.0` or `::`. A server can listen on such an address, but it is not the address of one server.
    #[error(
        "the host {0} is not the address of one server; give the name or the address that the certificate has"
    )]
    Unspecified(IpAddr),
    /// It is a wildcard. Only a certificate can have one.
    #[error("the host {} is a wildcard; give the name of one server", Quoted(.0))]
    Wildcard(String),
    /// It is an IPv6 address with a zone, such as `fe80::1%eth0`. No certificate can have a zone.
    #[error("the host {} has an IPv6 zone, which no certificate has; give an address without a zone", Quoted(.0))]
    Zone(String),
}

impl ServerHost {
    /// Takes a DNS name or an IP address, without a port. An IPv6 address may be in brackets, as in a URI.
    ///
    /// # Errors
    ///
    /// [`InvalidHost`].
    pub fn new(host: &str) -> Result<Self, InvalidHost> {
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        if host.is_empty() {
            return Err(InvalidHost::Empty);
        }
        if host.contains('*') {
            return Err(InvalidHost::Wildcard(host.to_owned()));
        }
        if let Some((address, _)) = bare.unwrap_or(host).split_once('%')
            && address.parse::<Ipv6Addr>().is_ok()
        {
            return Err(InvalidHost::Zone(host.to_owned()));
        }
        let address = match bare {
            Some(bare) => bare.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
            None => host.parse().ok(),
        };
        if let Some(address) = address.map(|address| address.to_canonical()) {
            return match address.is_unspecified() {
                true => Err(InvalidHost::Unspecified(address)),
                false => Ok(Self { name: address.into(), has_final_dot: false }),
            };
        }
        let without_dot = host.strip_suffix('.');
        let name = DnsName::try_from(without_dot.unwrap_or(host));
        match name.map(|name| name.to_lowercase_owned()) {
            Ok(name) if !name.as_ref().ends_with('.') => {
                Ok(Self { name: name.into(), has_final_dot: without_dot.is_some() })
            }
            _ => Err(InvalidHost::Malformed(host.to_owned())),
        }
    }

    /// The IP address, if it is one.
    pub fn ip_address(&self) -> Option<IpAddr> {
        match self.name {
            ServerName::IpAddress(address) => Some(address.into()),
            _ => None,
        }
    }

    /// The host in the form of rustls, which sends it to the server if it is a DNS name (server name indication).
    pub(crate) fn server_name(&self) -> &ServerName<'static> {
        &self.name
    }

    /// The name for the resolver.
    pub(crate) fn lookup_name(&self) -> String {
        if self.has_final_dot { format!("{self}.") } else { self.to_string() }
    }

    /// The host that rustls passes back to a verifier.
    pub(crate) fn of_handshake(name: &ServerName<'_>) -> Self {
        Self { name: name.to_owned(), has_final_dot: false }
    }

    /// Whether the `leaf` is valid for this host.
    ///
    /// # Errors
    ///
    /// [`HostCheckError`]. A mismatch has the names of the leaf.
    ///
    /// # Security
    ///
    /// This compares names only. [`HostVerifier`](crate::verifier::HostVerifier) verifies the certificate first.
    pub fn check(&self, leaf: &CertificateDer<'_>) -> Result<(), HostCheckError> {
        let parsed =
            EndEntityCert::try_from(leaf).map_err(|error| HostCheckError::Unreadable(error.to_string()))?;
        if parsed.verify_is_valid_for_subject_name(&self.name).is_ok() {
            return Ok(());
        }
        let leaf = Certificate::parse(leaf).ok();
        let (dns_names, ip_addresses) = leaf.as_ref().map(Certificate::hosts).unwrap_or_default();
        let common_name = leaf.and_then(|leaf| leaf.common_name().ok().flatten()).map(Into::into);
        Err(HostMismatch { host: self.clone(), dns_names, ip_addresses, common_name }.into())
    }

    fn is_loopback(&self) -> bool {
        match self.ip_address() {
            Some(address) => address.is_loopback(),
            None => self.to_string() == "localhost",
        }
    }

    /// The host as `openssl` writes a subject alternative name.
    fn as_san(&self) -> String {
        match self.ip_address() {
            Some(address) => format!("IP:{address}"),
            None => format!("DNS:{self}"),
        }
    }
}

impl FromStr for ServerHost {
    type Err = InvalidHost;

    fn from_str(host: &str) -> Result<Self, InvalidHost> {
        Self::new(host)
    }
}

impl fmt::Display for ServerHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name.to_str())
    }
}

impl fmt::Debug for ServerHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServerHost({self})")
    }
}

/// Why [`ServerHost::check`] did not find that a certificate is valid for the host.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum HostCheckError {
    /// The certificate is not valid for the host.
    #[error(transparent)]
    Mismatch(#[from] HostMismatch),
    /// The certificate can not be read, or it has a critical extension that is not supported. Its names do not count
    /// then, whatever they are. The text is the problem.
    #[error("it is not known whether the certificate is valid for the host, because it can not be read: {0}")]
    Unreadable(String),
}

/// The certificate of a server is not valid for the host that was dialled. Its chain is good.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct HostMismatch {
    /// The host that was dialled.
    pub host: ServerHost,
    /// The DNS names among the subject alternative names, as the certificate has them.
    pub dns_names: Vec<String>,
    /// The IP addresses among the subject alternative names.
    pub ip_addresses: Vec<IpAddr>,
    /// The Common Name, which does not count.
    pub common_name: Option<String>,
}

impl std::error::Error for HostMismatch {}

/// Shows the problem, the names that the certificate has, and the remedy.
impl fmt::Display for HostMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, dns_names, ip_addresses, common_name } = self;
        let ip_addresses: Vec<_> = ip_addresses.iter().map(ToString::to_string).collect();
        write!(f, "the server's certificate is not valid for the host {host}: ")?;
        match (&**dns_names, &*ip_addresses) {
            ([], []) => {
                f.write_str("it has neither a DNS name nor an IP address as subject alternative name")?;
            }
            (names, []) => write!(f, "it is valid for the DNS names {}", QuotedList(names))?,
            ([], addresses) => write!(f, "it is valid for the IP addresses {}", QuotedList(addresses))?,
            (names, addresses) => write!(
                f,
                "it is valid for the DNS names {} and the IP addresses {}",
                QuotedList(names),
                QuotedList(addresses)
            )?,
        }
        let (text, san) = (host.to_string(), host.as_san());
        let is_host = |name: &String| name.trim_end_matches('.').eq_ignore_ascii_case(&text);
        let names = dns_names.iter().chain(&ip_addresses);
        let has_names = names.clone().next().is_some();
        let is_local = |name: &String| ServerHost::new(name).is_ok_and(|name| name.is_loopback());
        if host.ip_address().is_some() && dns_names.iter().any(is_host) {
            write!(f, " ({host} stands there as a DNS name, where an address does not count)")?;
        } else if common_name.as_ref().is_some_and(is_host) {
            write!(f, " (only its Common Name is {host}, and that does not count)")?;
        } else if let (Some(name), false) = (common_name, has_names) {
            write!(f, " (its Common Name {} does not count)", Quoted(name))?;
        } else if has_names && !host.is_loopback() && names.clone().all(is_local) {
            f.write_str(" (all of them mean the server's own machine only)")?;
        }
        if host.is_loopback() && has_names {
            return write!(
                f,
                "; connect to a host that it has, or issue it again with subjectAltName = {san}"
            );
        }
        write!(f, "; issue it again with subjectAltName = {san}")?;
        if has_names { f.write_str(", or connect to a host that it has") } else { Ok(()) }
    }
}
