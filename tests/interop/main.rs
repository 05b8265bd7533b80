//! Connections of which one end is this crate's and the other a process of another implementation, and what must come
//! of them whichever implementation that is.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may fail this way"
)]

mod differential;
mod go;
mod openssl;
mod pki;
mod process;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use rustls::AlertDescription;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use typha_tls::identity::MatchedBy;
use typha_tls::stream::Acceptance;
use typha_tls::testing::{
    FELIX_COMMON_NAME, FELIX_SPIFFE_ID, KeyType, TYPHA_COMMON_NAME, TYPHA_SPIFFE_ID, TestCa, TestLeaf,
    acceptor, connector,
};
use typha_tls::verifier::VerifiedPeer;
use typha_tls::{
    AuthenticatedStream, FelixConnector, HandshakeError, RequiredIdentity, Role, TlsConfig, TyphaAcceptor,
};

use pki::KEY_TYPES;
pub(crate) use pki::{Flaw, leaf, pki};
pub(crate) use process::{Output, Process, is_installed};

/// Far more than anything here takes, even on a busy machine.
const TIME_LIMIT: Duration = Duration::from_secs(30);

/// Enough for several TLS records.
pub(crate) const PAYLOAD_LENGTH: usize = 40_000;

pub(crate) const VERSIONS: [&str; 2] = ["1.2", "1.3"];

/// What our end sends. The period is prime, so that records that are lost or change places are noticed.
pub(crate) fn our_payload() -> Vec<u8> {
    (0..=250).cycle().take(PAYLOAD_LENGTH).collect()
}

/// What the other end sends: no letters, because `openssl s_server` takes some of them for commands.
fn their_payload() -> Vec<u8> {
    (0..=250).filter(|byte: &u8| !byte.is_ascii_alphabetic()).cycle().take(PAYLOAD_LENGTH).collect()
}

/// The Common Name and the SPIFFE ID of one end's good leaf.
pub(crate) fn names(role: Role) -> (&'static str, &'static str) {
    match role {
        Role::Client | Role::Felix => (FELIX_COMMON_NAME, FELIX_SPIFFE_ID),
        Role::Server | Role::Typha => (TYPHA_COMMON_NAME, TYPHA_SPIFFE_ID),
    }
}

/// Another implementation of TLS.
pub(crate) trait Implementation {
    /// Starts a Felix that connects to `typha`.
    fn felix(&self, end: &End<'_>, typha: SocketAddr) -> Process;

    /// Starts a Typha that serves one connection and prints `ACCEPT` with its address.
    fn typha(&self, end: &End<'_>) -> Process;

    /// Asserts that the process, started as `end`, received [`our_payload`] and nothing else, closed by `close_notify`.
    fn assert_satisfied(&self, end: &End<'_>, output: &Output, case: &str);

    /// The alert that ended the connection, as the process words it.
    fn reported_alert(&self, output: &Output) -> Option<String>;

    /// The words of this implementation for an alert that it received.
    fn alert_text(&self, alert: AlertDescription) -> &'static str;
}

/// What the other implementation's end is like.
pub(crate) struct End<'a> {
    pub(crate) role: Role,
    /// The only version that it can negotiate with this crate.
    pub(crate) version: &'static str,
    pub(crate) leaf: Option<&'a TestLeaf>,
    /// The CA that it trusts.
    pub(crate) trusted: &'a TestCa,
    /// The Common Name and the URI SAN of which it requires one, as far as it can; empty for none.
    #[allow(dead_code, reason = "OpenSSL has no such rule")]
    pub(crate) required: (&'a str, &'a str),
}

impl<'a> End<'a> {
    /// An end that trusts `trusted` and requires what [`pki`] gives its peer.
    pub(crate) fn new(
        role: Role,
        version: &'static str,
        leaf: Option<&'a TestLeaf>,
        trusted: &'a TestCa,
    ) -> Self {
        Self { role, version, leaf, trusted, required: names(role.peer()) }
    }

    /// Writes what it has and trusts to files.
    pub(crate) fn write_files(&self) -> Files {
        let directory = TempDir::new().unwrap();
        let write = |name: &str, text: String| {
            let path = directory.path().join(name);
            fs::write(&path, text).unwrap();
            path
        };
        Files {
            ca: write("ca.pem", self.trusted.root_pem()),
            chain_and_key: self
                .leaf
                .map(|leaf| (write("chain.pem", leaf.chain_pem()), write("key.pem", leaf.key_pem()))),
            directory,
        }
    }
}

/// PEM files; they last as long as `directory`.
pub(crate) struct Files {
    pub(crate) ca: PathBuf,
    pub(crate) chain_and_key: Option<(PathBuf, PathBuf)>,
    pub(crate) directory: TempDir,
}

/// This crate's end.
pub(crate) enum Ours {
    Felix(FelixConnector),
    Typha(TyphaAcceptor),
}

impl Ours {
    pub(crate) fn new(role: Role, leaf: &TestLeaf, trusted: &TestCa, required: RequiredIdentity) -> Self {
        match role {
            Role::Client | Role::Felix => Self::Felix(connector(trusted, leaf, required).unwrap()),
            Role::Server | Role::Typha => Self::Typha(acceptor(trusted, leaf, required).unwrap()),
        }
    }

    /// The same with these application protocols.
    pub(crate) fn with_alpn(self, names: &[&str]) -> Self {
        let with_alpn = |mut config: TlsConfig| {
            config.policy = config.policy.with_alpn(names).unwrap();
            config
        };
        match &self {
            Self::Felix(connector) => connector.replace(with_alpn(connector.config())),
            Self::Typha(acceptor) => acceptor.replace(with_alpn(acceptor.config())),
        };
        self
    }

    /// An end that requires either of the names that [`pki`] gives its peer.
    pub(crate) fn requiring_either(role: Role, leaf: &TestLeaf, trusted: &TestCa) -> Self {
        let (common_name, uri_san) = names(role.peer());
        Self::new(role, leaf, trusted, RequiredIdentity::either(common_name, uri_san).unwrap())
    }

    /// Connects this end with another; if they accept each other, both send their payload.
    pub(crate) fn meet(
        &self,
        implementation: &impl Implementation,
        other: &End<'_>,
    ) -> (Result<Session, HandshakeError>, Output) {
        match self {
            Self::Felix(connector) => beside(implementation.typha(other), async |typha| {
                let tcp = TcpStream::connect(typha.address()).await.unwrap();
                let stream = connector.connect_tcp(tcp).await?;
                // Not before: s_server reads its input even while a handshake is going on.
                typha.send(their_payload());
                talk(stream).await
            }),
            Self::Typha(acceptor) => {
                let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
                listener.set_nonblocking(true).unwrap();
                let felix = implementation.felix(other, listener.local_addr().unwrap());
                beside(felix, async |felix| {
                    felix.send(their_payload());
                    let (tcp, _) = TcpListener::from_std(listener).unwrap().accept().await.unwrap();
                    talk(acceptor.accept_tcp(tcp).await?).await
                })
            }
        }
    }
}

/// Runs our end beside the other one.
fn beside<T>(mut process: Process, ours: impl AsyncFnOnce(&mut Process) -> T) -> (T, Output) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    match runtime.block_on(async { timeout(TIME_LIMIT, ours(&mut process)).await }) {
        Ok(outcome) => (outcome, process.finish()),
        Err(_) => process.abort("our end did not come to an end"),
    }
}

/// What our end knows of a connection that both accepted.
#[derive(Debug)]
pub(crate) struct Session {
    version: &'static str,
    alpn: Option<Vec<u8>>,
    peer: VerifiedPeer,
    /// All that came before the peer's `close_notify`.
    received: Vec<u8>,
}

async fn talk(stream: AuthenticatedStream<TcpStream>) -> Result<Session, HandshakeError> {
    let (version, peer) = (stream.tls().version(), stream.peer().clone());
    let alpn = stream.tls().alpn().map(<[u8]>::to_vec);
    assert_eq!(stream.acceptance(), Acceptance::Confirmed);
    let (mut reader, mut writer) = tokio::io::split(stream);
    let mut received = vec![0; their_payload().len()];
    let exchanged = async {
        let ours = our_payload();
        tokio::try_join!(writer.write_all(&ours), reader.read_exact(&mut received))?;
        writer.shutdown().await?;
        // An end without close_notify is an error.
        reader.read_to_end(&mut received).await
    };
    exchanged.await.map_err(HandshakeError::Io)?;
    Ok(Session { version, alpn, peer, received })
}

/// Our end and the other, with good certificates of every key type, accept each other and exchange data.
pub(crate) fn assert_both_accept(implementation: &impl Implementation, ours: Role) {
    for (version, key_type) in pairs(VERSIONS, KEY_TYPES) {
        let (pki, theirs) = (pki(key_type), ours.peer());
        let end = End::new(theirs, version, Some(leaf(pki, theirs)), &pki.ca);
        let our_end = Ours::requiring_either(ours, leaf(pki, ours), &pki.ca);
        let case = format!("our {ours}, TLS {version}, {key_type:?}");
        assert_accepted(&our_end, implementation, &end, MatchedBy::Both, &case);
    }
}

/// The two ends accept each other, and exchange data.
pub(crate) fn assert_accepted(
    ours: &Ours,
    implementation: &impl Implementation,
    other: &End<'_>,
    matched_by: MatchedBy,
    case: &str,
) -> Session {
    let (outcome, output) = ours.meet(implementation, other);
    let session = outcome.unwrap_or_else(|error| panic!("{case}: {error:?}; {output}"));
    assert_eq!(session.version, other.version, "{case}; {output}");
    assert_eq!(session.peer.identity().common_name(), Some(names(other.role).0), "{case}; {output}");
    assert_eq!(session.peer.matched_by(), matched_by, "{case}; {output}");
    assert!(session.received == their_payload(), "{case}: our end received something else; {output}");
    implementation.assert_satisfied(other, &output, case);
    session
}

/// The two ends agree on `h2`; the other one offers more.
pub(crate) fn assert_agrees_on_h2(implementation: &impl Implementation, ours: Role) {
    let (pki, theirs) = (pki(KeyType::P256), ours.peer());
    let our_end = Ours::requiring_either(ours, leaf(pki, ours), &pki.ca).with_alpn(&["h2"]);
    for version in VERSIONS {
        let end = End::new(theirs, version, Some(leaf(pki, theirs)), &pki.ca);
        let session = assert_accepted(&our_end, implementation, &end, MatchedBy::Both, version);
        assert_eq!(session.alpn.as_deref(), Some(&b"h2"[..]), "our {ours}, TLS {version}");
    }
}

/// Our Typha, which has `h2`, refuses a Felix that offers `theirs`.
pub(crate) fn assert_no_protocol(
    implementation: &impl Implementation,
    offered: &[&str],
    alert: AlertDescription,
) {
    let pki = pki(KeyType::P256);
    let our_end = Ours::requiring_either(Role::Typha, &pki.typha, &pki.ca).with_alpn(&["h2"]);
    for version in VERSIONS {
        let end = End::new(Role::Felix, version, Some(&pki.felix), &pki.ca);
        let (outcome, output) = our_end.meet(implementation, &end);
        assert!(
            matches!(&outcome, Err(HandshakeError::NoApplicationProtocol { ours, theirs })
                if *ours == ["h2"] && *theirs == offered),
            "{version}: {outcome:?}; {output}"
        );
        let expected = implementation.alert_text(alert);
        assert_eq!(implementation.reported_alert(&output).as_deref(), Some(expected), "{version}; {output}");
    }
}

/// Our end refuses others with each of these flaws.
pub(crate) fn assert_we_refuse(implementation: &impl Implementation, ours: Role, flaws: &[Flaw]) {
    let pki = pki(KeyType::P256);
    let our_end = Ours::requiring_either(ours, leaf(pki, ours), &pki.ca);
    for (version, &flaw) in pairs(VERSIONS, flaws) {
        let flawed = flaw.leaf(&pki.ca, ours.peer());
        let end = End::new(ours.peer(), version, flawed.as_ref(), &pki.ca);
        let case = format!("our {ours}, TLS {version}, {flaw:?}");
        assert_rejected(&our_end, implementation, &end, flaw, &case);
    }
}

/// Our end refuses the other for this flaw: it gives the reason, and the other end reports the alert.
pub(crate) fn assert_rejected(
    ours: &Ours,
    implementation: &impl Implementation,
    other: &End<'_>,
    flaw: Flaw,
    case: &str,
) {
    let (outcome, output) = ours.meet(implementation, other);
    assert!(
        matches!(&outcome, Err(HandshakeError::Rejected(rejection)) if flaw.explains(rejection, other.role)),
        "{case}: {outcome:?}; {output}"
    );
    let reported = implementation.reported_alert(&output);
    let expected = implementation.alert_text(flaw.alert());
    assert_eq!(reported.as_deref(), Some(expected), "{case}; {output}");
}

/// How the other implementation refuses our end for a flaw: the alert that we report, and what it says itself.
pub(crate) struct Refusal {
    pub(crate) flaw: Flaw,
    pub(crate) alert: AlertDescription,
    pub(crate) reason: &'static str,
}

/// The other end refuses ours for each of these flaws, and our end says so.
pub(crate) fn assert_they_refuse(implementation: &impl Implementation, ours: Role, refusals: &[Refusal]) {
    let (pki, theirs) = (pki(KeyType::P256), ours.peer());
    for (version, Refusal { flaw, alert, reason }) in pairs(VERSIONS, refusals) {
        let flawed = flaw.leaf(&pki.ca, ours).unwrap();
        let our_end = Ours::requiring_either(ours, &flawed, &pki.ca);
        let end = End::new(theirs, version, Some(leaf(pki, theirs)), &pki.ca);
        let case = format!("our {ours}, TLS {version}, {flaw:?}");
        assert_refused(&our_end, implementation, &end, *alert, reason, &case);
    }
}

/// The other end refuses ours by an alert, with a reason among what it prints.
pub(crate) fn assert_refused(
    ours: &Ours,
    implementation: &impl Implementation,
    other: &End<'_>,
    expected: AlertDescription,
    reason: &str,
    case: &str,
) {
    let (outcome, output) = ours.meet(implementation, other);
    assert!(
        matches!(outcome, Err(HandshakeError::RefusedByPeer { alert }) if alert == expected),
        "{case}: {outcome:?}; {output}"
    );
    let printed = output.stderr.clone() + &String::from_utf8_lossy(&output.stdout);
    assert!(printed.contains(reason), "{case}: does not say {reason:?}; {output}");
}

fn pairs<A: Copy, B: Copy>(
    firsts: impl IntoIterator<Item = A>,
    seconds: impl IntoIterator<Item = B, IntoIter: Clone>,
) -> impl Iterator<Item = (A, B)> {
    let seconds = seconds.into_iter();
    firsts.into_iter().flat_map(move |first| seconds.clone().map(move |second| (first, second)))
}
