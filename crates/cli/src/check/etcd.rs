//! `typha-tls check etcd`: the parameters for etcd, the files, and the user that we are there. With `--connect`, also
//! what each member says.

use std::path::PathBuf;

use clap::Args;
use rustls_pki_types::UnixTime;
use serde_json::json;
use typha_tls::config::Sources;
use typha_tls::error::{Quoted, WithCauses, alert_name};
use typha_tls::host::HostDialError;
use typha_tls::identity::PeerIdentity;
use typha_tls::material::TrustBundle;
use typha_tls::stream::Acceptance;
use typha_tls::{CertificateFacts, Connection, HandshakeError, Role};
use typha_tls_etcd::{EtcdConfig, EtcdConfigError, EtcdEndpoint, EtcdError};

use super::current;
use super::own::{Own, OwnFiles, Peers};
use super::report::{Line, Report, SEE_PATH};
use super::warnings;
use crate::output;

#[derive(Args)]
pub(crate) struct Arguments {
    /// Felix's INI file; the environment (FELIX_..., ETCD_...) counts as it does for Felix [default:
    /// /etc/calico/felix.cfg if it exists]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Check Typha's parameters: --config is its INI file [default: /etc/calico/typha.cfg if it exists]
    #[arg(long)]
    typha: bool,
    /// Check the variables ETCD_... of calicoctl and kube-controllers
    #[arg(long, conflicts_with_all = ["config", "typha"])]
    environment: bool,
    /// Check the JSON file of the CNI plugin
    #[arg(long, value_name = "FILE", conflicts_with_all = ["config", "typha", "environment"])]
    cni: Option<PathBuf>,
    /// Check the INI file of Neutron or of the DHCP agent
    #[arg(long, value_name = "FILE", conflicts_with_all = ["config", "typha", "environment", "cni"])]
    neutron: Option<PathBuf>,
    /// Also connect to each member of etcd
    #[arg(long)]
    connect: bool,
}

/// The names of the parameters of one component, for texts that say what to change.
struct Names {
    ca_file: &'static str,
    cert_file: &'static str,
    key_file: &'static str,
    /// How to set a user and its password.
    user: &'static str,
    /// Whether the component uses the HTTP/JSON gateway of etcd.
    is_of_gateway: bool,
}

const BY_ENVIRONMENT: &str = "set ETCD_USERNAME and ETCD_PASSWORD";

impl Arguments {
    fn load(&self) -> (Result<EtcdConfig, EtcdConfigError>, Names) {
        let environment = || Sources::none().with_environment(std::env::vars_os());
        let with_file = |sources: Sources| match &self.config {
            Some(file) => sources.with_file(file),
            None => sources,
        };
        let (ca_file, cert_file, key_file) = ("EtcdCaFile", "EtcdCertFile", "EtcdKeyFile");
        let daemon = Names { ca_file, cert_file, key_file, user: BY_ENVIRONMENT, is_of_gateway: false };
        let (ca_file, cert_file, key_file) = ("etcd_ca_cert_file", "etcd_cert_file", "etcd_key_file");
        let plugin = Names { ca_file, cert_file, key_file, user: BY_ENVIRONMENT, is_of_gateway: false };
        if let Some(file) = &self.cni {
            (EtcdConfig::cni(file, &environment()), plugin)
        } else if let Some(file) = &self.neutron {
            let names = Names { user: "set etcd_username and etcd_password", is_of_gateway: true, ..plugin };
            (EtcdConfig::neutron(file, &environment()), names)
        } else if self.environment {
            let (ca_file, cert_file, key_file) = ("ETCD_CA_CERT_FILE", "ETCD_CERT_FILE", "ETCD_KEY_FILE");
            (EtcdConfig::environment(&environment()), Names { ca_file, cert_file, key_file, ..daemon })
        } else if self.typha {
            (EtcdConfig::typha(&with_file(Sources::typha())), Names { user: "", ..daemon })
        } else {
            (EtcdConfig::felix(&with_file(Sources::felix())), daemon)
        }
    }
}

pub(super) fn check(report: &mut Report, arguments: &Arguments, now: UnixTime) {
    let (config, names) = arguments.load();
    let config = match config {
        Ok(config) => config,
        Err(error) => {
            let remedy = match &error {
                EtcdConfigError::File { .. } => SEE_PATH,
                EtcdConfigError::Value { .. } => "correct the value",
                _ => "correct the parameters",
            };
            return report
                .add(Line::error(error.label(), WithCauses(&error).to_string()).split().or_fix(remedy));
        }
    };
    for endpoint in &config.endpoints {
        let detail = format!("{endpoint} must present a certificate for the host {}", endpoint.host);
        report.add(Line::info("endpoint", detail));
    }
    report.add(current::policy(&config.policy));

    let bundle = TrustBundle::from_file(&config.files.ca_file);
    let bundle =
        bundle.map_err(|error| report.add(Line::of_file("ca_file", &error).about(names.ca_file))).ok();
    if let Some(bundle) = &bundle {
        for name in bundle.names() {
            report.add(Line::info("trusted_ca", name));
        }
        let about = format!("{} {}", names.ca_file, config.files.ca_file.display());
        for warning in bundle.warnings(now) {
            report.add(warnings::line(&warning, "").about(&about));
        }
    }
    let own = config.files.own_files.as_ref().map(|(chain, key)| {
        let files = OwnFiles { chain: (names.cert_file, chain), key: (names.key_file, key) };
        files.check(report, Role::Client, &config.policy, Peers::Go("etcd"), now)
    });
    match &own {
        // Its files can not be used.
        Some(None) => {}
        Some(Some(own)) => {
            of_own_chain(report, own);
            user(
                report,
                &config,
                own.chain.first().and_then(|leaf| PeerIdentity::from_certificate(leaf).ok()),
                &names,
            );
        }
        None => {
            let detail =
                "no client certificate is configured: etcd refuses us if it runs with --client-cert-auth";
            let fix = format!("set {} and {}", names.cert_file, names.key_file);
            report.add(match &config.user {
                Some(_) => Line::info("no_certificate", detail).fix(format!("if it does, {fix}")),
                None => Line::warning("no_certificate", detail).fix(fix),
            });
            user(report, &config, None, &names);
        }
    }
    if arguments.connect {
        connect(report, &config);
    }
}

/// Says which CA etcd must have.
fn of_own_chain(report: &mut Report, own: &Own) {
    let Some(Ok(top)) = own.chain.last().map(CertificateFacts::read) else { return };
    let detail =
        format!("etcd's --trusted-ca-file must have the CA {}, which issued {}", top.issuer, top.subject);
    report.add(Line::info("own_chain", detail));
}

/// Says which user of etcd we are, if its authentication is on.
fn user(report: &mut Report, config: &EtcdConfig, identity: Option<PeerIdentity>, names: &Names) {
    let common_name = identity.as_ref().and_then(|identity| identity.common_name());
    report.add(match (&config.user, common_name) {
        (Some(user), Some(common_name)) => {
            let (user, common_name) = (Quoted(user.name()), Quoted(common_name));
            let detail = format!(
                "we are etcd's user {user}, by the password: it wins over the Common Name {common_name}, also if it \
                 has fewer rights"
            );
            Line::info("user", detail)
        }
        (Some(user), None) => {
            Line::info("user", format!("we are etcd's user {}, by the password", Quoted(user.name())))
        }
        (None, Some(common_name)) if !names.is_of_gateway => {
            let detail = format!(
                "if etcd's authentication is on, we are its user {}: the Common Name of our certificate",
                Quoted(common_name)
            );
            Line::info("user", detail)
        }
        (None, common_name) => {
            let why = match common_name {
                Some(_) => "etcd's gateway, which Neutron uses, ignores the Common Name of the certificate",
                None if identity.is_some() => "the certificate has no Common Name",
                None => "there is no certificate with a Common Name",
            };
            let detail = format!(
                "no user is configured, and {why}: etcd denies us everything if its authentication is on"
            );
            let fix = match (names.is_of_gateway, names.user) {
                (true, user) => format!("if it is on, {user}"),
                (false, "") => "if it is on, use a certificate with the user as its Common Name".to_owned(),
                (false, user) => format!("if it is on, use a certificate with the user as its Common Name, or {user}"),
            };
            Line::warning("no_user", detail).fix(fix)
        }
    });
}

/// Connects to all members at once, and reports each.
fn connect(report: &mut Report, config: &EtcdConfig) {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let line = Line::error("connect", format!("no connection can be made: {error}"));
            return report.add(line.fix("see whether this user may start threads and open files"));
        }
    };
    let dials: Vec<_> = config
        .endpoints
        .iter()
        .map(|endpoint| {
            let mut config = config.clone();
            config.endpoints = vec![endpoint.clone()];
            let connector = config.connector().map_err(|error| WithCauses(&error).to_string());
            (endpoint, runtime.spawn(async move { Ok::<_, String>(connector?.connect().await) }))
        })
        .collect();
    let presented = config.files.own_files.is_some();
    for (endpoint, dial) in dials {
        report.add(match runtime.block_on(dial) {
            Ok(Ok(Ok(connection))) => of_connection(endpoint, &connection, presented),
            Ok(Ok(Err(error))) => of_error(endpoint, &error),
            // The errors of the files are reported above.
            Ok(Err(_)) => {
                let detail = format!("not connected to {endpoint}: see the errors of our own files");
                report.add(Line::info("connect", detail));
                continue;
            }
            Err(error) => Line::error("connect", format!("{endpoint}: {error}")).fix("try again"),
        });
    }
    // The resolver may still be waiting for an answer.
    runtime.shutdown_background();
}

fn of_connection(endpoint: &EtcdEndpoint, connection: &Connection, presented: bool) -> Line {
    let (peer, acceptance) = (connection.peer(), output::acceptance(connection));
    let text = match (connection.acceptance(), presented) {
        (Acceptance::Confirmed, true) => "it has accepted our certificate",
        (Acceptance::Confirmed, false) => "it has accepted us without a certificate",
        (Acceptance::NotAsked, _) => "it did not ask for our certificate",
        _ => "it has sent nothing: a proxy may be in between",
    };
    let detail = format!("connected to {endpoint}: {peer}, {}, CA {}: {text}", connection.tls(), peer.ca());
    let line = if connection.acceptance() == Acceptance::NotAsked && presented {
        let fix = "start etcd with --client-cert-auth and --trusted-ca-file, or any client can use it";
        Line::warning("not_asked", detail).fix(fix)
    } else {
        Line::info("connected", detail)
    };
    let members = output::merge(json!({ "endpoint": endpoint.to_string() }), output::peer(peer));
    let members = output::merge(members, output::tls(connection));
    line.members(members).members(json!({ "acceptance": acceptance }))
}

fn of_error(endpoint: &EtcdEndpoint, error: &EtcdError) -> Line {
    let attempt = error.attempts().last();
    let text = attempt.map_or_else(|| error.to_string(), ToString::to_string);
    let handshake = attempt.and_then(|attempt| attempt.error.handshake());
    let line = Line::error("connect", text).split().or_fix(
        match (attempt.map(|attempt| &*attempt.error), handshake) {
            (Some(HostDialError::Unresolved { .. }), _) => {
                "correct the name of the endpoint, or the resolver"
            }
            (_, Some(HandshakeError::RefusedByPeer { .. } | HandshakeError::Closed { .. })) => {
                "etcd's log has the exact reason"
            }
            _ => "see whether etcd runs there, and whether its client port can be reached from here",
        },
    );
    let line = line.members(json!({ "endpoint": endpoint.to_string(), "reason": error.label() }));
    match handshake.and_then(HandshakeError::alert) {
        Some(alert) => line.members(json!({ "alert": alert_name(alert) })),
        None => line,
    }
}
