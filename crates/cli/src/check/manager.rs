//! `typha-tls check manager`: what a browser says about Manager's certificate.

use std::path::PathBuf;

use clap::Args;
use rustls_pki_types::{CertificateDer, UnixTime};
use typha_tls::error::WithCauses;
use typha_tls::identity::HostCheckError;
use typha_tls::material::{RevocationLists, TrustBundle};
use typha_tls::policy::TlsPolicy;
use typha_tls::verifier::{HostVerifier, Rejection};
use typha_tls::{CertificateFacts, Role, ServerHost};

use super::own::{OwnFiles, Peers};
use super::report::{Line, Report};
use super::warnings;

#[derive(Args)]
pub(crate) struct Arguments {
    /// DNS name or IP address in the address bar of the browser, without a port
    #[arg(long, value_name = "NAME")]
    host: ServerHost,
    /// PEM chain of Manager, leaf first
    #[arg(long, value_name = "FILE")]
    chain: PathBuf,
    /// PEM private key of the leaf
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// PEM bundle of the CAs that the browsers have [default: none; the report says which CA they need]
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
}

const DAY: u64 = 86_400;

/// The longest validity that Safari accepts from any CA, in days.
const MOST_DAYS: u64 = 825;

/// The longest validity that Chrome and Safari accept from a CA that they are delivered with. Such a CA may itself
/// issue for less: 200 days since 2026-03-15, 100 from 2027-03-15, 47 from 2029-03-15 (CA/Browser Forum,
/// ballot SC-081v3).
const MOST_DAYS_OF_PUBLIC_CA: u64 = 398;

pub(super) fn check(report: &mut Report, arguments: &Arguments, policy: &TlsPolicy, now: UnixTime) {
    let files = OwnFiles { chain: ("--chain", &arguments.chain), key: ("--key", &arguments.key) };
    let Some(own) = files.check(report, Role::Server, policy, Peers::Browsers, now) else { return };
    let facts = own.chain.iter().map(CertificateFacts::read);
    let facts = facts.collect::<Result<Vec<_>, _>>();
    let Ok(facts) = facts.map_err(|malformed| {
        let line = Line::error("cert_file_and_key_file", malformed.to_string()).about(files.about_chain());
        report.add(line.fix("copy the file again, or issue it again"));
    }) else {
        return;
    };
    let (Some(leaf_der), Some(leaf)) = (own.chain.first(), facts.first()) else { return };
    let host = &arguments.host;
    match host.check(leaf_der) {
        Ok(()) => report.add(Line::info("host", format!("the certificate is valid for the host {host}"))),
        Err(HostCheckError::Mismatch(mismatch)) => {
            report.add(Line::error("host_mismatch", mismatch.to_string()).split().about(files.about_chain()));
        }
        // The verifier refuses it for the same reason.
        Err(_) => {}
    }
    rules_of_browsers(report, leaf, &files);

    let verdict = |bundle: TrustBundle, chain: &[CertificateDer<'_>]| {
        let verifier = HostVerifier::new(bundle, RevocationLists::none(), policy);
        match verifier.verify(chain, host, now) {
            // It is a finding of its own.
            Ok(_) | Err(Rejection::HostMismatch(_)) => Ok(()),
            Err(rejection) => Err(rejection),
        }
    };
    let path = path(&facts, now);
    check_order(report, &facts, &path, &files);
    let Some(top) = path.last().and_then(|top| facts.get(*top)) else { return };
    let refused = match &arguments.ca_file {
        Some(ca_file) => {
            let about = format!("--ca-file {}", ca_file.display());
            let bundle = match TrustBundle::from_file(ca_file) {
                Ok(bundle) => bundle,
                Err(error) => return report.add(Line::of_file("ca_file", &error).about("--ca-file")),
            };
            for name in bundle.names() {
                report.add(Line::info("trusted_ca", name));
            }
            for warning in bundle.warnings(now) {
                report.add(warnings::line(&warning, "").about(&about));
            }
            match verdict(bundle, &own.chain) {
                Ok(()) => {
                    let detail = format!("the chain leads to a CA of {}", ca_file.display());
                    return report.add(Line::info("own_chain", detail));
                }
                Err(Rejection::UnknownCa { .. } | Rejection::CaUsedAsLeaf { .. }) if is_alone(&path, top) => {
                    let detail = format!(
                        "the certificate {} is self-signed, and not in {}: browsers refuse it",
                        top.subject,
                        ca_file.display()
                    );
                    let line = Line::error("self_signed", detail).about(files.about_chain());
                    return report.add(line.fix(SELF_SIGNED));
                }
                Err(Rejection::UnknownCa { .. }) => {
                    let detail = format!(
                        "the chain does not lead to a CA of {}: {}, which issued {}, is not in it",
                        ca_file.display(),
                        top.issuer,
                        top.subject
                    );
                    let fix = format!(
                        "if {} is an intermediate CA, append its certificate to {}; otherwise the browsers need it",
                        top.issuer,
                        files.about_chain()
                    );
                    return report.add(Line::error("own_chain", detail).about(about).fix(fix));
                }
                Err(rejection) => rejection,
            }
        }
        None => {
            needed_ca(report, &path, top, &files);
            // Whether each certificate of the path issued the one before it.
            let Some((top, below)) = path.split_last().filter(|(_, below)| !below.is_empty()) else { return };
            let chain = below.iter().filter_map(|index| own.chain.get(*index).cloned()).collect::<Vec<_>>();
            let Ok(bundle) = TrustBundle::from_der(own.chain.get(*top).cloned()) else { return };
            match verdict(bundle, &chain) {
                Ok(()) => return,
                Err(rejection) => rejection,
            }
        }
    };
    if !own.is_refused {
        let detail =
            format!("browsers will refuse the chain ({}): {}", refused.label(), WithCauses(&refused));
        let line = Line::error("own_chain", detail).split().about(files.about_chain());
        report.add(line.or_fix("issue a new certificate"));
    }
}

const SELF_SIGNED: &str =
    "issue a certificate by a CA that the browsers have, or import this one into every browser";

/// The rules of browsers that other clients do not have.
fn rules_of_browsers(report: &mut Report, leaf: &CertificateFacts, files: &OwnFiles<'_>) {
    let about = |line: Line| line.about(files.about_chain());
    let seconds = leaf.not_after.as_secs().saturating_sub(leaf.not_before.as_secs());
    let days = seconds.div_ceil(DAY);
    if days > MOST_DAYS {
        let detail = format!(
            "the certificate is valid for {days} days in all: Safari refuses more than {MOST_DAYS} days, whichever CA \
             issued it"
        );
        let fix = format!("issue it for at most {MOST_DAYS} days");
        report.add(about(Line::warning("validity_too_long", detail).fix(fix)));
    } else if days > MOST_DAYS_OF_PUBLIC_CA {
        let detail = format!(
            "the certificate is valid for {days} days in all: that is good for a CA of your own, but Chrome and Safari \
             refuse more than {MOST_DAYS_OF_PUBLIC_CA} days of a CA that they are delivered with"
        );
        report.add(about(Line::info("validity", detail)));
    }
    // One that does not allow serverAuth at all is a finding already.
    if leaf.allows_server_auth && !leaf.names_server_auth {
        let detail = "the certificate does not name serverAuth in an extended key usage: Safari refuses it";
        let fix = "issue it again with extendedKeyUsage = serverAuth";
        report.add(about(Line::warning("no_server_auth", detail).fix(fix)));
    }
    if !leaf.allows_signatures {
        let detail = "the certificate has a key usage without digitalSignature: Chrome refuses it \
                      (ERR_SSL_KEY_USAGE_INCOMPATIBLE)";
        let fix = "issue it again with keyUsage = digitalSignature, or without a key usage";
        report.add(about(Line::error("key_usage", detail).fix(fix)));
    }
    let fix = "issue one for a key on the curve P-256: openssl ecparam -name prime256v1 -genkey -noout";
    let key = &leaf.key;
    match &**key {
        "Ed25519 key" => {
            let detail = format!("the certificate has an {key}, which no browser supports");
            report.add(about(Line::error("key_type", detail).fix(fix)));
        }
        "EC key on the curve P-521" => {
            let detail = format!("the certificate has an {key}, which Chrome does not support");
            report.add(about(Line::warning("key_type", detail).fix(fix)));
        }
        _ => {}
    }
}

/// The certificates from the leaf upwards, by the names and the keys of their issuers. Of several certificates of one
/// issuer, such as one and its renewal, it takes the first one that is valid now.
fn path(facts: &[CertificateFacts], now: UnixTime) -> Vec<usize> {
    let is_current = |index: &usize| {
        facts.get(*index).is_some_and(|issuer| issuer.not_before <= now && now <= issuer.not_after)
    };
    let mut path = vec![0];
    while let Some(last) = path.last().and_then(|last| facts.get(*last)).filter(|last| !last.is_self_issued)
        && let Some(next) = issuers(facts, last).into_iter().min_by_key(|index| !is_current(index))
        && !path.contains(&next)
    {
        path.push(next);
    }
    path
}

/// The certificates that may be that of the issuer: of its name, and of its key if one of them is.
fn issuers(facts: &[CertificateFacts], of: &CertificateFacts) -> Vec<usize> {
    let named = facts.iter().enumerate().filter(|(_, issuer)| issuer.subject == of.issuer);
    let (of_key, others): (Vec<_>, Vec<_>) =
        named.partition(|(_, issuer)| of.issuer_key_id.is_some() && issuer.key_id == of.issuer_key_id);
    let found = if of_key.is_empty() { others } else { of_key };
    found.into_iter().map(|(index, _)| index).collect()
}

/// Whether the only certificate of the path is self-signed.
fn is_alone(path: &[usize], top: &CertificateFacts) -> bool {
    path.len() == 1 && top.is_self_issued
}

/// Reports certificates that are missing, not needed, or not in order.
fn check_order(report: &mut Report, facts: &[CertificateFacts], path: &[usize], files: &OwnFiles<'_>) {
    let (Some(leaf), Some(second)) = (facts.first(), facts.get(1)) else { return };
    let fix = "put behind each certificate the one of its issuer, and leave out all others";
    let line = if path.len() == 1 && !leaf.is_self_issued {
        let detail = format!(
            "the chain is broken: {} is issued by {}, but the next certificate is {}, and no other one is of {}",
            leaf.subject, leaf.issuer, second.subject, leaf.issuer
        );
        Line::error("chain_order", detail).fix(fix)
    } else if let unneeded = unneeded(facts)
        && !unneeded.is_empty()
    {
        let unneeded: Vec<_> = unneeded.into_iter().take(3).collect();
        let detail =
            format!("the chain has certificates that are not of its issuers: {}", unneeded.join(" and "));
        Line::warning("chain_order", detail).fix(fix)
    } else if !path.is_sorted() {
        let detail = "the certificates are not in order, which TLS 1.2 requires and some clients insist on";
        Line::warning("chain_order", detail).fix(fix)
    } else {
        return;
    };
    report.add(line.about(files.about_chain()));
}

/// The certificates by which no path leads from the leaf upwards. A CA may have several, which several CAs issued.
fn unneeded(facts: &[CertificateFacts]) -> Vec<&str> {
    let mut unneeded: Vec<_> = facts.iter().map(Some).collect();
    let mut next = vec![0];
    while let Some(index) = next.pop() {
        let Some(certificate) = unneeded.get_mut(index).and_then(Option::take) else { continue };
        let issuers = issuers(facts, certificate).into_iter();
        next.extend(issuers.filter(|index| unneeded.get(*index).is_some_and(Option::is_some)));
    }
    unneeded.into_iter().flatten().map(|certificate| &*certificate.subject).collect()
}

/// Says which CA a browser must have.
fn needed_ca(report: &mut Report, path: &[usize], top: &CertificateFacts, files: &OwnFiles<'_>) {
    let CertificateFacts { subject, issuer, .. } = top;
    report.add(if is_alone(path, top) {
        let detail = format!("the certificate {subject} is self-signed: every browser must trust it itself");
        Line::warning("self_signed", detail).about(files.about_chain()).fix(SELF_SIGNED)
    } else if top.is_self_issued {
        Line::info("own_chain", format!("the browsers must have the CA {subject}, to which the chain leads"))
    } else {
        let detail = format!("the browsers must have the CA {issuer}, which issued {subject}");
        let fix =
            format!("if {issuer} is an intermediate CA, append its certificate to {}", files.about_chain());
        Line::info("own_chain", detail).fix(fix)
    });
}
