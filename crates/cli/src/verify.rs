//! `typha-tls verify`: judges a chain without a connection.

use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args, ValueEnum};
use rustls_pki_types::{CertificateDer, UnixTime};
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use typha_tls::error::WithCauses;
use typha_tls::identity::{IdentityDoubt, PeerIdentity, RequiredIdentity};
use typha_tls::material::{MaterialError, RevocationLists, TrustBundle, read_chain};
use typha_tls::policy::TlsPolicy;
use typha_tls::verifier::{PeerVerifier, RejectedPeer, Rejection};
use typha_tls::{HandshakeError, Role};

use crate::options::RevocationOptions;
use crate::output::{self, FOUND, Format, SUCCESS, UNUSABLE};

/// Verifies one certificate chain as in a handshake
///
/// Exit code: 0 accepted, 1 refused, 2 bad usage or a file that can not be used.
#[derive(Args)]
#[group(skip)]
#[command(group = ArgGroup::new("identity").required(true).multiple(true))]
pub(crate) struct Arguments {
    /// The end that presents the chain
    #[arg(long)]
    peer: Peer,
    /// PEM bundle of the CAs trusted for that peer
    #[arg(long, value_name = "FILE")]
    ca_file: PathBuf,
    /// PEM chain as that peer would send it, leaf first
    #[arg(long, value_name = "FILE")]
    chain: PathBuf,
    /// Common Name required of that peer
    #[arg(long, value_name = "CN", group = "identity")]
    cn: Option<String>,
    /// URI SAN required of that peer; with --cn, either suffices
    #[arg(long, value_name = "URI", group = "identity")]
    uri_san: Option<String>,
    #[command(flatten)]
    revocation: RevocationOptions,
    /// The time at which to judge, such as 2026-01-31T12:00:00Z [default: now]
    #[arg(long, value_name = "RFC3339-TIME", value_parser = parse_time)]
    at: Option<UnixTime>,
    /// Print all names of the leaf as they are; without it, long names are cut and further URI SANs left out
    #[arg(long)]
    all_names: bool,
    /// The form of the output
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    format: Format,
    /// The same as --format json
    #[arg(long, conflicts_with = "format")]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Peer {
    Felix,
    Typha,
}

pub(crate) fn run(arguments: &Arguments) -> u8 {
    let (verifier, chain, doubts) = match prepare(arguments) {
        Ok(prepared) => prepared,
        Err(error) => {
            output::complain(&*error);
            return UNUSABLE;
        }
    };
    let role = match arguments.peer {
        Peer::Felix => Role::Felix,
        Peer::Typha => Role::Typha,
    };
    let is_json = arguments.json || arguments.format == Format::Json;
    let verdict = verifier.verify(&chain, role, arguments.at.unwrap_or_else(UnixTime::now));
    let (code, text, line) = match verdict {
        Ok(peer) => {
            let line = output::merge(json!({ "verdict": "accepted" }), output::peer(&peer));
            (SUCCESS, format!("accepted: {peer}"), line)
        }
        Err(rejection) => {
            let (reason, leaf) =
                (rejection.label(), output::leaf(&RejectedPeer::new(rejection.clone(), chain.first())));
            // The library does not know how the names were given.
            let remedy = match (&rejection, &*doubts) {
                (Rejection::IdentityMismatch(_), []) => {
                    "; re-issue it with a name that is required, or require a name that it has (--cn, --uri-san)"
                        .to_owned()
                }
                (Rejection::IdentityMismatch(_), doubts) => {
                    let flag = |doubt: &IdentityDoubt| if doubt.kind == "Common Name" { "--cn" } else { "--uri-san" };
                    let flags: Vec<_> = doubts.iter().map(flag).collect();
                    format!("; correct {} (see doubtful_identity)", flags.join(" and "))
                }
                _ => String::new(),
            };
            let detail = format!("{}{remedy}", WithCauses(&HandshakeError::from(rejection)));
            let line = json!({ "verdict": "refused", "reason": reason, "detail": detail });
            (FOUND, format!("refused ({reason}): {detail}"), output::merge(line, leaf))
        }
    };
    let doubts: Vec<_> = doubts.iter().map(ToString::to_string).collect();
    let leaf = chain.first().filter(|_| arguments.all_names);
    let identity = leaf.and_then(|leaf| PeerIdentity::from_certificate(leaf).ok());
    if is_json {
        let mut line = line;
        if let (Some(identity), Some(members)) = (&identity, line.as_object_mut()) {
            members.shift_remove("uri_sans_omitted");
            line = output::merge(line, output::all_names(identity));
        }
        let doubts = if doubts.is_empty() { json!({}) } else { json!({ "doubtful_identity": doubts }) };
        output::print(&output::merge(line, doubts));
    } else {
        output::print_text(&text);
        if let Some(identity) = identity {
            let uri_sans = identity.uri_sans().map(|uri| ("URI SAN", uri));
            for (kind, name) in identity.common_name().map(|name| ("CN", name)).into_iter().chain(uri_sans) {
                output::print_text(&format!("{kind}: {}", output::printable(name)));
            }
        }
        for doubt in doubts {
            output::print_text(&format!("doubtful_identity: {doubt}"));
        }
    }
    code
}

type Prepared = (PeerVerifier, Vec<CertificateDer<'static>>, Vec<IdentityDoubt>);

fn prepare(arguments: &Arguments) -> Result<Prepared, Box<dyn Error>> {
    let required = RequiredIdentity::new(arguments.cn.as_deref(), arguments.uri_san.as_deref())?;
    let policy = TlsPolicy::builder().build()?;
    let bundle = TrustBundle::from_file(&arguments.ca_file)?;
    let chain = match read_chain(&arguments.chain) {
        // A peer may send no certificate.
        Err(error) if is_about_an_empty_file(&error) => Vec::new(),
        chain => chain?,
    };
    let revocation = &arguments.revocation;
    let lists = RevocationLists::from_files(revocation.files(), &bundle, policy.provider())?;
    let lists = lists.with_policy(revocation.policy());
    let doubts = required.doubts();
    let verifier = PeerVerifier::new(bundle, lists, required, &policy);
    Ok((verifier, chain, doubts))
}

/// Whether a chain file could not be read because there is nothing in it.
pub(crate) fn is_about_an_empty_file(error: &MaterialError) -> bool {
    matches!(error, MaterialError::NoCertificate { found, .. } if found.starts_with("it is empty"))
}

pub(crate) fn parse_time(text: &str) -> Result<UnixTime, String> {
    let time = OffsetDateTime::parse(text, &Rfc3339)
        .map_err(|error| format!("{error}; a time is written 2026-01-31T12:00:00Z"))?;
    let seconds = u64::try_from(time.unix_timestamp()).map_err(|_| "it lies before 1970".to_owned())?;
    Ok(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
}
