//! The command line: which works, in which modes, or which curves of growth.

use std::fmt;
use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use serde::{Serialize, Serializer};
use typha_tls::testing::KeyType;

use crate::protocol::{Implementation, Version};

/// Measures this crate against bare tokio-rustls and Go's crypto/tls on this machine
///
/// Typha and Felix run as separate processes, on separate cores if there are enough. The implementations take turns in
/// short slices of one run. Exit code: 0 measured, 2 bad usage, 5 a worker or a handshake failed, or the run was
/// interrupted.
#[derive(Parser)]
#[command(version)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) hidden: Option<Hidden>,
    /// Take 10 seconds instead of 60, for a first impression
    ///
    /// Starting and warming up may take longer, and the build of the Go worker comes before. Works for which no time is
    /// left are skipped.
    #[arg(long, conflicts_with = "seconds")]
    pub(crate) quick: bool,
    /// How long to measure, about
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) seconds: u64,
    /// Which implementations to measure [default: ours, bare, and go if it is installed]
    #[arg(long, value_delimiter = ',', value_name = "LIST")]
    peers: Vec<Implementation>,
    /// What to measure [default: all but forward]
    #[arg(long, value_delimiter = ',', value_name = "LIST", conflicts_with = "grow")]
    work: Vec<Work>,
    #[command(flatten)]
    modes: ModeFlags,
    /// Measure how the cost grows instead of the works: cores, clients, bundle, hit-share, or all
    #[arg(long, value_delimiter = ',', value_name = "LIST", value_parser = curves)]
    grow: Vec<Curves>,
    /// How many handshakes are in progress at a time
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clients)]
    pub(crate) clients: usize,
    /// Print tables for people, or one JSON object for programs
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// The same as `--format json`
    #[arg(long, hide = true, conflicts_with = "format")]
    json: bool,
    /// Also draw the results into an SVG file
    #[arg(long, value_name = "FILE.svg")]
    pub(crate) plot: Option<PathBuf>,
}

/// What the benchmark and its tests start themselves.
#[derive(Subcommand)]
pub(crate) enum Hidden {
    /// One end of one implementation: see `protocol.rs`
    #[command(hide = true)]
    Worker,
    /// Builds the Go worker into DIR/go/worker
    #[command(hide = true)]
    BuildGo { dir: PathBuf },
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Format {
    Json,
    Text,
}

/// What the mode flags ask for; a flag that is not given leaves the standard value.
#[derive(clap::Args, Debug, Default)]
struct ModeFlags {
    /// Measure these versions of TLS instead of the works, or in them [default: 1.3]
    #[arg(long, value_delimiter = ',', value_name = "LIST", conflicts_with = "grow")]
    tls: Vec<Version>,
    /// Measure these groups instead of the works, or in them [default: x25519]
    #[arg(long, value_delimiter = ',', value_name = "LIST", conflicts_with = "grow")]
    group: Vec<Group>,
    /// Measure these keys, of the leaves and the CAs, instead of the works, or in them [default: p256]
    #[arg(long, value_delimiter = ',', value_name = "LIST", conflicts_with = "grow")]
    key: Vec<Key>,
    /// Measure these numbers of intermediates, 0 to 2, instead of the works, or in them [default: 0]
    #[arg(long, value_delimiter = ',', value_name = "LIST", conflicts_with = "grow",
        value_parser = clap::value_parser!(u8).range(0..=2))]
    chain_length: Vec<u8>,
    /// Measure clients that Typha knows, or does not, instead of the works, or in them [default: warm]
    #[arg(long, value_delimiter = ',', value_name = "LIST", conflicts_with = "grow")]
    cache: Vec<Cache>,
}

/// The curves that one value of `--grow` names.
#[derive(Clone, Debug)]
struct Curves(Vec<Growth>);

fn curves(text: &str) -> Result<Curves, String> {
    match text {
        "all" => Ok(Curves(Growth::value_variants().to_vec())),
        text => Growth::from_str(text, false)
            .map(|growth| Curves(vec![growth]))
            .map_err(|_| "the curves are cores, clients, bundle, hit-share, and all".to_owned()),
    }
}

fn clients(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(clients @ 1..=4096) => Ok(clients),
        _ => Err("there can be 1 to 4096 clients".to_owned()),
    }
}

impl Arguments {
    pub(crate) fn format(&self) -> Format {
        if self.json { Format::Json } else { self.format }
    }

    /// Whether the implementations were named: then each of them has to be there.
    pub(crate) fn peers_are_named(&self) -> bool {
        !self.peers.is_empty()
    }

    /// The implementations to measure, in the order of the report.
    pub(crate) fn peers(&self) -> Vec<Implementation> {
        use Implementation::{Bare, BareAes128, Go, Ours};
        let named = if self.peers_are_named() { self.peers.as_slice() } else { &[Ours, Bare, Go] };
        [Ours, Bare, BareAes128, Go].into_iter().filter(|peer| named.contains(peer)).collect()
    }

    /// Whether measurements may be skipped for lack of time: only if none was named.
    pub(crate) fn may_skip(&self) -> bool {
        self.work.is_empty() && self.grow.is_empty() && !self.modes.any()
    }

    /// What to measure, in this order, or why it is impossible.
    pub(crate) fn measurements(&self) -> Result<Vec<Measurement>, String> {
        if !self.grow.is_empty() {
            let curves = self.grow.iter().flat_map(|Curves(curves)| curves);
            return Ok(curves.map(|growth| Measurement::curve(*growth)).collect());
        }
        if !self.modes.any() {
            let by_default = || Work::value_variants().iter().copied().filter(|work| *work != Work::Forward);
            let works = if self.work.is_empty() { by_default().collect() } else { self.work.clone() };
            return Ok(works.iter().map(|work| Measurement::work(*work, name(work), work.mode())).collect());
        }
        let modes = self.modes.matrix();
        if modes.is_empty() {
            return Err("none of these modes is possible: X25519MLKEM768 is for TLS 1.3 only".to_owned());
        }
        if self.work.is_empty() {
            let work = |mode: &Mode| Measurement::work(Work::Handshake, mode.to_string(), *mode);
            return Ok(modes.iter().map(work).collect());
        }
        let peers = self.peers();
        let in_mode = |work: Work, mode: Mode| match work.conflict(&mode, &peers) {
            Some(why) => Err(format!("{} [{mode}]: this work {why}", name(&work))),
            None => Ok(Measurement::work(work, format!("{} {mode}", name(&work)), mode)),
        };
        modes.iter().flat_map(|mode| self.work.iter().map(|work| in_mode(*work, *mode))).collect()
    }
}

/// One thing to measure; gets its share of the time.
pub(crate) struct Measurement {
    pub(crate) subject: Subject,
    pub(crate) title: String,
    pub(crate) mode: Mode,
}

#[derive(Clone, Copy)]
pub(crate) enum Subject {
    Curve(Growth),
    Work(Work),
}

impl Measurement {
    fn curve(growth: Growth) -> Self {
        let cache = if growth == Growth::Bundle { Cache::Cold } else { Cache::Warm };
        let mode = Mode { cache, ..Mode::STANDARD };
        Self { subject: Subject::Curve(growth), title: name(&growth), mode }
    }

    fn work(work: Work, title: String, mode: Mode) -> Self {
        Self { subject: Subject::Work(work), title, mode }
    }

    /// Its part of the time, compared with the others.
    pub(crate) fn weight(&self) -> f64 {
        match self.subject {
            Subject::Work(Work::Handshake | Work::Cold) => 1.5,
            Subject::Work(Work::Forward) => 4.0,
            Subject::Work(Work::InMemory) => 0.7,
            Subject::Work(Work::Floor) => 0.4,
            _ => 1.0,
        }
    }
}

/// The standard works.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Work {
    /// TLS 1.3, X25519, P-256, clients that Typha knows, Typha on one core
    Handshake,
    /// The same, every client new
    Cold,
    /// The same with the groups that each end offers by default
    PostQuantum,
    /// The same with TLS 1.2
    Tls12,
    /// The same with RSA-2048 keys
    Rsa2048,
    /// Each implementation against itself, half of the cores for each end
    BothEnds,
    /// One handshake at a time
    Latency,
    /// Memory of an idle connection
    Idle,
    /// Data in both directions
    Bulk,
    /// Both ends in one thread, without sockets
    InMemory,
    /// The cryptographic operations that a handshake cannot do without
    Floor,
    /// The command `typha-tls typha --forward` against HAProxy and stunnel: new connections, data, latency, memory.
    /// Needs the program `typha-tls` next to this one
    Forward,
}

impl Work {
    fn mode(self) -> Mode {
        let standard = Mode::STANDARD;
        match self {
            Self::Cold => Mode { cache: Cache::Cold, ..standard },
            Self::PostQuantum => Mode { group: Group::Default, ..standard },
            Self::Tls12 => Mode { tls: Version::Tls12, ..standard },
            Self::Rsa2048 => Mode { key: Key::Rsa2048, ..standard },
            _ => standard,
        }
    }

    /// Why it cannot be measured in a mode that the command line asks for.
    fn conflict(self, mode: &Mode, peers: &[Implementation]) -> Option<&'static str> {
        match self {
            Self::Cold | Self::PostQuantum | Self::Tls12 | Self::Rsa2048 => Some("has a mode of its own"),
            Self::Handshake | Self::Idle | Self::Floor => None,
            Self::Forward if mode.tls == Version::Tls12 => Some("is for TLS 1.3 only"),
            Self::Forward if matches!(mode.group, Group::Default | Group::X25519Mlkem768) => {
                Some("cannot use X25519MLKEM768: OpenSSL has it since 3.5 only")
            }
            Self::Forward => None,
            _ if mode.cache == Cache::Cold => Some("has no new clients: only the bare Felix makes them"),
            Self::InMemory if mode.tls == Version::Tls12 => Some("is for TLS 1.3 only"),
            _ if mode.tls == Version::Tls12 && peers.contains(&Implementation::Ours) => {
                Some("cannot use TLS 1.2: the Felix of this crate has no maximum version")
            }
            _ => None,
        }
    }
}

/// How the cost grows with something.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Growth {
    /// Handshakes/s by cores
    Cores,
    /// Handshakes/s and memory by idle clients
    Clients,
    /// Handshakes/s by CAs in Typha's bundle, every client new
    Bundle,
    /// Handshakes/s by the share of clients that Typha knows
    HitShare,
}

impl ModeFlags {
    fn any(&self) -> bool {
        let Self { tls, group, key, chain_length, cache } = self;
        let none = tls.is_empty() && group.is_empty() && key.is_empty();
        !(none && chain_length.is_empty() && cache.is_empty())
    }

    /// All combinations that are possible.
    fn matrix(&self) -> Vec<Mode> {
        let mut modes = vec![Mode::STANDARD];
        modes = combine(&modes, &self.tls, |mode, tls| Mode { tls, ..mode });
        modes = combine(&modes, &self.group, |mode, group| Mode { group, ..mode });
        modes = combine(&modes, &self.key, |mode, key| Mode { key, ..mode });
        modes = combine(&modes, &self.chain_length, |mode, chain_length| Mode { chain_length, ..mode });
        modes = combine(&modes, &self.cache, |mode, cache| Mode { cache, ..mode });
        // A group of TLS 1.3 only.
        modes.retain(|mode| mode.tls == Version::Tls13 || mode.group != Group::X25519Mlkem768);
        modes
    }
}

/// Each mode with each value; the modes as they are if there is no value.
fn combine<V: Copy>(modes: &[Mode], values: &[V], with: impl Fn(Mode, V) -> Mode) -> Vec<Mode> {
    if values.is_empty() {
        return modes.to_vec();
    }
    modes.iter().flat_map(|mode| values.iter().map(|value| with(*mode, *value))).collect()
}

/// The parameters of a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Mode {
    pub(crate) tls: Version,
    pub(crate) group: Group,
    pub(crate) key: Key,
    /// How many intermediates are between a leaf and the CA.
    pub(crate) chain_length: u8,
    pub(crate) cache: Cache,
}

impl Mode {
    pub(crate) const STANDARD: Self = Self {
        tls: Version::Tls13,
        group: Group::X25519,
        key: Key::P256,
        chain_length: 0,
        cache: Cache::Warm,
    };
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tls, group, key, chain_length, cache } = self;
        write!(f, "{} {} {} chain-{chain_length} {}", name(tls), name(group), name(key), name(cache))
    }
}

/// The name of a value on the command line and in the report.
pub(crate) fn name<V: ValueEnum>(value: &V) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

macro_rules! serialize_by_name {
    ($($type:ty),*) => {$(
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&name(self))
            }
        }
    )*};
}

serialize_by_name!(Group, Key, Cache, Growth);

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Group {
    /// What the implementation offers by default.
    Default,
    Secp256r1,
    Secp384r1,
    X25519,
    #[value(name = "X25519MLKEM768", alias = "x25519mlkem768")]
    X25519Mlkem768,
}

impl Group {
    /// What Felix offers; nothing stands for its default.
    pub(crate) fn offered(self) -> Vec<String> {
        if self == Self::Default { Vec::new() } else { vec![name(&self)] }
    }

    /// The group that a handshake with this offer has.
    pub(crate) fn negotiated(self, tls: Version) -> String {
        name(&match (self, tls) {
            (Self::Default, Version::Tls13) => Self::X25519Mlkem768,
            (Self::Default, Version::Tls12) => Self::X25519,
            (group, _) => group,
        })
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Key {
    Ed25519,
    P256,
    P384,
    Rsa2048,
}

impl Key {
    pub(crate) fn key_type(self) -> KeyType {
        match self {
            Self::Ed25519 => KeyType::Ed25519,
            Self::P256 => KeyType::P256,
            Self::P384 => KeyType::P384,
            Self::Rsa2048 => KeyType::Rsa2048,
        }
    }
}

/// Whether Typha knows the chain of the client.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Cache {
    Cold,
    Warm,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_flag_leaves_the_standard_mode() {
        assert_eq!(ModeFlags::default().matrix(), [Mode::STANDARD]);
        assert!(!ModeFlags::default().any());
    }

    #[test]
    fn a_work_with_a_mode_of_its_own_takes_no_other() {
        let peers = [Implementation::Ours];
        let conflict = |work: Work, mode| work.conflict(&mode, &peers).is_some();
        let (tls12, cold) =
            (Mode { tls: Version::Tls12, ..Mode::STANDARD }, Mode { cache: Cache::Cold, ..Mode::STANDARD });
        assert!(conflict(Work::Cold, Mode::STANDARD) && conflict(Work::Tls12, tls12));
        assert!(!conflict(Work::Handshake, tls12) && !conflict(Work::Handshake, cold));
        assert!(conflict(Work::Latency, tls12) && conflict(Work::Bulk, cold));
        assert_eq!(Work::Latency.conflict(&tls12, &[Implementation::Bare]), None);
        assert!(!conflict(Work::Bulk, Mode::STANDARD));
    }

    #[test]
    fn flags_make_all_possible_combinations() {
        let flags = ModeFlags {
            tls: vec![Version::Tls12, Version::Tls13],
            group: vec![Group::X25519, Group::X25519Mlkem768],
            ..ModeFlags::default()
        };
        let names: Vec<_> = flags.matrix().iter().map(ToString::to_string).collect();
        assert!(flags.any());
        assert_eq!(
            names,
            [
                "1.2 x25519 p256 chain-0 warm",
                "1.3 x25519 p256 chain-0 warm",
                "1.3 X25519MLKEM768 p256 chain-0 warm"
            ]
        );
    }

    #[test]
    fn json_has_two_spellings() {
        let format = |arguments: &[&str]| {
            Arguments::try_parse_from([&["bench"], arguments].concat()).unwrap().format()
        };
        assert_eq!(format(&[]), Format::Text);
        assert_eq!([format(&["--format", "json"]), format(&["--json"])], [Format::Json; 2]);
    }
}
