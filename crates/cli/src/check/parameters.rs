//! Calico's names of the TLS parameters, for texts that say what to change.

use typha_tls::Role;

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
    pub(super) fn of(end: Role) -> Self {
        match end {
            Role::Felix => Self {
                ca_file: "TyphaCAFile",
                cert_file: "TyphaCertFile",
                key_file: "TyphaKeyFile",
                common_name: "TyphaCN",
                uri_san: "TyphaURISAN",
            },
            Role::Typha => Self {
                ca_file: "CAFile",
                cert_file: "ServerCertFile",
                key_file: "ServerKeyFile",
                common_name: "ClientCN",
                uri_san: "ClientURISAN",
            },
        }
    }
}
