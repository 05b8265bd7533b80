//! The last step of a verdict: what the leaf must have.

use crate::identity::{RequiredIdentity, ServerHost};

/// What the leaf of a good chain must have, too.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Requirement<'a> {
    /// The identity rule: a Common Name or a URI SAN.
    Identity(&'a RequiredIdentity),
    /// The host rule: the DNS name or IP address that was dialled.
    Host(&'a ServerHost),
}
