//! What becomes of what a look has found: a new snapshot, a failure that is told, or nothing.

use std::sync::Arc;

use rustls_pki_types::UnixTime;
use tracing::{info, warn};

use super::changes::Changes;
use super::error::ReloadError;
use super::following::Following;
use super::look::Found;
use super::reloader::Reloaded;
use super::source::SnapshotSource;
use super::state::CertificateLifetime;
use crate::snapshot::{Snapshot, SnapshotEnd};
use crate::text::WithCauses;

/// Whence comes what the source did not give.
pub(super) const THE_PROGRAM: &str = "the program";

impl<C: SnapshotEnd, S: SnapshotSource> Following<C, S> {
    /// Acts on what a look found.
    pub(super) fn settled(&mut self, found: Found<C>) -> Result<Reloaded, Arc<ReloadError>> {
        match found {
            Found::Bad(error) => Err(self.failed(error)),
            Found::New(snapshot) => Ok(Reloaded::Replaced { generation: self.put_in_force(snapshot) }),
            Found::Unchanged => {
                if self.state.borrow().last_error.is_some() {
                    info!(source = self.description, "what is there is what is in force, again");
                    self.state.send_modify(|state| state.last_error = None);
                }
                Ok(Reloaded::Unchanged)
            }
        }
    }

    /// Reports a failure, unless it has been. Returns it as it was reported.
    pub(super) fn failed(&mut self, error: Arc<ReloadError>) -> Arc<ReloadError> {
        let reported = self.state.borrow().last_error.clone();
        if let Some(reported) = reported.filter(|reported| reported.reads_as(&error)) {
            return reported;
        }
        warn!(
            source = self.description,
            reason = error.as_str(),
            detail = %WithCauses(&*error),
            generation = self.state.borrow().generation,
            "what is new can not be used; the snapshot in force stays"
        );
        self.state.send_modify(|state| {
            state.failures += 1;
            state.last_error = Some(error.clone());
        });
        error
    }

    fn put_in_force(&mut self, snapshot: Snapshot<C>) -> u64 {
        let (old, new) = (self.snapshots.current(), snapshot.clone());
        let generation = self.snapshots.replace(snapshot);
        let changes = Changes::between(old.parts(), new.parts());
        info!(generation, source = self.description, changes = %changes, "snapshot replaced");
        if let Some(issuer) = changes.own_issuer(C::LOCAL, now(&new)) {
            warn!(generation, "{issuer}");
        }
        new.parts().log_warnings(C::LOCAL);
        self.expiry.begin_lists(&new.parts().material.revocation_lists, now(&new));
        self.state.send_modify(|state| {
            state.reloads += 1;
            state.last_error = None;
            state.generation = generation;
            state.loaded_at = now(&new);
            state.loaded_from.clone_from(&self.description);
            state.certificates = CertificateLifetime::all_of(new.parts());
        });
        generation
    }

    /// Takes note of what the program put in force itself.
    pub(super) fn follow_generation(&mut self) {
        let current = self.snapshots.current();
        if current.generation() == self.state.borrow().generation {
            return;
        }
        self.state.send_modify(|state| {
            state.generation = current.generation();
            state.loaded_at = now(&current);
            state.loaded_from = THE_PROGRAM.to_owned();
            state.certificates = CertificateLifetime::all_of(current.parts());
        });
        // What is known of its lists was said when it was made.
        self.expiry.begin_lists(&current.parts().material.revocation_lists, now(&current));
    }
}

/// By the clock of its policy, or else by ours.
pub(super) fn now<C>(snapshot: &Snapshot<C>) -> UnixTime {
    snapshot.now().unwrap_or_else(UnixTime::now)
}
