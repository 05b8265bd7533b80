//! Finds the addresses of Typhas in EndpointSlices, or the reason why there are none.

use std::collections::hash_map::{Entry, HashMap};
use std::net::{IpAddr, SocketAddr};

use serde::Deserialize;

use crate::error::KubernetesError;
use typha_tls::dialer::TyphaEndpoint;
use typha_tls::error::Quoted;

/// One answer of the API, with the fields that are used.
#[derive(Deserialize)]
pub(crate) struct SliceList {
    pub(crate) kind: String,
    #[serde(default)]
    pub(crate) metadata: ListMetadata,
    pub(crate) items: Option<Vec<Slice>>,
}

#[derive(Default, Deserialize)]
pub(crate) struct ListMetadata {
    #[serde(rename = "continue")]
    pub(crate) continue_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Slice {
    address_type: String,
    endpoints: Option<Vec<Endpoint>>,
    ports: Option<Vec<Port>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Endpoint {
    addresses: Option<Vec<String>>,
    conditions: Option<Conditions>,
    node_name: Option<String>,
}

#[derive(Deserialize)]
struct Conditions {
    ready: Option<bool>,
}

#[derive(Deserialize)]
struct Port {
    name: Option<String>,
    port: Option<u16>,
    protocol: Option<String>,
}

impl Endpoint {
    /// The API defines that an unknown condition counts as ready.
    fn is_ready(&self) -> bool {
        self.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true)
    }
}

impl Port {
    fn name(&self) -> &str {
        self.name.as_deref().unwrap_or_default()
    }

    /// The API's default is TCP.
    fn protocol(&self) -> &str {
        self.protocol.as_deref().unwrap_or("TCP")
    }

    fn show(&self) -> String {
        let number = self.port.map_or_else(|| "any".to_owned(), |port| port.to_string());
        format!("{} {number}/{}", self.name(), self.protocol())
    }
}

/// Collects the contents of several slices.
pub(crate) struct Tally<'a> {
    port_name: &'a str,
    typhas: Vec<TyphaEndpoint>,
    positions: HashMap<SocketAddr, usize>,
    /// Slices seen, of any address type.
    slices: usize,
    /// Endpoints of slices with IP addresses.
    endpoints: usize,
    /// Endpoints whose slice has the port.
    with_port: usize,
    /// Ready endpoints whose slice has the port.
    ready: usize,
    /// The ports of slices that have endpoints, but lack the port.
    other_ports: Vec<String>,
    bad_address: Option<String>,
}

impl<'a> Tally<'a> {
    pub(crate) fn new(port_name: &'a str) -> Self {
        Self {
            port_name,
            typhas: Vec::new(),
            positions: HashMap::new(),
            slices: 0,
            endpoints: 0,
            with_port: 0,
            ready: 0,
            other_ports: Vec::new(),
            bad_address: None,
        }
    }

    pub(crate) fn add(&mut self, slice: Slice) {
        self.slices += 1;
        if !matches!(&*slice.address_type, "IPv4" | "IPv6") {
            return;
        }
        let endpoints = slice.endpoints.unwrap_or_default();
        self.endpoints += endpoints.len();
        let ports = slice.ports.unwrap_or_default();
        let Some(port) = self.port_among(&ports) else {
            // A slice without endpoints has no ports either; that is not the problem.
            if !endpoints.is_empty() {
                self.other_ports.extend(ports.iter().map(Port::show));
            }
            return;
        };
        self.with_port += endpoints.len();
        for endpoint in endpoints.into_iter().filter(Endpoint::is_ready) {
            self.ready += 1;
            for address in endpoint.addresses.unwrap_or_default() {
                match address.parse::<IpAddr>() {
                    Ok(ip) => self.insert(SocketAddr::new(ip, port), endpoint.node_name.as_deref()),
                    Err(_) => self.bad_address = Some(address),
                }
            }
        }
    }

    fn port_among(&self, ports: &[Port]) -> Option<u16> {
        ports
            .iter()
            .filter(|port| port.name() == self.port_name && port.protocol() == "TCP")
            .find_map(|port| port.port.filter(|number| *number != 0))
    }

    /// While an endpoint moves from one slice to another, both slices may list it.
    fn insert(&mut self, address: SocketAddr, node_name: Option<&str>) {
        let node_name = node_name.filter(|name| !name.is_empty());
        match self.positions.entry(address) {
            Entry::Vacant(entry) => {
                entry.insert(self.typhas.len());
                let mut typha = TyphaEndpoint::new(address);
                typha.node_name = node_name.map(str::to_owned);
                self.typhas.push(typha);
            }
            Entry::Occupied(entry) => {
                if let (Some(typha), Some(name)) = (self.typhas.get_mut(*entry.get()), node_name) {
                    typha.node_name.get_or_insert_with(|| name.to_owned());
                }
            }
        }
    }

    /// The Typhas, or the reason why there are none.
    pub(crate) fn outcome(mut self) -> Result<Vec<TyphaEndpoint>, KubernetesError> {
        if !self.typhas.is_empty() {
            return Ok(self.typhas);
        }
        if self.slices == 0 {
            return Err(KubernetesError::NoSlices);
        }
        if self.endpoints == 0 {
            return Err(KubernetesError::NoEndpoints);
        }
        if self.with_port == 0 {
            self.other_ports.sort_unstable();
            self.other_ports.dedup();
            return Err(KubernetesError::NoPort {
                port_name: self.port_name.to_owned(),
                ports: self.other_ports,
            });
        }
        if self.ready == 0 {
            return Err(KubernetesError::NoneReady { endpoints: self.with_port });
        }
        let problem = match self.bad_address {
            Some(address) => format!("{} in an EndpointSlice is no address", Quoted(&address)),
            None => "endpoints without addresses".to_owned(),
        };
        Err(KubernetesError::Malformed { problem })
    }
}
