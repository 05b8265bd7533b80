//! The names of the TLS parameters.

/// The names of the five TLS parameters on one end.
pub(super) struct TlsParameters {
    pub(super) ca_file: &'static str,
    pub(super) cert_file: &'static str,
    pub(super) key_file: &'static str,
    pub(super) common_name: &'static str,
    pub(super) uri_san: &'static str,
    /// Both name parameters, as `ClientCN or ClientURISAN`.
    pub(super) either_name: &'static str,
}

/// The process-wide variables of the policy.
pub(super) const MIN_VERSION: &str = "TLS_MIN_VERSION";
pub(super) const CIPHER_SUITES: &str = "TLS_CIPHER_SUITES";

pub(super) const FELIX_TLS: TlsParameters = TlsParameters {
    ca_file: "TyphaCAFile",
    cert_file: "TyphaCertFile",
    key_file: "TyphaKeyFile",
    common_name: "TyphaCN",
    uri_san: "TyphaURISAN",
    either_name: "TyphaCN or TyphaURISAN",
};

pub(super) const TYPHA_TLS: TlsParameters = TlsParameters {
    ca_file: "CAFile",
    cert_file: "ServerCertFile",
    key_file: "ServerKeyFile",
    common_name: "ClientCN",
    uri_san: "ClientURISAN",
    either_name: "ClientCN or ClientURISAN",
};

impl TlsParameters {
    pub(super) fn names(&self) -> [&'static str; 5] {
        [self.ca_file, self.cert_file, self.key_file, self.common_name, self.uri_san]
    }
}
