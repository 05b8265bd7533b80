//! An address of the form `host:port`, as in Calico's `TyphaAddr`.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use thiserror::Error;

use crate::text::Quoted;

/// A host, by name or IP address, and a port.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct HostPort {
    pub(super) host: Host,
    pub(super) port: u16,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) enum Host {
    Address(IpAddr),
    Name(String),
}

/// An address is not of the form `host:port`.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("{} is not of the form host:port, such as typha.example:5473, 192.0.2.1:5473 or \
         [2001:db8::1]:5473", Quoted(.0))]
pub struct InvalidAddress(String);

impl HostPort {
    /// The socket address, if the host is an IP address.
    pub(super) fn literal(&self) -> Option<SocketAddr> {
        match self.host {
            Host::Address(address) => Some((address, self.port).into()),
            Host::Name(_) => None,
        }
    }
}

impl FromStr for HostPort {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let parse = || {
            let (host, port) = text.rsplit_once(':')?;
            let port = Some(port).filter(|port| port.bytes().all(|b| b.is_ascii_digit()))?.parse().ok()?;
            Some(Self { host: Host::parse(host)?, port }).filter(|_| port != 0)
        };
        parse().ok_or_else(|| InvalidAddress(text.to_owned()))
    }
}

impl Host {
    fn parse(host: &str) -> Option<Self> {
        if let Some(host) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            return host.parse::<Ipv6Addr>().ok().map(|address| Self::Address(address.into()));
        }
        let is_name = !host.is_empty()
            && !host.contains([':', '/', '[', ']'])
            && host.bytes().all(|b| b.is_ascii_graphic());
        is_name.then(|| host.parse().map_or_else(|_| Self::Name(host.to_owned()), Self::Address))
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Address(address) => SocketAddr::from((*address, self.port)).fmt(f),
            Host::Name(name) => write!(f, "{name}:{}", self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports() {
        for (text, literal) in [
            ("typha.example:5473", None),
            ("typha_1:1", None),
            ("127.1:80", None),
            ("192.0.2.1:65535", Some("192.0.2.1:65535")),
            ("[2001:db8::1]:5473", Some("[2001:db8::1]:5473")),
        ] {
            let parsed: HostPort = text.parse().unwrap();
            assert_eq!(parsed.to_string(), text);
            assert_eq!(parsed.literal(), literal.map(|literal| literal.parse().unwrap()));
        }
        for text in [
            "",
            "typha",
            "typha:",
            ":5473",
            "typha:0",
            "typha:65536",
            "typha:+1",
            "2001:db8::1:5473",
            "[typha]:1",
            "[192.0.2.1]:1",
            "a/b:1",
            "a b:1",
            "é:1",
            "a\n:1",
        ] {
            assert_eq!(text.parse::<HostPort>(), Err(InvalidAddress(text.to_owned())));
        }
        let text = "\"a\\nb\" is not of the form host:port, such as typha.example:5473, 192.0.2.1:5473 or \
                    [2001:db8::1]:5473";
        assert_eq!("a\nb".parse::<HostPort>().unwrap_err().to_string(), text);
    }
}
