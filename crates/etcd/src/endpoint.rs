//! One endpoint of etcd.

use std::fmt;

use http::Uri;

use typha_tls::ServerHost;

/// A member of etcd: the host that its certificate must be valid for, and its port.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub struct EtcdEndpoint {
    /// The host. No parameter overrides it.
    pub host: ServerHost,
    /// The port.
    pub port: u16,
}

/// An endpoint as it was written, and whether its scheme is `https`.
pub(crate) struct Parsed {
    pub(crate) endpoint: EtcdEndpoint,
    pub(crate) is_https: bool,
}

impl EtcdEndpoint {
    /// An endpoint with the scheme `https`.
    pub fn new(host: ServerHost, port: u16) -> Self {
        Self { host, port }
    }
}

/// The remedy.
pub(crate) const EXAMPLE: &str = "write https://HOST:PORT";

/// Reads `https://host:port`, which has no user. The error says what is wrong with it.
pub(crate) fn parse(text: &str) -> Result<Parsed, String> {
    if !text.contains("://") {
        return Err(format!("it has no scheme; {EXAMPLE}"));
    }
    let uri: Uri = text.parse().map_err(|error| format!("it is no URI ({error}); {EXAMPLE}"))?;
    let is_https = match uri.scheme_str() {
        Some("https") => true,
        Some("http") => false,
        _ => return Err(format!("its scheme is neither https nor http; {EXAMPLE}")),
    };
    if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
        return Err(format!("it has a path; {EXAMPLE}"));
    }
    let host = ServerHost::new(uri.host().unwrap_or_default()).map_err(|error| error.to_string())?;
    let port = uri.port_u16().filter(|port| *port != 0);
    let port = port.ok_or_else(|| format!("it has no port; {EXAMPLE}, where etcd's port is usually 2379"))?;
    Ok(Parsed { endpoint: EtcdEndpoint::new(host, port), is_https })
}

/// As a URI.
impl fmt::Display for EtcdEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.ip_address() {
            Some(address) if address.is_ipv6() => write!(f, "https://[{address}]:{}", self.port),
            _ => write!(f, "https://{}:{}", self.host, self.port),
        }
    }
}
