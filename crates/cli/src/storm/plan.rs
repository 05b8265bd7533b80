//! The settings of a storm.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum, value_parser};

/// The first source address. 127.0.0.1 is mostly Typha's.
const FIRST_SOURCE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

#[derive(Args)]
pub(super) struct Plan {
    /// Number of handshakes in total
    #[arg(short = 'n', long, value_name = "N", default_value_t = 10_000)]
    #[arg(value_parser = value_parser!(u32).range(1..=10_000_000))]
    pub(super) handshakes: u32,
    /// Most handshakes at a time
    #[arg(short = 'c', long, value_name = "N", default_value_t = 500, value_parser = value_parser!(u32).range(1..))]
    pub(super) at_once: u32,
    /// Begin so many a second, whatever the outcome of earlier ones [default: each as soon as another is done]
    ///
    /// A handshake that is due while -c others are in progress is never begun, and counted as not_started. Times are
    /// measured from the due time.
    #[arg(long, value_name = "PER_SECOND", value_parser = rate)]
    pub(super) rate: Option<f64>,
    /// Percentage of handshakes, evenly spread, with a certificate that Typha must refuse: from a CA made for this run
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    bad: Option<f64>,
    /// PEM chain for the bad ones to present instead, leaf first
    #[arg(long, value_name = "FILE", requires_all = ["bad", "bad_key_file"])]
    pub(super) bad_cert_file: Option<PathBuf>,
    /// PEM private key of --bad-cert-file
    #[arg(long, value_name = "FILE", requires_all = ["bad", "bad_cert_file"])]
    pub(super) bad_key_file: Option<PathBuf>,
    /// First open N more connections that send a part of a handshake (see --stalled-send) and stop
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(super) stalled: u32,
    /// What each stalled one sends before it stops
    #[arg(long, value_name = "WHAT", value_enum, default_value_t = Sent::Half, requires = "stalled")]
    pub(super) stalled_send: Sent,
    /// Hold the stalled ones so long, unless Typha closes all of them earlier [default: until the storm is over]
    #[arg(long, value_name = "SECS", value_parser = seconds, requires = "stalled")]
    pub(super) stalled_for: Option<Duration>,
    /// Open each stalled one again 100 ms after Typha has closed it, until the storm is over
    #[arg(long, requires = "stalled", conflicts_with = "stalled_for")]
    pub(super) stalled_again: bool,
    /// Wait so long between opening the stalled connections and the first handshake [default: at once]
    #[arg(long, value_name = "SECS", value_parser = seconds, requires = "stalled")]
    pub(super) warm_up: Option<Duration>,
    /// Keep up to N accepted connections open; beyond N, close the oldest
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(super) keep: u32,
    /// Hold the kept connections so long after the storm
    #[arg(long, value_name = "SECS", value_parser = seconds, requires = "keep")]
    pub(super) hold: Option<Duration>,
    /// Connect from N addresses in turn, from 127.0.0.2 on, like so many nodes; for a Typha on IPv4 loopback
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..=1_000_000))]
    sources: Option<u32>,
    /// Open the stalled ones from N other addresses in turn, next after those of --sources [default: the addresses of
    /// --sources]
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..=1_000_000), requires = "stalled")]
    stalled_sources: Option<u32>,
    /// Bound on a TCP connection, and on a handshake
    #[arg(long, value_name = "SECS", default_value = "10", value_parser = positive_seconds)]
    pub(super) timeout: Duration,
}

/// What a stalled connection sends.
#[derive(Clone, Copy, PartialEq, ValueEnum)]
pub(super) enum Sent {
    /// Half of a ClientHello: Typha waits for the rest, and begins no handshake
    Half,
    /// A whole ClientHello, the same for all: Typha answers it, and waits in the handshake
    Hello,
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if (0.001..=1e6).contains(&rate) => Ok(rate),
        _ => Err("a rate is a number from 0.001 to 1000000".to_owned()),
    }
}

fn percent(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(percent),
        _ => Err("a share is a number from 0 to 100".to_owned()),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(seconds) if (0.0..=86_400.0).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("a time is a number of seconds from 0 to 86400".to_owned()),
    }
}

fn positive_seconds(text: &str) -> Result<Duration, String> {
    match seconds(text)? {
        Duration::ZERO => Err("it must be greater than 0".to_owned()),
        time => Ok(time),
    }
}

impl Plan {
    /// Whether the storm has bad handshakes.
    pub(super) fn has_bad(&self) -> bool {
        self.bad_within(self.handshakes) > 0
    }

    /// How many of the first `turns` are bad.
    pub(super) fn bad_within(&self, turns: u32) -> u32 {
        // The product comes first, so that whole percentages are exact.
        (f64::from(turns) * self.bad.unwrap_or(0.0) / 100.0) as u32
    }

    pub(super) fn is_bad(&self, turn: u32) -> bool {
        self.bad_within(turn + 1) > self.bad_within(turn)
    }

    /// The due time of a connection after the start of the storm; `None` in a closed loop.
    pub(super) fn due(&self, turn: u32) -> Option<Duration> {
        self.rate.map(|rate| Duration::from_secs_f64(f64::from(turn) / rate))
    }

    /// Whether connections have source addresses of ours.
    pub(super) fn has_sources(&self) -> bool {
        self.sources.or(self.stalled_sources).is_some()
    }

    /// The source address of a handshake; `None` leaves it to the system.
    pub(super) fn source(&self, turn: u32) -> Option<Ipv4Addr> {
        nth_source(0, turn, self.sources?)
    }

    /// The source address of a stalled connection.
    pub(super) fn stalled_source(&self, turn: u32) -> Option<Ipv4Addr> {
        match self.stalled_sources {
            Some(stalled) => nth_source(self.sources.unwrap_or(0), turn, stalled),
            None => self.source(turn),
        }
    }

    /// The most connections that are open at a time.
    pub(super) fn most_connections(&self) -> usize {
        [self.at_once.min(self.handshakes), self.stalled, self.keep].iter().map(|&n| n as usize).sum()
    }
}

/// The source address of a turn among `count` addresses, which come after `skipped` others.
fn nth_source(skipped: u32, turn: u32, count: u32) -> Option<Ipv4Addr> {
    Some(Ipv4Addr::from_bits(FIRST_SOURCE.to_bits() + skipped + turn.checked_rem(count)?))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        plan: Plan,
    }

    fn plan(arguments: &str) -> Plan {
        Command::try_parse_from(std::iter::once("storm").chain(arguments.split_whitespace())).unwrap().plan
    }

    #[test]
    fn bad_ones_are_spread_evenly() {
        let bad = |arguments| {
            let plan = plan(arguments);
            (0..8).filter(|turn| plan.is_bad(*turn)).collect::<Vec<_>>()
        };
        assert_eq!(bad(""), [0; 0]);
        assert_eq!(bad("--bad 25"), [3, 7]);
        assert_eq!(bad("--bad 50"), [1, 3, 5, 7]);
        assert_eq!(bad("--bad 75"), [1, 2, 3, 5, 6, 7]);
        assert_eq!(bad("--bad 100"), [0, 1, 2, 3, 4, 5, 6, 7]);
        for percent in 0..=100 {
            assert_eq!(plan(&format!("--bad {percent}")).bad_within(1_000_000), percent * 10_000);
        }
        assert!(!plan("--bad 1 -n 99").has_bad());
        assert!(plan("--bad 1 -n 100").has_bad());
    }

    #[test]
    fn connections_are_due_at_the_rate() {
        assert_eq!(plan("").due(7), None);
        let plan = plan("--rate 200");
        assert_eq!([0, 1, 400].map(|turn| plan.due(turn).unwrap().as_millis()), [0, 5, 2000]);
    }

    #[test]
    fn sources_take_turns() {
        let four = |source: fn(&Plan, u32) -> Option<Ipv4Addr>, arguments| {
            let plan = plan(arguments);
            [0, 1, 2, 3].map(|turn| source(&plan, turn).map_or("any".to_owned(), |source| source.to_string()))
        };
        let three = ["127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.2"];
        assert_eq!(four(Plan::source, "--sources 3"), three);
        assert_eq!(four(Plan::stalled_source, "--sources 3 --stalled 4"), three);
        let both = "--sources 3 --stalled 4 --stalled-sources 2";
        assert_eq!(four(Plan::source, both), three);
        assert_eq!(four(Plan::stalled_source, both), ["127.0.0.5", "127.0.0.6", "127.0.0.5", "127.0.0.6"]);
        let stalled = "--stalled 4 --stalled-sources 3";
        assert_eq!(four(Plan::source, stalled), ["any"; 4]);
        assert_eq!(four(Plan::stalled_source, stalled), three);
        assert_eq!(
            ["", "--sources 3", both, stalled].map(|plan_| plan(plan_).has_sources()),
            [false, true, true, true]
        );
        let most = plan("--sources 1000000 --stalled 4 --stalled-sources 1000000");
        assert_eq!(most.source(999_999), Some(Ipv4Addr::new(127, 15, 66, 65)));
        assert_eq!(most.stalled_source(999_999), Some(Ipv4Addr::new(127, 30, 132, 129)));
    }

    #[test]
    fn what_can_be_open_at_a_time_is_known_before() {
        assert_eq!(plan("-n 10 -c 20").most_connections(), 10);
        assert_eq!(plan("-n 100 -c 20 --stalled 3 --keep 4").most_connections(), 27);
    }
}
