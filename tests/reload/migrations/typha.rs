//! A Typha, put together as a program that embeds it does.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use rustls_pki_types::CertificateDer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_util::task::AbortOnDropHandle;
use typha_tls::Connection;
use typha_tls::config::TyphaConfig;
use typha_tls::error::WithCauses;
use typha_tls::lifetime::LostTrust;
use typha_tls::listener::{ListenerHandle, ListenerStats};
use typha_tls::reload::{Reloaded, Reloader};
use typha_tls::testing::{TestCa, TestLeaf};
use typha_tls::{Role, TyphaListener};

use super::files::Files;
use super::site::Manner;
use super::until;

/// Answers each byte with a mark of Felix's leaf.
pub(crate) struct Typha {
    pub(crate) files: Files,
    pub(crate) address: SocketAddr,
    pub(crate) reloader: Reloader,
    pub(crate) handle: ListenerHandle,
    lost: Arc<Mutex<Vec<LostTrust>>>,
    failed: Arc<Mutex<BTreeMap<String, usize>>>,
    _serving: AbortOnDropHandle<()>,
}

impl Typha {
    pub(crate) async fn start(ca: &TestCa, leaf: &TestLeaf, manner: &Manner) -> Self {
        let files = Files::new(Role::Typha, ca, leaf);
        let config = TyphaConfig::load(&files.sources()).unwrap();
        let acceptor = config.acceptor().unwrap();
        let source = config.source().with_settle_time(manner.settle_time);
        let reloader = acceptor.follow(source, manner.options.clone());
        let (lost, failed) = (Arc::<Mutex<Vec<_>>>::default(), Arc::<Mutex<BTreeMap<_, _>>>::default());
        let (losses, failures) = (lost.clone(), failed.clone());
        let mut listener = TyphaListener::builder(acceptor)
            .limits(config.limits())
            .lifetime(manner.lifetime.clone())
            .on_lost_trust(move |loss| losses.lock().unwrap().push(loss))
            .on_failed_handshake(move |failure| {
                *failures.lock().unwrap().entry(WithCauses(&failure.error).to_string()).or_default() += 1;
            })
            .bind("127.0.0.1:0")
            .await
            .unwrap();
        let (address, handle) = (listener.local_addr(), listener.handle());
        let serving = AbortOnDropHandle::new(tokio::spawn(async move {
            while let Some(connection) = listener.accept().await {
                tokio::spawn(answer(connection));
            }
        }));
        Self { files, address, reloader, handle, lost, failed, _serving: serving }
    }

    /// Has the files read.
    pub(crate) async fn reload(&self) -> Result<Reloaded, String> {
        let outcome = self.reloader.reload_now().await;
        outcome.map_err(|error| self.files.without_dir(&WithCauses(&*error).to_string()))
    }

    pub(crate) fn stats(&self) -> ListenerStats {
        self.handle.stats()
    }

    /// Live connections that have been reported: who, why, whether they are closed.
    pub(crate) fn lost(&self) -> Vec<(String, String, bool)> {
        let lost = self.lost.lock().unwrap();
        lost.iter()
            .map(|loss| (loss.peer.identity().to_string(), loss.rejection.to_string(), loss.closes))
            .collect()
    }

    /// The texts of handshakes that have failed, each once, as soon as there is one: Felix may know it before.
    pub(crate) async fn failed(&self) -> Vec<String> {
        until("a failed handshake", || !self.failed.lock().unwrap().is_empty()).await;
        self.failed.lock().unwrap().keys().cloned().collect()
    }

    /// So many connections there are now by name, by both, by URI.
    pub(crate) fn matched(&self) -> [u64; 3] {
        let matched = self.stats().matched;
        ["common_name", "both", "uri_san"].map(|by| matched.get(by).copied().unwrap_or_default())
    }
}

async fn answer(mut connection: Connection) {
    let mark = mark(&connection.peer_certificates()[0]).to_be_bytes();
    let dropping = connection.close_requested().clone();
    loop {
        let byte = tokio::select! {
            () = dropping.cancelled() => break,
            byte = connection.read_u8() => byte,
        };
        if byte.is_err() || connection.write_all(&mark).await.is_err() || connection.flush().await.is_err() {
            break;
        }
    }
    let _ = connection.close().await;
}

/// What tells one leaf from another.
pub(crate) fn mark(leaf: &CertificateDer<'_>) -> u64 {
    let mut hasher = DefaultHasher::new();
    leaf.hash(&mut hasher);
    hasher.finish()
}
