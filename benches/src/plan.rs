//! What can be measured: the standard works, curves of growth, and all modes that the command line asks for.

use clap::ValueEnum;

use super::mode::{Cache, Group, Identity, Key, Mode, Tls, serialize_by_name};
use super::protocol::Implementation;

serialize_by_name!(Work, Growth);

/// The standard works.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Work {
    /// TLS 1.3, X25519, P-256, clients seen before, Typha on one core
    Handshake,
    /// The same, every client new
    Cold,
    /// The same with the groups that each end offers by itself
    PostQuantum,
    /// The same with TLS 1.2
    Tls12,
    /// The same with RSA-2048 keys
    Rsa2048,
    /// Each implementation against itself, half of the cores each
    BothEnds,
    /// Each implementation against itself, two cores each against one core each
    TwoCores,
    /// One handshake at a time
    Latency,
    /// Memory of an idle connection
    Idle,
    /// Data in both directions
    Bulk,
    /// Whether Typha lets a client resume
    Resumption,
    /// Both ends in one thread, without sockets
    InMemory,
    /// The primitives that a handshake can not do without
    Floor,
}

impl Work {
    pub(crate) fn mode(self) -> Mode {
        let standard = Mode::STANDARD;
        match self {
            Self::Cold => Mode { cache: Cache::Cold, ..standard },
            Self::PostQuantum => Mode { group: Group::Default, ..standard },
            Self::Tls12 => Mode { tls: Tls::V12, ..standard },
            Self::Rsa2048 => Mode { key: Key::Rsa2048, ..standard },
            _ => standard,
        }
    }

    /// Why it can not be measured in a mode that the command line asks for, if it can not.
    pub(crate) fn conflict(self, mode: &Mode, peers: &[Implementation]) -> Option<&'static str> {
        match self {
            Self::Cold | Self::PostQuantum | Self::Tls12 | Self::Rsa2048 => Some("has a mode of its own"),
            Self::Handshake | Self::Idle | Self::Resumption | Self::Floor => None,
            _ if mode.cache == Cache::Cold => Some("has no new clients: only the bare Felix makes them"),
            Self::InMemory if mode.tls == Tls::V12 => Some("is for TLS 1.3 only"),
            _ if mode.tls == Tls::V12 && peers.contains(&Implementation::Ours) => {
                Some("can not be by TLS 1.2: this crate's Felix has no highest version")
            }
            _ => None,
        }
    }

    /// How much of the time it gets, against the other works.
    pub(crate) fn weight(self) -> f64 {
        match self {
            Self::Handshake | Self::Cold => 1.5,
            Self::Resumption | Self::InMemory => 0.7,
            Self::Floor => 0.4,
            _ => 1.0,
        }
    }
}

/// How the cost grows with something.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Growth {
    /// Handshakes/s against cores
    Cores,
    /// Handshakes/s and memory against idle clients that are held
    Clients,
    /// Handshakes/s against CAs in Typha's bundle, every client new
    Bundle,
    /// Handshakes/s against the share of clients that Typha has seen before
    HitShare,
}

/// What the mode flags ask for; a flag that is not given leaves the standard value.
#[derive(clap::Args, Debug, Default)]
pub(crate) struct ModeFlags {
    /// Measure these versions of TLS instead of the works, or in them [default: 1.3]
    #[arg(long, value_delimiter = ',', value_name = "LIST", conflicts_with = "grow")]
    tls: Vec<Tls>,
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
    /// Measure clients that were seen before, or never, instead of the works, or in them [default: warm]
    #[arg(long, value_delimiter = ',', value_name = "LIST", conflicts_with = "grow")]
    cache: Vec<Cache>,
    /// Measure these ways to know the other end instead of the works, or in them [default: both]
    #[arg(long, value_delimiter = ',', value_name = "LIST", conflicts_with = "grow")]
    identity: Vec<Identity>,
}

impl ModeFlags {
    pub(crate) fn any(&self) -> bool {
        let Self { tls, group, key, chain_length, cache, identity } = self;
        let none = tls.is_empty() && group.is_empty() && key.is_empty() && chain_length.is_empty();
        !(none && cache.is_empty() && identity.is_empty())
    }

    /// All combinations that are possible.
    pub(crate) fn matrix(&self) -> Vec<Mode> {
        let mut modes = vec![Mode::STANDARD];
        modes = combine(&modes, &self.tls, |mode, tls| Mode { tls, ..mode });
        modes = combine(&modes, &self.group, |mode, group| Mode { group, ..mode });
        modes = combine(&modes, &self.key, |mode, key| Mode { key, ..mode });
        modes = combine(&modes, &self.chain_length, |mode, chain_length| Mode { chain_length, ..mode });
        modes = combine(&modes, &self.cache, |mode, cache| Mode { cache, ..mode });
        modes = combine(&modes, &self.identity, |mode, identity| Mode { identity, ..mode });
        modes.retain(|mode| !mode.impossible());
        modes
    }
}

/// Each mode with each value, or as it is if there are none.
fn combine<V: Copy>(modes: &[Mode], values: &[V], with: impl Fn(Mode, V) -> Mode) -> Vec<Mode> {
    if values.is_empty() {
        return modes.to_vec();
    }
    modes.iter().flat_map(|mode| values.iter().map(|value| with(*mode, *value))).collect()
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
            (Mode { tls: Tls::V12, ..Mode::STANDARD }, Mode { cache: Cache::Cold, ..Mode::STANDARD });
        assert!(conflict(Work::Cold, Mode::STANDARD) && conflict(Work::Tls12, tls12));
        assert!(!conflict(Work::Handshake, tls12) && !conflict(Work::Handshake, cold));
        assert!(conflict(Work::Latency, tls12) && conflict(Work::Bulk, cold));
        assert_eq!(Work::Latency.conflict(&tls12, &[Implementation::Bare]), None);
        assert!(!conflict(Work::Bulk, Mode::STANDARD));
    }

    #[test]
    fn flags_make_all_possible_combinations() {
        let flags = ModeFlags {
            tls: vec![Tls::V12, Tls::V13],
            group: vec![Group::X25519, Group::X25519Mlkem768],
            ..ModeFlags::default()
        };
        let names: Vec<_> = flags.matrix().iter().map(ToString::to_string).collect();
        assert!(flags.any());
        assert_eq!(
            names,
            [
                "1.2 x25519 p256 chain-0 warm both",
                "1.3 x25519 p256 chain-0 warm both",
                "1.3 X25519MLKEM768 p256 chain-0 warm both"
            ]
        );
    }
}
