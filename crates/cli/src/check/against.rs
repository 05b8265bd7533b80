//! Whether the other end, with its own configuration, would accept us, and we would accept it.

use std::path::Path;

use rustls_pki_types::UnixTime;
use typha_tls::config::{ConfigError, Sources, TlsSettings};
use typha_tls::error::WithCauses;
use typha_tls::material::TrustBundle;
use typha_tls::verifier::{ChainPosition, PeerVerifier, Rejection};

use super::advice;
use super::chain_file::ChainFile;
use super::current::{self, Current};
use super::parameters::Parameters;
use super::report::{Line, Report};

/// Judges our chain as the other end would, if it had our revocation lists.
pub(super) fn check(report: &mut Report, current: &Current, file: &Path, now: UnixTime) {
    let peer = current.local.peer();
    let sources = Sources::none().with_file(file);
    let theirs = match current::load(peer, &sources) {
        complete @ (Ok(_) | Err(ConfigError::Incomplete { .. })) => complete,
        // The other end's CAs and required identity suffice; its private key is not readable here.
        Err(_) => {
            let readable = file.to_string_lossy();
            let parameters = Parameters::of(peer);
            let sources = sources.with_value(parameters.cert_file, &readable);
            current::load(peer, &sources.with_value(parameters.key_file, &readable))
        }
    };
    let Some(theirs) = current::usable(report, peer, theirs, "against") else { return };
    judge_theirs(report, current, &theirs, now);
    let bundle = TrustBundle::from_file(&theirs.files.ca_file);
    let Some(bundle) = report.usable(bundle, "against") else { return };
    let Some(credentials) = &current.credentials else { return };
    let verifier =
        PeerVerifier::new(bundle, current.own_lists(), theirs.required_peer.clone(), &theirs.policy);
    match verifier.verify(credentials.chain(), current.local, now) {
        Ok(ours) => {
            let detail = format!("{peer} would accept us, matched by {}", ours.matched_by());
            report.add(Line::info("against", detail));
        }
        Err(rejection) if current.own_fault(now).is_some_and(|own| own.label() == rejection.label()) => {
            let detail = format!("{peer} would refuse us for the reason above ({})", rejection.label());
            report.add(Line::info("against", detail));
        }
        Err(rejection) => {
            let detail =
                format!("{peer} would refuse us ({}): {}", rejection.label(), WithCauses(&rejection));
            let line = Line::error("against", detail).about(file.display().to_string());
            report.add(advise(line, &rejection, current, &theirs, file));
        }
    }
}

/// Judges the other end's chain as we would, if its file is readable here.
fn judge_theirs(report: &mut Report, current: &Current, theirs: &TlsSettings, now: UnixTime) {
    let peer = current.local.peer();
    let (Some(verifier), ChainFile::Chain(chain)) =
        (current.verifier(), ChainFile::read(&theirs.files.cert_file))
    else {
        return;
    };
    match verifier.verify(&chain, peer, now) {
        // The warnings about our lists have said it.
        Ok(_) | Err(Rejection::RevocationListUnusable { .. }) => {}
        Err(rejection) => {
            let detail =
                format!("we would refuse {peer} ({}): {}", rejection.label(), WithCauses(&rejection));
            let file = format!("{} {}", Parameters::of(peer).cert_file, theirs.files.cert_file.display());
            report.add(advice::today(Line::error("against", detail).about(file), &rejection, current));
        }
    }
}

/// Adds what to change on our end or on the other.
fn advise(line: Line, rejection: &Rejection, current: &Current, theirs: &TlsSettings, file: &Path) -> Line {
    let (here, there) = (Parameters::of(current.local), Parameters::of(current.local.peer()));
    let their_ca_file = format!("{} {}", there.ca_file, theirs.files.ca_file.display());
    let our_chain = format!("{} {}", here.cert_file, current.settings.files.cert_file.display());
    let advice = match rejection {
        Rejection::UnknownCa { issuer, .. } => format!(
            "if {issuer} is a CA that you made, add it to {their_ca_file}; if it is an intermediate, append its \
             certificate to {our_chain}"
        ),
        Rejection::CaKeyMismatch { .. } => format!(
            "have our certificate issued by the CA in {their_ca_file}; or, if you made that CA anew, put its old and \
             its new certificate there"
        ),
        Rejection::IdentityMismatch(_) => format!(
            "correct {} in {}, or issue our certificate with a name that is required there",
            there.of_identity(&theirs.required_peer),
            file.display()
        ),
        Rejection::Expired { position: ChainPosition::Ca, .. } => format!("renew that CA in {their_ca_file}"),
        Rejection::Expired { position: ChainPosition::Intermediate, .. } => {
            format!("renew that intermediate in {our_chain}")
        }
        other => return advice::today(line, other, current),
    };
    line.split().fix(advice)
}
