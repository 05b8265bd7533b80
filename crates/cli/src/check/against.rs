//! Whether the other end, with its own configuration, would accept us.

use std::path::Path;

use rustls_pki_types::UnixTime;
use typha_tls::Role;
use typha_tls::config::{ConfigError, Sources};
use typha_tls::material::TrustBundle;
use typha_tls::verifier::PeerVerifier;

use super::current::{self, Current};
use super::report::Report;

/// Judges our chain as the other end would, if it had our revocation lists.
pub(super) fn check(report: &mut Report, current: &Current, file: &Path, now: UnixTime) {
    let Some(credentials) = &current.credentials else { return };
    let peer = current.local.peer();
    let sources = Sources::none().with_file(file);
    let theirs = match current::load(peer, &sources) {
        complete @ (Ok(_) | Err(ConfigError::Incomplete { .. })) => complete,
        // The other end's CAs and required identity suffice; its private key is not readable here.
        Err(_) => {
            let readable = file.to_string_lossy();
            let (cert, key) = match peer {
                Role::Felix => ("TyphaCertFile", "TyphaKeyFile"),
                Role::Typha => ("ServerCertFile", "ServerKeyFile"),
            };
            current::load(peer, &sources.with_value(cert, &readable).with_value(key, &readable))
        }
    };
    let Some(theirs) = current::usable(report, theirs, "against") else { return };
    let bundle = TrustBundle::from_file(&theirs.files.ca_file);
    let Some(bundle) = report.usable(bundle, "against") else { return };
    let verifier =
        PeerVerifier::new(bundle, current.own_lists(), theirs.required_peer.clone(), &theirs.policy);
    match verifier.verify(credentials.chain(), current.local, now) {
        Ok(ours) => {
            report.info("against", &format!("{peer} would accept us, matched by {}", ours.matched_by()));
        }
        Err(rejection) => {
            let reason = rejection.label();
            report.error("against", &format!("{peer} would refuse us ({reason}): {rejection}"));
        }
    }
}
