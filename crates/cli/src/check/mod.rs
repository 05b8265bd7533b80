//! `typha-tls check`: checks everything that can be known before connecting.

mod advice;
mod against;
mod apiservice;
mod ca_changes;
mod chain_file;
mod current;
mod etcd;
mod manager;
mod own;
mod parameters;
mod peers;
mod plan;
mod report;
mod warnings;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use rustls_pki_types::UnixTime;
use typha_tls::Role;
use typha_tls::policy::TlsPolicy;
use typha_tls::verifier::PeerVerifier;

use crate::options::{FelixOptions, RevocationOptions, TyphaOptions};
use crate::output::{self, Format, UNUSABLE};
use current::Current;
use plan::{Plan, PlanOptions};
use report::{Line, Report};

/// Checks the configuration and the files of one end, and gives a remedy for each finding
///
/// The ends are those of all connections: Felix and Typha, the clients of etcd, Calico's API server, Manager.
///
/// Prints errors and warnings with their fix, then facts, then the numbers. With --format json: one JSON line for each
/// fact ("level":"info") and each finding ("warning" or "error"). Exit code: 0 no errors and no warnings, 1 errors or
/// warnings, 2 bad usage.
///
/// With --peers, finds the peers that are refused today. With --with-... too, finds out which peers a planned change
/// would disconnect, and why.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The form of the output
    #[arg(long, global = true, value_enum, value_name = "FORMAT", default_value_t)]
    format: Format,
    #[command(subcommand)]
    end: End,
}

#[derive(Subcommand)]
enum End {
    /// Checks the certificate of an aggregated API server, such as Calico's, and its APIService object
    Apiservice(apiservice::Arguments),
    /// Checks the parameters for etcd of Felix, Typha, calicoctl, kube-controllers, the CNI plugin or Neutron
    Etcd(etcd::Arguments),
    /// Checks Felix's end
    Felix {
        #[command(flatten)]
        tls: FelixOptions,
        #[command(flatten)]
        revocation: RevocationOptions,
        /// Typha's INI file: also checks whether that Typha and we would accept each other; its key is not needed
        #[arg(long, value_name = "FILE")]
        against: Option<PathBuf>,
        #[command(flatten)]
        plan: PlanOptions,
    },
    /// Checks Manager's certificate as a browser does
    Manager(manager::Arguments),
    /// Checks Typha's end
    Typha {
        #[command(flatten)]
        tls: TyphaOptions,
        #[command(flatten)]
        revocation: RevocationOptions,
        /// Felix's INI file: also checks whether that Felix and we would accept each other; its key is not needed
        #[arg(long, value_name = "FILE")]
        against: Option<PathBuf>,
        #[command(flatten)]
        plan: PlanOptions,
    },
}

pub(crate) fn run(arguments: &Arguments) -> u8 {
    let mut report = Report::new(arguments.format);
    let now = UnixTime::now();
    let (local, sources, revocation, against, plan) = match &arguments.end {
        End::Apiservice(arguments) => {
            return of_server(report, |report, policy| apiservice::check(report, arguments, policy, now));
        }
        End::Etcd(arguments) => {
            etcd::check(&mut report, arguments, now);
            return report.finish();
        }
        End::Felix { tls, revocation, against, plan } => {
            (Role::Felix, tls.sources(), revocation, against, plan)
        }
        End::Manager(arguments) => {
            return of_server(report, |report, policy| manager::check(report, arguments, policy, now));
        }
        End::Typha { tls, revocation, against, plan } => {
            (Role::Typha, tls.sources(), revocation, against, plan)
        }
    };
    let settings = current::usable(&mut report, local, current::load(local, &sources), None);
    if let Some(mut settings) = settings {
        revocation.apply(&mut settings.files);
        let current = Current::check(&mut report, local, settings, now);
        if let Some(file) = against {
            against::check(&mut report, &current, file, now);
        }
        check_plan(&mut report, &current, plan, now);
    }
    report.finish()
}

/// Checks a server that has no parameters for TLS.
fn of_server(mut report: Report, check: impl FnOnce(&mut Report, &TlsPolicy)) -> u8 {
    match TlsPolicy::builder().build() {
        Ok(policy) => {
            check(&mut report, &policy);
            report.finish()
        }
        Err(error) => {
            output::complain(&error);
            UNUSABLE
        }
    }
}

/// Judges the plan: CAs removed and added, our own chain, and the peers that would be cut off.
fn check_plan(report: &mut Report, current: &Current, options: &PlanOptions, now: UnixTime) {
    let plan = Plan { options, current, now, at: options.at.unwrap_or(now) };
    let bundle = plan.bundle(report);
    let lists = bundle.as_ref().and_then(|bundle| plan.lists(report, bundle));
    if options.changes_material()
        && let (Some(bundle), Some(lists)) = (&bundle, &lists)
    {
        plan.own_chain(report, bundle, lists);
    }
    let Some(dir) = &options.peers else { return };
    let required = plan.required(report);
    let after = match (bundle, lists, required) {
        (Some(bundle), Some(lists), Some(required)) => {
            Some(PeerVerifier::new(bundle, lists, required, &current.settings.policy))
        }
        _ => None,
    };
    match (current.verifier(), after) {
        (Some(before), Some(after)) => peers::judge(report, &plan, dir, &before, &after),
        _ => report.add(Line::error("peers", "no peer was judged").fix("fix the errors above first")),
    }
}
