//! `typha-tls check`: everything that can be known before connecting.

use std::error::Error;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use rustls_pki_types::UnixTime;
use serde_json::json;
use typha_tls::Role;
use typha_tls::config::{ConfigError, FelixConfig, Sources, TlsSettings, TyphaConfig};
use typha_tls::error::WithCauses;
use typha_tls::identity::RequiredIdentity;
use typha_tls::material::{Credentials, RevocationLists, RevocationPolicy, TrustBundle};
use typha_tls::verifier::{PeerVerifier, Rejection};

use crate::options::{FelixOptions, RevocationOptions, TyphaOptions};
use crate::output::{self, FOUND, SUCCESS};

/// Checks the configuration and the files of one end, and says what to do about each finding
///
/// Prints a JSON line for each fact ("level":"info") and each finding ("warning" or "error"). Exit code: 0 clean,
/// 1 findings, 2 bad usage.
#[derive(Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    end: End,
}

#[derive(Subcommand)]
enum End {
    /// Checks Felix's end
    Felix {
        #[command(flatten)]
        tls: FelixOptions,
        #[command(flatten)]
        revocation: RevocationOptions,
        /// Typha's INI file: also says whether that Typha would accept us
        #[arg(long, value_name = "FILE")]
        against: Option<PathBuf>,
    },
    /// Checks Typha's end
    Typha {
        #[command(flatten)]
        tls: TyphaOptions,
        #[command(flatten)]
        revocation: RevocationOptions,
        /// Felix's INI file: also says whether that Felix would accept us
        #[arg(long, value_name = "FILE")]
        against: Option<PathBuf>,
    },
}

pub(crate) fn run(arguments: &Arguments) -> u8 {
    let mut report = Report::default();
    let (local, sources, revocation, against) = match &arguments.end {
        End::Felix { tls, revocation, against } => (Role::Felix, tls.sources(), revocation, against),
        End::Typha { tls, revocation, against } => (Role::Typha, tls.sources(), revocation, against),
    };
    let own = report.settings(settings(local, &sources), "configuration").and_then(|mut settings| {
        revocation.apply(&mut settings.files);
        report.files(local, &settings)
    });
    if let (Some(own), Some(file)) = (own, against) {
        report.against(local, &own, file);
    }
    if report.found { FOUND } else { SUCCESS }
}

fn settings(end: Role, sources: &Sources) -> Result<Option<TlsSettings>, ConfigError> {
    Ok(match end {
        Role::Felix => FelixConfig::load(sources)?.tls,
        Role::Typha => TyphaConfig::load(sources)?.tls,
    })
}

/// What this end presents, and the revocation lists that it was given. Those are meant for the other end's certificates; with
/// one CA for both ends they cover ours, too.
struct Own {
    credentials: Credentials,
    lists: RevocationLists,
}

#[derive(Default)]
struct Report {
    found: bool,
}

impl Report {
    fn info(&self, fact: &str, detail: &str) {
        output::print(&json!({ "level": "info", "fact": fact, "detail": detail }));
    }

    fn warning(&mut self, finding: &str, detail: &str) {
        self.found = true;
        output::print(&json!({ "level": "warning", "finding": finding, "detail": detail }));
    }

    fn error(&mut self, finding: &str, detail: &str) {
        self.found = true;
        output::print(&json!({ "level": "error", "finding": finding, "detail": detail }));
    }

    fn usable<T, E: Error>(&mut self, result: Result<T, E>, finding: &str) -> Option<T> {
        result.map_err(|error| self.error(finding, &WithCauses(&error).to_string())).ok()
    }

    fn settings(
        &mut self,
        settings: Result<Option<TlsSettings>, ConfigError>,
        finding: &str,
    ) -> Option<TlsSettings> {
        let settings = self.usable(settings, finding)?;
        if settings.is_none() {
            let detail = "TLS is not configured: set CAFile, ServerCertFile, ServerKeyFile and ClientCN or ClientURISAN on \
                          Typha; TyphaCAFile, TyphaCertFile, TyphaKeyFile and TyphaCN or TyphaURISAN on Felix";
            self.error(finding, detail);
        }
        settings
    }

    /// Looks at all files, also if what one of them holds can not be used.
    fn files(&mut self, local: Role, settings: &TlsSettings) -> Option<Own> {
        let (files, provider) = (&settings.files, settings.policy.provider());
        let now = UnixTime::now();
        self.info("required_peer", &format!("{} must present {}", local.peer(), settings.required_peer));

        let bundle = self.usable(TrustBundle::from_pem_file(&files.ca_file), "ca_file");
        if let Some(bundle) = &bundle {
            for subject in bundle.subjects() {
                self.info("trusted_ca", subject);
            }
            for warning in bundle.warnings(now) {
                self.warning(warning.as_str(), &warning.to_string());
            }
        }
        let lists = bundle.as_ref().and_then(|bundle| self.revocation_lists(bundle, settings, now));

        let credentials = Credentials::from_pem_files(&files.cert_file, &files.key_file, provider);
        let credentials = self.usable(credentials, "cert_file_and_key_file")?;
        for warning in credentials.warnings(local, now) {
            self.warning(warning.as_str(), &warning.to_string());
        }
        self.own_leaf(local, &credentials, now);
        // That nothing is known of our own certificate is for the other end to mind: only proof of a revocation counts here.
        let lists = lists.unwrap_or_default().with_policy(RevocationPolicy::default());
        let own = Own { credentials, lists };
        if let Some(bundle) = bundle {
            self.own_chain(local, &own, bundle, settings, now);
        }
        Some(own)
    }

    fn revocation_lists(
        &mut self,
        bundle: &TrustBundle,
        settings: &TlsSettings,
        now: UnixTime,
    ) -> Option<RevocationLists> {
        let files = &settings.files;
        let lists = RevocationLists::from_files(&files.crl_files, bundle, settings.policy.provider());
        let lists = self.usable(lists, "crl_file")?.with_policy(files.revocation);
        for list in lists.iter() {
            self.info("revocation_list", &list.to_string());
        }
        for warning in lists.warnings(now) {
            self.warning(warning.as_str(), &warning.to_string());
        }
        Some(lists)
    }

    fn own_leaf(&mut self, local: Role, credentials: &Credentials, now: UnixTime) {
        let days = credentials.not_after().as_secs().saturating_sub(now.as_secs()) / 86_400;
        self.info("days_left", &format!("our certificate expires in {days} days"));
        if days < RENEWAL_DAYS && now <= credentials.not_after() {
            self.warning(
                "leaf_expires_soon",
                &format!("our certificate expires in {days} days: issue a new one and restart before then"),
            );
        }
        match own_identity(credentials) {
            Some(_) => self.info(
                "own_identity",
                &format!("{} would have to require one of what we present: {}", local.peer(), credentials.identity()),
            ),
            None => self.error(
                "no_identity",
                "our certificate has neither a Common Name nor a URI SAN, so that no peer can accept it: issue one that has",
            ),
        }
    }

    /// Whether our own chain leads to our own CA file. It need not, but most clusters have one CA.
    fn own_chain(
        &mut self,
        local: Role,
        own: &Own,
        bundle: TrustBundle,
        settings: &TlsSettings,
        now: UnixTime,
    ) {
        let Some(identity) = own_identity(&own.credentials) else { return };
        let verifier = PeerVerifier::new(bundle, own.lists.clone(), identity, settings.policy.provider());
        match verifier.verify(own.credentials.chain(), local, now) {
            Ok(_) => self.info("own_chain", "our chain leads to a CA of our own CA file"),
            Err(Rejection::UnknownCa { issuer, .. } | Rejection::CaKeyMismatch { issuer, .. }) => self.info(
                "own_chain",
                &format!(
                    "our chain does not lead to our own CA file: the CA file of {} needs {issuer}",
                    local.peer()
                ),
            ),
            Err(rejection) => {
                self.error("own_chain", &format!("our own chain would be refused: {rejection}"));
            }
        }
    }

    /// Judges our chain as the other end would, if it had the revocation lists that we have.
    fn against(&mut self, local: Role, own: &Own, file: &PathBuf) {
        let peer = local.peer();
        let sources = Sources::none().with_file(file);
        let theirs = match settings(peer, &sources) {
            complete @ (Ok(_) | Err(ConfigError::Incomplete { .. })) => complete,
            // Of the other end only its CAs and its rule count; its key is not for us to read.
            Err(_) => {
                let readable = file.to_string_lossy();
                let (cert, key) = match peer {
                    Role::Felix => ("TyphaCertFile", "TyphaKeyFile"),
                    Role::Typha => ("ServerCertFile", "ServerKeyFile"),
                };
                settings(peer, &sources.with_value(cert, &readable).with_value(key, &readable))
            }
        };
        let Some(theirs) = self.settings(theirs, "against") else { return };
        let Some(bundle) = self.usable(TrustBundle::from_pem_file(&theirs.files.ca_file), "against") else {
            return;
        };
        let verifier = PeerVerifier::new(
            bundle,
            own.lists.clone(),
            theirs.required_peer.clone(),
            theirs.policy.provider(),
        );
        match verifier.verify(own.credentials.chain(), local, UnixTime::now()) {
            Ok(ours) => {
                self.info("against", &format!("{peer} would accept us, matched by {}", ours.matched_by()));
            }
            Err(rejection) => {
                self.error(
                    "against",
                    &format!("{peer} would refuse us ({}): {rejection}", rejection.reason()),
                );
            }
        }
    }
}

/// Below this many days a certificate is reported: time for people to act, also over a holiday.
const RENEWAL_DAYS: u64 = 14;

/// What the other end would have to require to accept our leaf.
fn own_identity(credentials: &Credentials) -> Option<RequiredIdentity> {
    let identity = credentials.identity();
    let uri_san = identity.uri_sans().find(|uri| RequiredIdentity::uri_san(uri).is_ok());
    RequiredIdentity::new(identity.common_name(), uri_san).ok()
}
