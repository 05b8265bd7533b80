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
use typha_tls::verifier::{HostVerifier, PeerVerifier, RejectedPeer, Rejection, VerifiedChain};
use typha_tls::{CertificateFacts, HandshakeError, Role, ServerHost};

use crate::options::RevocationOptions;
use crate::output::{self, FOUND, Format, SUCCESS, UNUSABLE};

/// Verifies one certificate chain as in a handshake
///
/// With --peer, it is the chain of Felix or Typha, which must have a required name (--cn, --uri-san). With --host, it
/// is the chain of another server, such as etcd, kube-apiserver or Manager, which must be valid for that host.
///
/// Exit code: 0 accepted, 1 refused, 2 bad usage or a file that can not be used.
#[derive(Args)]
#[group(skip)]
#[command(group = ArgGroup::new("required").required(true).multiple(true).args(["cn", "uri_san", "host"]))]
pub(crate) struct Arguments {
    /// The end that presents the chain
    #[arg(long, required_unless_present = "host")]
    peer: Option<Peer>,
    /// DNS name or IP address, without a port, that a server other than Typha was dialled at
    #[arg(long, value_name = "NAME", conflicts_with_all = ["peer", "cn", "uri_san"])]
    host: Option<ServerHost>,
    /// PEM bundle of the CAs trusted for that peer
    #[arg(long, value_name = "FILE")]
    ca_file: PathBuf,
    /// PEM chain as that peer would send it, leaf first
    #[arg(long, value_name = "FILE")]
    chain: PathBuf,
    /// Common Name required of that peer
    #[arg(long, value_name = "CN")]
    cn: Option<String>,
    /// URI SAN required of that peer; with --cn, either suffices
    #[arg(long, value_name = "URI")]
    uri_san: Option<String>,
    #[command(flatten)]
    revocation: RevocationOptions,
    /// The time at which to judge, such as 2026-01-31T12:00:00Z [default: now]
    #[arg(long, value_name = "RFC3339-TIME", value_parser = parse_time)]
    at: Option<UnixTime>,
    /// Print all names of the leaf as they are, with --host also its DNS names and IP addresses; without it, long names
    /// are cut and further URI SANs left out
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
    let (rule, chain) = match prepare(arguments) {
        Ok(prepared) => prepared,
        Err(error) => {
            output::complain(&*error);
            return UNUSABLE;
        }
    };
    let is_json = arguments.json || arguments.format == Format::Json;
    let verdict = rule.verify(&chain, arguments.at.unwrap_or_else(UnixTime::now));
    let doubts = rule.doubts();
    let (code, text, line) = match verdict {
        Ok(peer) => {
            let line = output::merge(json!({ "verdict": "accepted" }), output::peer(&peer));
            (SUCCESS, format!("accepted: {peer}"), line)
        }
        Err(rejection) => {
            let (reason, leaf) =
                (rejection.label(), output::leaf(&RejectedPeer::new(rejection.clone(), chain.first())));
            // The library does not know how the names were given.
            let remedy = match (&rejection, doubts) {
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
    let hosts = leaf.filter(|_| arguments.host.is_some()).and_then(|leaf| CertificateFacts::read(leaf).ok());
    if is_json {
        let mut line = line;
        if let (Some(identity), Some(members)) = (&identity, line.as_object_mut()) {
            members.shift_remove("uri_sans_omitted");
            line = output::merge(line, output::all_names(identity));
        }
        if let Some(CertificateFacts { dns_names, ip_addresses, .. }) = hosts {
            line = output::merge(line, json!({ "dns_names": dns_names, "ip_addresses": ip_addresses }));
        }
        let doubts = if doubts.is_empty() { json!({}) } else { json!({ "doubtful_identity": doubts }) };
        output::print(&output::merge(line, doubts));
    } else {
        output::print_text(&text);
        let mut names = Vec::new();
        if let Some(identity) = &identity {
            names.extend(identity.common_name().map(|name| ("CN", name.to_owned())));
            names.extend(identity.uri_sans().map(|uri| ("URI SAN", uri.to_owned())));
        }
        if let Some(CertificateFacts { dns_names, ip_addresses, .. }) = hosts {
            names.extend(dns_names.into_iter().map(|name| ("DNS name", name)));
            names.extend(ip_addresses.into_iter().map(|address| ("IP address", address.to_string())));
        }
        for (kind, name) in names {
            output::print_text(&format!("{kind}: {}", output::printable(&name)));
        }
        for doubt in doubts {
            output::print_text(&format!("doubtful_identity: {doubt}"));
        }
    }
    code
}

/// How the chain is verified.
enum Rule {
    Identity { verifier: PeerVerifier, role: Role, doubts: Vec<IdentityDoubt> },
    Host { verifier: HostVerifier, host: ServerHost },
}

impl Rule {
    fn verify(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> Result<VerifiedChain, Rejection> {
        match self {
            Self::Identity { verifier, role, .. } => verifier.verify(chain, *role, now),
            Self::Host { verifier, host } => verifier.verify(chain, host, now),
        }
    }

    fn doubts(&self) -> &[IdentityDoubt] {
        match self {
            Self::Identity { doubts, .. } => doubts,
            Self::Host { .. } => &[],
        }
    }
}

fn prepare(arguments: &Arguments) -> Result<(Rule, Vec<CertificateDer<'static>>), Box<dyn Error>> {
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
    let rule = match &arguments.host {
        Some(host) => Rule::Host { verifier: HostVerifier::new(bundle, lists, &policy), host: host.clone() },
        None => {
            let required = RequiredIdentity::new(arguments.cn.as_deref(), arguments.uri_san.as_deref())?;
            let doubts = required.doubts();
            // Without a host, the command line has a peer.
            let role = if matches!(arguments.peer, Some(Peer::Felix)) { Role::Felix } else { Role::Typha };
            Rule::Identity { verifier: PeerVerifier::new(bundle, lists, required, &policy), role, doubts }
        }
    };
    Ok((rule, chain))
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
