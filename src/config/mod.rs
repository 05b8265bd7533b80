//! Calico's parameters: [`TyphaConfig`] and [`FelixConfig`], from the environment, an INI file and the program.
//!
//! | parameter of Typha | parameter of Felix | meaning | default |
//! | --- | --- | --- | --- |
//! | `CAFile` | `TyphaCAFile` | PEM bundle of the CAs trusted for the other end | unset |
//! | `ServerCertFile` | `TyphaCertFile` | PEM chain of this end, leaf first | unset |
//! | `ServerKeyFile` | `TyphaKeyFile` | PEM private key of this end | unset |
//! | `ClientCN` | `TyphaCN` | Common Name that the other end must have | unset |
//! | `ClientURISAN` | `TyphaURISAN` | URI SAN that the other end must have | unset |
//! | `ServerHost` | | address to listen on | all |
//! | `ServerPort` | | port to listen on; 0 means the default | 5473 |
//! | `ServerHandshakeTimeoutSecs` | | bound on a handshake | 10 |
//! | `ServerWriteTimeoutSecs` | `TyphaWriteTimeout` | bound on a write without progress; 0 for none | 120, 10 |
//! | | `TyphaReadTimeout` | bound on a read without data; 0 for none | 30 |
//! | `MaxConnectionsUpperLimit`, `MaxConnectionsLowerLimit` | | bounds for rebalancing | 10000, 400 |
//! | `ConnectionDropIntervalSecs` | | pace of rebalancing | 1 |
//! | `ShutdownTimeoutSecs` | | time for a graceful shutdown | 300 |
//! | `ShutdownConnectionDropIntervalMaxSecs` | | slowest pace of a graceful shutdown | 1 |
//! | | `TyphaAddr` | `host:port` of Typha; wins over the service name | unset |
//! | | `FelixHostname` | the Kubernetes node of this Felix, whose Typhas are tried first | the system's host name |
//! | | `TyphaK8sServiceName`, `TyphaK8sNamespace` | Kubernetes service of the Typhas | unset, `kube-system` |
//!
//! - A value comes from the program (such as command-line flags), else from the environment, else from the file. In the
//!   environment the name has a prefix, `TYPHA_` or `FELIX_`. Names are compared without regard to case. Sections of
//!   the file do not matter.
//! - An empty value counts as not set. `none`, in any case, sets the zero value. It also overrides a lower source.
//! - If none of the five TLS parameters is set, TLS is not configured: `tls` is `None`. If one is set, all must be set,
//!   except that either Common Name or URI SAN may be missing.
//! - Unknown names are ignored, so that one file can serve the whole daemon. A name that is close to one of these
//!   parameters, or that stands where it has no effect, is a [warning](ConfigWarning).
//! - `TLS_MIN_VERSION` and `TLS_CIPHER_SUITES`, without prefix and in the environment only, set the
//!   [policy](crate::policy).
//!
//! Difference from Calico: a value that can not be used is an error. Calico logs a warning and uses the default, so
//! that a typo in a file name turns TLS off.

mod error;
mod felix;
mod following;
mod ini_file;
mod names;
mod parameters;
mod sources;
mod typha;
mod warning;

pub use crate::file::open_file;
pub use error::{ConfigError, SetupError};
pub use felix::FelixConfig;
pub use parameters::TlsSettings;
pub use sources::{Setting, Sources};
pub use typha::TyphaConfig;
pub use warning::ConfigWarning;
