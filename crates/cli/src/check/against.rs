//! Whether the other end, with its own configuration, would accept us, and we would accept it.

use std::path::Path;

use rustls_pki_types::{CertificateDer, UnixTime};
use typha_tls::config::{ConfigError, Sources, TlsSettings};
use typha_tls::error::WithCauses;
use typha_tls::material::{TrustBundle, read_chain};
use typha_tls::verifier::{ChainPosition, PeerVerifier, Rejection};

use super::advice;
use super::current::{self, Current};
use super::parameters::Parameters;
use super::report::{Line, Report};

/// Judges the other end's chain as we do, and our chain as the other end would, if it had our revocation lists.
pub(super) fn check(report: &mut Report, current: &Current, file: &Path, now: UnixTime) {
    let peer = current.local.peer();
    let names = Parameters::of(peer);
    // The other end's key is not needed, and its chain may not be readable here. Our CA file is readable, and takes the
    // place of both.
    let readable = current.settings.files.ca_file.to_string_lossy();
    let mut sources = Sources::none().with_file(file);
    let mut theirs = current::load(peer, &sources);
    let mut unreadable = None;
    for name in [names.cert_file, names.key_file] {
        if let Err(ConfigError::Value { parameter, value, .. }) = &theirs
            && *parameter == name
        {
            unreadable = unreadable.or_else(|| (name == names.cert_file).then(|| value.clone()));
            sources = sources.with_value(name, &readable);
            theirs = current::load(peer, &sources);
        }
    }
    let Some(theirs) = current::usable(report, peer, theirs, "against") else { return };
    match unreadable {
        Some(path) => {
            let detail = format!("not judged whether we would accept {peer}: {path} can not be read here");
            report.add(Line::info("against", detail).about(names.cert_file));
        }
        None => match read_chain(&theirs.files.cert_file) {
            Ok(chain) => judge_theirs(report, current, &theirs, &chain, now),
            Err(error) => report.add(Line::of_error("against", &error).about(names.cert_file)),
        },
    }
    judge_ours(report, current, &theirs, file, now);
}

/// Judges the other end's chain as we would.
fn judge_theirs(
    report: &mut Report,
    current: &Current,
    theirs: &TlsSettings,
    chain: &[CertificateDer<'static>],
    now: UnixTime,
) {
    let peer = current.local.peer();
    let Some(verifier) = current.verifier() else {
        let detail = format!("not judged whether we would accept {peer}: see the errors of our own files");
        return report.add(Line::info("against", detail));
    };
    report.add(match verifier.verify(chain, peer, now) {
        Ok(theirs) => {
            let detail = format!("we would accept {peer}, matched by {}", theirs.matched_by());
            Line::info("against", detail)
        }
        // The warnings about our lists have said it.
        Err(rejection @ Rejection::RevocationListUnusable { .. }) => {
            let detail = format!("we would refuse {peer} for the reason above ({})", rejection.label());
            Line::info("against", detail)
        }
        Err(rejection) => {
            let detail =
                format!("we would refuse {peer} ({}): {}", rejection.label(), WithCauses(&rejection));
            let file = format!("{} {}", Parameters::of(peer).cert_file, theirs.files.cert_file.display());
            advice::today(Line::error("against", detail).about(file), &rejection, current)
        }
    });
}

/// Judges our chain as the other end would.
fn judge_ours(report: &mut Report, current: &Current, theirs: &TlsSettings, file: &Path, now: UnixTime) {
    let peer = current.local.peer();
    let bundle = TrustBundle::from_file(&theirs.files.ca_file);
    let Some(bundle) = report.usable(bundle, "against") else { return };
    let Some(credentials) = &current.credentials else {
        let detail = format!("not judged whether {peer} would accept us: see the errors of our own files");
        return report.add(Line::info("against", detail));
    };
    let verifier =
        PeerVerifier::new(bundle, current.own_lists(), theirs.required_peer.clone(), &theirs.policy);
    report.add(match verifier.verify(credentials.chain(), current.local, now) {
        Ok(ours) => {
            let detail = format!("{peer} would accept us, matched by {}", ours.matched_by());
            Line::info("against", detail)
        }
        Err(rejection) if current.own_fault(now).is_some_and(|own| own.label() == rejection.label()) => {
            let detail = format!("{peer} would refuse us for the reason above ({})", rejection.label());
            Line::info("against", detail)
        }
        Err(rejection) => {
            let detail =
                format!("{peer} would refuse us ({}): {}", rejection.label(), WithCauses(&rejection));
            let line = Line::error("against", detail).about(file.display().to_string());
            advise(line, &rejection, current, theirs, file)
        }
    });
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
