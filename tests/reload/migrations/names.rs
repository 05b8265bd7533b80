//! Who is who in these tests.

use typha_tls::Role;
use typha_tls::testing::{
    CertificateSpec, FELIX_COMMON_NAME, FELIX_SPIFFE_ID, Purpose, TYPHA_COMMON_NAME, TYPHA_SPIFFE_ID, TestCa,
    TestLeaf,
};

/// What one end is called, and what its parameters are.
pub(crate) struct Names {
    pub(crate) common_name: &'static str,
    pub(crate) uri_san: &'static str,
    pub(crate) purpose: Purpose,
    /// CA file, chain, key; the required Common Name and URI SAN of the other end.
    pub(crate) parameters: [&'static str; 5],
}

const TYPHA: Names = Names {
    common_name: TYPHA_COMMON_NAME,
    uri_san: TYPHA_SPIFFE_ID,
    purpose: Purpose::ServerAuth,
    parameters: ["CAFile", "ServerCertFile", "ServerKeyFile", "ClientCN", "ClientURISAN"],
};

const FELIX: Names = Names {
    common_name: FELIX_COMMON_NAME,
    uri_san: FELIX_SPIFFE_ID,
    purpose: Purpose::ClientAuth,
    parameters: ["TyphaCAFile", "TyphaCertFile", "TyphaKeyFile", "TyphaCN", "TyphaURISAN"],
};

impl Names {
    pub(crate) fn of(role: Role) -> &'static Self {
        match role {
            Role::Felix => &FELIX,
            _ => &TYPHA,
        }
    }
}

/// Which names a leaf has, or are required.
#[derive(Clone, Copy)]
pub(crate) enum By {
    Name,
    Both,
    Uri,
}

impl By {
    pub(crate) fn has_name(self) -> bool {
        !matches!(self, Self::Uri)
    }

    pub(crate) fn has_uri(self) -> bool {
        !matches!(self, Self::Name)
    }
}

/// A new leaf for an end, with these names.
pub(crate) fn issue(ca: &TestCa, role: Role, by: By) -> TestLeaf {
    let names = Names::of(role);
    let mut spec = CertificateSpec::unnamed().purpose(names.purpose);
    if by.has_name() {
        spec = spec.common_name(names.common_name);
    }
    if by.has_uri() {
        spec = spec.uri_san(names.uri_san);
    }
    ca.issue(spec).unwrap()
}

pub(crate) fn ca(name: &str) -> TestCa {
    TestCa::new(CertificateSpec::ca(name)).unwrap()
}
