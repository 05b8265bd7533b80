//! Whether the other end, with its own configuration, would accept us, and we would accept it.

use std::path::Path;

use rustls_pki_types::{CertificateDer, UnixTime};
use typha_tls::config::{ConfigError, Sources, TlsSettings};
use typha_tls::error::WithCauses;
use typha_tls::identity::IdentityDoubt;
use typha_tls::material::{TrustBundle, read_chain};
use typha_tls::verifier::{ChainPosition, PeerVerifier, Rejection, VerifiedChain};

use super::advice;
use super::ca_changes;
use super::current::{self, Current, Loaded};
use super::parameters::Parameters;
use super::report::{Line, Report};

/// The remedy if the CA files of both ends have CAs of the same name with different keys.
const ANOTHER_CLUSTER: &str = "give the end with another cluster's files the CA file, the certificate and the key of \
                               this cluster; if you made that CA anew, put its old and its new certificate into both \
                               CA files; never add a CA that you did not make";

/// Judges the other end's chain as we do, and our chain as the other end would, if it had our revocation lists.
pub(super) fn check(report: &mut Report, current: &Current, file: &Path, now: UnixTime) {
    let peer = current.local.peer();
    let names = Parameters::of(peer);
    let (theirs, unreadable) = load(current, file);
    let Some(theirs) = current::usable(report, peer, theirs, Some(file)) else { return };
    for doubt in theirs.required_peer.doubts() {
        let parameter = format!("{} in {}", names.of_doubt(&doubt), file.display());
        current::report_doubt(report, &parameter, doubt);
    }
    let chain = match unreadable {
        Some(path) => {
            let detail = format!("not judged whether we would accept {peer}: {path} can not be read here");
            report.add(Line::info("against", detail).about(names.cert_file));
            None
        }
        None => read_chain(&theirs.files.cert_file)
            .map_err(|error| report.add(Line::of_file("against", &error).about(names.cert_file)))
            .ok(),
    };
    let judged_by_us = chain.and_then(|chain| judge_theirs(report, current, &chain, now));
    let judged_by_them = judge_ours(report, current, &theirs, now);

    let refusals = [&judged_by_us, &judged_by_them].into_iter().flatten();
    let mut of_other_keys = refusals.filter_map(|verdict| match verdict {
        Err(Rejection::CaKeyMismatch { issuer, .. }) => Some(issuer),
        _ => None,
    });
    let (our_ca_file, their_ca_file) = (&current.settings.files.ca_file, &theirs.files.ca_file);
    let keys =
        of_other_keys.find_map(|issuer| ca_changes::different_keys(issuer, our_ca_file, their_ca_file));
    if let Some(keys) = &keys {
        let detail = format!(
            "the two CA files have CAs of the same name with different keys ({keys}): one end probably has another \
             cluster's files"
        );
        report.add(Line::error("against", detail).fix(ANOTHER_CLUSTER));
    }
    let advise = |line: Line, rejection: &Rejection, otherwise: &dyn Fn(Line) -> Line| match rejection {
        Rejection::CaKeyMismatch { .. } if keys.is_some() => line.split().fix(ANOTHER_CLUSTER),
        _ => otherwise(line),
    };
    match &judged_by_us {
        None => {}
        Some(Ok(theirs)) => {
            let detail = format!("we would accept {peer}, matched by {}", theirs.matched_by());
            report.add(Line::info("against", detail));
        }
        // The warnings about our lists have said it.
        Some(Err(rejection @ Rejection::RevocationListUnusable { .. })) => {
            let detail = format!("we would refuse {peer} for the reason above ({})", rejection.label());
            report.add(Line::info("against", detail));
        }
        Some(Err(rejection)) => {
            let detail = format!("we would refuse {peer} ({}): {}", rejection.label(), WithCauses(rejection));
            let about = format!("{} {}", names.cert_file, theirs.files.cert_file.display());
            let line = Line::error("against", detail).about(about);
            report.add(advise(line, rejection, &|line| advice::today(line, rejection, current)));
        }
    }
    match &judged_by_them {
        None => {}
        Some(Ok(ours)) => {
            let detail = format!("{peer} would accept us, matched by {}", ours.matched_by());
            report.add(Line::info("against", detail));
        }
        Some(Err(rejection))
            if current.own_fault(now).is_some_and(|own| own.label() == rejection.label()) =>
        {
            let detail = format!("{peer} would refuse us for the reason above ({})", rejection.label());
            report.add(Line::info("against", detail));
        }
        Some(Err(rejection)) => {
            let detail = format!("{peer} would refuse us ({}): {}", rejection.label(), WithCauses(rejection));
            let line = Line::error("against", detail).about(file.display().to_string());
            report.add(advise(line, rejection, &|line| of_ours(line, rejection, current, &theirs, file)));
        }
    }
}

/// The parameters of the other end, and its chain file if that is not readable here.
fn load(current: &Current, file: &Path) -> (Loaded, Option<String>) {
    let peer = current.local.peer();
    let names = Parameters::of(peer);
    // The key is not needed, and the chain may not be readable here. Our CA file is, and takes the place of both.
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
    (theirs, unreadable)
}

/// Judges the other end's chain as we would; `None` if our own files do not permit it.
fn judge_theirs(
    report: &mut Report,
    current: &Current,
    chain: &[CertificateDer<'static>],
    now: UnixTime,
) -> Option<Result<VerifiedChain, Rejection>> {
    let peer = current.local.peer();
    let verifier = current.verifier();
    if verifier.is_none() {
        let detail = format!("not judged whether we would accept {peer}: see the errors of our own files");
        report.add(Line::info("against", detail));
    }
    Some(verifier?.verify(chain, peer, now))
}

/// Judges our chain as the other end would; `None` if one of the files does not permit it.
fn judge_ours(
    report: &mut Report,
    current: &Current,
    theirs: &TlsSettings,
    now: UnixTime,
) -> Option<Result<VerifiedChain, Rejection>> {
    let peer = current.local.peer();
    let bundle = report.usable(TrustBundle::from_file(&theirs.files.ca_file), "against")?;
    if current.credentials.is_none() {
        let detail = format!("not judged whether {peer} would accept us: see the errors of our own files");
        report.add(Line::info("against", detail));
    }
    let (lists, required) = (current.own_lists(), theirs.required_peer.clone());
    let verifier = PeerVerifier::new(bundle, lists, required, &theirs.policy);
    Some(verifier.verify(current.credentials.as_ref()?.chain(), current.local, now))
}

/// Adds what to change on our end or on the other, which would refuse us.
fn of_ours(line: Line, rejection: &Rejection, current: &Current, theirs: &TlsSettings, file: &Path) -> Line {
    let (here, there) = (Parameters::of(current.local), Parameters::of(current.local.peer()));
    let their_ca_file = format!("{} {}", there.ca_file, theirs.files.ca_file.display());
    let our_chain = format!("{} {}", here.cert_file, current.settings.files.cert_file.display());
    let advice = match rejection {
        Rejection::UnknownCa { issuer, .. } => format!(
            "if {issuer} is an intermediate CA, append its certificate to {our_chain}; otherwise add it to \
             {their_ca_file}, if it is a CA of this cluster; never add a CA that you did not make"
        ),
        Rejection::CaKeyMismatch { .. } => format!(
            "have our certificate issued by the CA in {their_ca_file}; or, if you made that CA anew, put its old and \
             its new certificate there; never add a CA that you did not make"
        ),
        Rejection::IdentityMismatch(_) => {
            let file = file.display();
            let in_file = |doubt: &IdentityDoubt| format!("{} in {file}", there.of_doubt(doubt));
            advice::correct_doubtful(&theirs.required_peer, in_file).unwrap_or_else(|| {
                format!(
                    "correct {} in {file}, or issue our certificate with a name that is required there",
                    there.of_identity(&theirs.required_peer)
                )
            })
        }
        Rejection::Expired { position: ChainPosition::Ca, .. } => format!("renew that CA in {their_ca_file}"),
        Rejection::Expired { position: ChainPosition::Intermediate, .. } => {
            format!("renew that intermediate in {our_chain}")
        }
        other => return advice::today(line, other, current),
    };
    line.split().fix(advice)
}
