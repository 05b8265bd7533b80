//! What the benchmark sends to its workers, and what they answer: one JSON value in each line of stdin and stdout. A
//! worker is one end of one implementation, in a process of its own. The Go worker (`go/main.go`) uses the same
//! protocol.
//!
//! The first line to a worker is a [`Setup`]; it answers with [`Ready`]. Each [`Request`] after it has one answer. A
//! worker that cannot continue writes the reason to stderr and exits. It exits at the end of stdin.

use std::fmt;
use std::iter::Sum;

use serde::{Deserialize, Serialize};

/// What a worker is.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Setup {
    /// Which implementation; Go's worker ignores it.
    pub(crate) implementation: Implementation,
    pub(crate) end: End,
    /// Threads that run connections.
    pub(crate) threads: usize,
    pub(crate) files: Files,
    pub(crate) required: Required,
    /// Felix's end only: the highest version that it offers.
    pub(crate) max_version: Version,
    /// Felix's end only: IANA names of the groups that it offers; the implementation's default if empty.
    pub(crate) groups: Vec<String>,
    /// Felix's end only: whether it offers to resume sessions. Only tests do; `ours` never does.
    pub(crate) resumption: bool,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Implementation {
    /// This crate.
    Ours,
    /// tokio-rustls as its documentation sets it up.
    Bare,
    /// The same with AES-128 before AES-256, as in this crate: shows what the order of cipher suites alone gains.
    #[serde(rename = "bare-aes128")]
    BareAes128,
    /// Go's crypto/tls as Calico sets it up.
    Go,
    /// A proxy.
    #[value(skip)]
    Haproxy,
    /// A proxy.
    #[value(skip)]
    Stunnel,
    /// TCP without TLS: the backend behind the proxies, and a Felix that connects to it directly.
    #[value(skip)]
    Direct,
}

impl Implementation {
    /// The name on the command line and in the report.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Bare => "bare",
            Self::BareAes128 => "bare-aes128",
            Self::Go => "go",
            Self::Haproxy => "haproxy",
            Self::Stunnel => "stunnel",
            Self::Direct => "direct",
        }
    }
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum End {
    Typha,
    Felix,
    /// Both ends in memory, on one thread; and the floor.
    Memory,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, clap::ValueEnum)]
pub(crate) enum Version {
    #[serde(rename = "1.2")]
    #[value(name = "1.2")]
    Tls12,
    #[serde(rename = "1.3")]
    #[value(name = "1.3")]
    Tls13,
}

/// PEM files.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Files {
    /// The CAs of the other end.
    pub(crate) ca: String,
    pub(crate) chain: String,
    pub(crate) key: String,
}

/// What the other end must present: at least one of them. `Bare` does not check it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Required {
    pub(crate) common_name: Option<String>,
    pub(crate) uri_san: Option<String>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Ready {
    /// Typha's end: where it listens, on 127.0.0.1.
    pub(crate) address: Option<String>,
    /// Names and versions, for people.
    pub(crate) versions: String,
}

/// The first byte that Felix sends is the purpose of the connection. Typha acts on it:
/// - `e`: sends one byte back, then reads to the end.
/// - `d`: sends data in writes of 64 KiB until that fails.
/// - `u`: reads to the end, with a buffer of 64 KiB, and then closes.
/// - `p`: sends back what it reads, to the end. Not of Go's worker.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub(crate) enum Request {
    /// Both ends. Answer: [`Usage`].
    Usage {
        /// Whether memory is of interest. If not, the worker does not collect garbage: that, and giving memory back,
        /// would slow down what is measured next.
        #[serde(default)]
        memory: bool,
    },
    /// Felix's end. `clients` loops side by side, each of: connect, handshake, `e`, one byte back, close. The loops end
    /// when `millis` have passed (a round that has begun is finished), when the fresh leaves are used up, or at the
    /// first failure. Answer: [`Handshakes`].
    Handshakes {
        address: String,
        clients: usize,
        millis: u64,
        /// Whether the `e` goes together with Felix's Finished, where the implementation can do so (`ours`).
        rides: bool,
    },
    /// Felix's end, `bare` only. Which leaves the later requests for handshakes use, each from the first leaf on. They
    /// are prepared here, before any clock starts. Answer: [`Ready`].
    Leaves {
        /// Those that the clients use in turn; if there are none, the worker's own chain.
        usual: Option<Chains>,
        fresh: Option<Fresh>,
    },
    /// Felix's end. Opens connections (32 at a time), sends `e`, reads the byte, and holds them idle. Answer: [`Held`].
    Hold { address: String, connections: usize },
    /// Felix's end. One connection; answer: [`Bulk`].
    Bulk { address: String, direction: Direction, millis: u64 },
    /// Felix's end, but not that of Go. Sends small requests over one connection, each after the answer to the one
    /// before. Answer: [`Echoes`].
    Echo { address: String, millis: u64 },
    /// [`End::Memory`]. Handshakes of both ends over an in-memory pipe, one after the other, for `millis`. Answer:
    /// [`InMemory`].
    InMemory { millis: u64 },
    /// [`End::Memory`]. The cryptographic operations that a handshake cannot do without. Answer: [`Floor`].
    Floor { group: String, millis: u64 },
}

/// A file of PEM: as many chains as there are leaves, all for the worker's own key.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Chains {
    pub(crate) file: String,
    /// How many certificates each has.
    pub(crate) chain_length: usize,
}

/// New clients: each handshake takes the next leaf of the file.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Fresh {
    pub(crate) chains: Chains,
    /// The share of handshakes that take a fresh one, 0 to 1; the others take a usual one.
    pub(crate) share: f64,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Direction {
    ToFelix,
    ToTypha,
}

/// Since the worker began.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct Usage {
    pub(crate) cpu: CpuTime,
    /// Resident memory now (after a garbage collection, where there is one and memory is of interest).
    pub(crate) resident_bytes: u64,
    /// Typha's end: handshakes that succeeded, failed, and were resumed.
    pub(crate) accepted: u64,
    pub(crate) failed: u64,
    pub(crate) resumed: u64,
    /// Typha's end: bytes of bulk data, sent and received.
    pub(crate) bulk_bytes: u64,
}

/// CPU time of a process.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct CpuTime {
    pub(crate) user_nanos: u64,
    pub(crate) system_nanos: u64,
}

impl CpuTime {
    pub(crate) fn total_nanos(self) -> u64 {
        self.user_nanos + self.system_nanos
    }

    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            user_nanos: self.user_nanos.saturating_sub(before.user_nanos),
            system_nanos: self.system_nanos.saturating_sub(before.system_nanos),
        }
    }
}

impl Sum for CpuTime {
    fn sum<I: Iterator<Item = Self>>(times: I) -> Self {
        times.fold(Self::default(), |sum, time| Self {
            user_nanos: sum.user_nanos + time.user_nanos,
            system_nanos: sum.system_nanos + time.system_nanos,
        })
    }
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Handshakes {
    pub(crate) completed: u64,
    pub(crate) failed: u64,
    pub(crate) first_failure: Option<String>,
    pub(crate) resumed: u64,
    /// Of those completed, how many had a fresh leaf.
    pub(crate) fresh: u64,
    /// Of all of them: a difference is an error of the worker.
    pub(crate) negotiated: Option<Negotiated>,
    /// From the first connect to the end of the last round.
    pub(crate) elapsed_nanos: u64,
    pub(crate) cpu: CpuTime,
    /// Of each round, from before connect to the byte that came back; in no order.
    pub(crate) rounds_nanos: Vec<u64>,
}

/// What both ends agreed on, by IANA's names.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Negotiated {
    /// `1.2` or `1.3`.
    pub(crate) version: String,
    pub(crate) cipher_suite: String,
    /// Unknown of a Go that is older than 1.25.
    pub(crate) group: Option<String>,
}

impl fmt::Display for Negotiated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let group = self.group.as_deref().unwrap_or("group unknown");
        write!(f, "{} {} {group}", self.version, self.cipher_suite)
    }
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Held {
    pub(crate) held: usize,
    pub(crate) failed: usize,
    pub(crate) first_failure: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct Bulk {
    pub(crate) bytes: u64,
    pub(crate) elapsed_nanos: u64,
    pub(crate) cpu: CpuTime,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Echoes {
    /// Of each request, until its answer was there.
    pub(crate) rounds_nanos: Vec<u64>,
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct InMemory {
    pub(crate) completed: u64,
    /// Time inside the polls of each end.
    pub(crate) typha_nanos: u64,
    pub(crate) felix_nanos: u64,
}

/// Mean time of each, in this process, through the default provider of this crate.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct Floor {
    /// Typha's part of the key exchange.
    pub(crate) key_exchange_nanos: f64,
    /// A signature by the key of `files.key`.
    pub(crate) sign_nanos: f64,
    /// The check of that signature.
    pub(crate) verify_nanos: f64,
}
