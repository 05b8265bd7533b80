//! Typhas of all kinds on loopback, for the tests of the dialer.

#![allow(dead_code, reason = "each test crate uses a part of it")]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::{JoinHandle, JoinSet};
use typha_tls::CancellationToken;
use typha_tls::testing::{CertificateSpec, Purpose, TYPHA_COMMON_NAME, TestPki, acceptor, connector};
use typha_tls::{FelixConnector, HandshakeError, RequiredIdentity, TyphaAcceptor};

/// A Typha that greets with its port and then echoes. Dropping it closes its port and its connections, in order.
pub(crate) struct Typha {
    pub(crate) address: SocketAddr,
    /// The outcomes of its handshakes: the reason, or `accepted`.
    outcomes: Arc<Mutex<Vec<&'static str>>>,
    crashed: CancellationToken,
    task: JoinHandle<()>,
}

impl Typha {
    pub(crate) async fn start(acceptor: TyphaAcceptor) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").await.unwrap(), acceptor)
    }

    pub(crate) fn on(listener: TcpListener, acceptor: TyphaAcceptor) -> Self {
        let address = listener.local_addr().unwrap();
        let outcomes = Arc::<Mutex<Vec<_>>>::default();
        let (outcomes_of_task, crashed) = (outcomes.clone(), CancellationToken::new());
        let crash = crashed.clone();
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (tcp, _) = tokio::select! {
                    accepted = listener.accept() => accepted.unwrap(),
                    () = crash.cancelled() => {
                        while connections.join_next().await.is_some() {}
                        return;
                    }
                };
                let (handshake, outcomes) = (acceptor.accept_tcp(tcp), outcomes_of_task.clone());
                let crash = crash.clone();
                connections.spawn(async move {
                    let outcome = handshake.await;
                    outcomes
                        .lock()
                        .unwrap()
                        .push(outcome.as_ref().map_or_else(HandshakeError::label, |_| "accepted"));
                    let Ok(mut stream) = outcome else { return };
                    if stream.write_all(&address.port().to_be_bytes()).await.is_err() {
                        return;
                    }
                    let mut buffer = [0; 1024];
                    loop {
                        let read = tokio::select! {
                            read = stream.read(&mut buffer) => read,
                            // The stream is dropped without a `close_notify`.
                            () = crash.cancelled() => std::panic::resume_unwind(Box::new("crashed")),
                        };
                        let Ok(length @ 1..) = read else { break };
                        if stream.write_all(&buffer[..length]).await.is_err() {
                            return;
                        }
                    }
                    let _ = stream.shutdown().await;
                });
            }
        });
        Self { address, outcomes, crashed, task }
    }

    /// Closes the port, and the connections without a `close_notify`, as a process does that is killed.
    pub(crate) async fn crash(mut self) {
        self.crashed.cancel();
        (&mut self.task).await.unwrap();
    }

    /// The outcomes so far, once there are so many of them.
    pub(crate) async fn outcomes(&self, count: usize) -> Vec<&'static str> {
        loop {
            let outcomes = self.outcomes.lock().unwrap().clone();
            if outcomes.len() >= count {
                return outcomes;
            }
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    }
}

impl Drop for Typha {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A port that no process listens on, and that no other process gets as long as the socket lives.
pub(crate) fn closed() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

/// A Typha that accepts connections and sends nothing, as long as the listener lives.
pub(crate) async fn silent() -> (TcpListener, SocketAddr) {
    // The system takes them.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// A Typha that requires another identity.
pub(crate) fn refusing(pki: &TestPki) -> TyphaAcceptor {
    acceptor(&pki.ca, &pki.typha, RequiredIdentity::common_name("somebody-else").unwrap()).unwrap()
}

/// A Typha that has another name than required.
pub(crate) fn impostor(pki: &TestPki) -> TyphaAcceptor {
    let leaf = CertificateSpec::leaf("not-typha").purpose(Purpose::ServerAuth);
    acceptor(&pki.ca, &pki.ca.issue(leaf).unwrap(), RequiredIdentity::common_name("typha-client").unwrap())
        .unwrap()
}

/// A Felix whose certificate expired last week.
pub(crate) fn expired_connector(pki: &TestPki) -> FelixConnector {
    let hour = std::time::Duration::from_secs(3600);
    let last_week = std::time::SystemTime::now() - 7 * 24 * hour;
    let leaf = CertificateSpec::leaf("typha-client").purpose(Purpose::ClientAuth);
    let leaf = pki.ca.issue(leaf.valid(last_week, last_week + hour)).unwrap();
    connector(&pki.ca, &leaf, RequiredIdentity::common_name(TYPHA_COMMON_NAME).unwrap()).unwrap()
}
