//! Calico's names of the TLS parameters, for texts that say what to change.

use typha_tls::identity::IdentityDoubt;
use typha_tls::{RequiredIdentity, Role};

/// The TLS parameters of one end.
pub(super) struct Parameters {
    pub(super) ca_file: &'static str,
    pub(super) cert_file: &'static str,
    pub(super) key_file: &'static str,
    /// The Common Name that the other end must have.
    pub(super) common_name: &'static str,
    /// The URI SAN that the other end must have.
    pub(super) uri_san: &'static str,
}

impl Parameters {
    /// The parameters that require this identity.
    pub(super) fn of_identity(&self, required: &RequiredIdentity) -> String {
        let common_name = required.required_common_name().map(|_| self.common_name);
        let uri_san = required.required_uri_san().map(|_| self.uri_san);
        common_name.into_iter().chain(uri_san).collect::<Vec<_>>().join(" or ")
    }

    /// The parameter whose value is doubtful.
    pub(super) fn of_doubt(&self, doubt: &IdentityDoubt) -> &'static str {
        if doubt.kind == "Common Name" { self.common_name } else { self.uri_san }
    }

    pub(super) fn of(end: Role) -> Self {
        if end == Role::Typha {
            Self {
                ca_file: "CAFile",
                cert_file: "ServerCertFile",
                key_file: "ServerKeyFile",
                common_name: "ClientCN",
                uri_san: "ClientURISAN",
            }
        } else {
            Self {
                ca_file: "TyphaCAFile",
                cert_file: "TyphaCertFile",
                key_file: "TyphaKeyFile",
                common_name: "TyphaCN",
                uri_san: "TyphaURISAN",
            }
        }
    }
}
