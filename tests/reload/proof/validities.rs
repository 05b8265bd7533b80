//! What is valid for a time: a leaf, its CA, a revocation list; and what each end says of it at each second.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::AlertDescription;
use rustls_pki_types::UnixTime;
use typha_tls::material::{RevocationLists, RevocationPolicy};
use typha_tls::policy::TlsPolicy;
use typha_tls::testing::{self, CertificateSpec, TestCa, TestClock, TestLeaf};
use typha_tls::{FelixConnector, RequiredIdentity, TlsConfig, TyphaAcceptor};

/// What begins 100 s before a moment, and ends 100 s after it. All else lasts longer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Part {
    Ca,
    Leaf,
    /// Does not begin, and ends only under the policy that wants to know.
    LenientList,
    StrictList,
}

pub(crate) const PARTS: [Part; 4] = [Part::Ca, Part::Leaf, Part::LenientList, Part::StrictList];

/// Of a certificate the last second, of a list the first one in which it is due.
pub(crate) const END: i64 = 100;

/// Seconds from that moment, back and forth over both ends.
pub(crate) const STEPS: [i64; 20] =
    [0, 99, 100, 101, 100, 99, 98, 99, -99, -100, -101, -100, -99, 101, -101, 101, 0, -101, 100, -100];

/// The reason on the judging end, and the alert at the peer.
pub(crate) type Verdict = Result<(), (&'static str, AlertDescription)>;

impl Part {
    pub(crate) fn verdict(self, at: i64) -> Verdict {
        // It is not the peer's certificate that is out of date if our CA is.
        let alert =
            if self == Self::Ca { AlertDescription::UnknownCA } else { AlertDescription::CertificateExpired };
        match self {
            Self::Ca | Self::Leaf if at < -END => Err(("not_yet_valid", alert)),
            Self::Ca | Self::Leaf if at > END => Err(("expired", alert)),
            Self::StrictList if at >= END => {
                Err(("revocation_list_unusable", AlertDescription::CertificateUnknown))
            }
            _ => Ok(()),
        }
    }

    /// The last second in which it is good.
    pub(crate) fn last(self) -> i64 {
        if self == Self::StrictList { END - 1 } else { END }
    }
}

/// An end that judges by a clock that is turned, and its peers, who have another clock.
pub(crate) struct Site {
    clock: TestClock,
    moment: UnixTime,
    ca: TestCa,
    judges_ca: TestCa,
    judge: TestLeaf,
    peer: TestLeaf,
    revoked: TestLeaf,
    lists: RevocationLists,
    policy: TlsPolicy,
}

const PEER: &str = "peer";
const JUDGE: &str = "judge";

impl Site {
    pub(crate) fn new(part: Part, min_version: &str, suites: &str) -> Self {
        let (clock, long, short) = (TestClock::new(), Duration::from_secs(3600), Duration::from_secs(100));
        let moment = clock.now();
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(moment.as_secs());
        let around = |spec: CertificateSpec, is_short: bool| {
            let margin = if is_short { short } else { long };
            spec.valid(now - margin, now + margin)
        };
        let ca = TestCa::new(around(CertificateSpec::ca("ca"), part == Part::Ca)).unwrap();
        let leaf = || ca.issue(around(CertificateSpec::leaf(PEER), part == Part::Leaf)).unwrap();
        let (peer, revoked) = (leaf(), leaf());
        let clock_of_policy = Arc::new(clock.clone());
        let policy = TlsPolicy::builder().min_version(min_version).cipher_suites(suites);
        let policy = policy.time_provider(clock_of_policy).build().unwrap();
        let list = ca.revocation_list(&[&revoked], now + short).unwrap();
        let mut rules = RevocationPolicy::default();
        rules.refuse_expired = part == Part::StrictList;
        let lists = match part {
            Part::Ca | Part::Leaf => RevocationLists::none(),
            Part::LenientList | Part::StrictList => {
                let bundle = ca.trust_bundle().unwrap();
                RevocationLists::from_der([list], &bundle, policy.provider()).unwrap().with_policy(rules)
            }
        };
        let judges_ca = TestCa::new(CertificateSpec::ca("judges-ca")).unwrap();
        let judge = judges_ca.issue(CertificateSpec::leaf(JUDGE)).unwrap();
        Self { clock, moment, ca, judges_ca, judge, peer, revoked, lists, policy }
    }

    pub(crate) fn turn_clock(&self, at: i64) {
        let seconds = self.moment.as_secs().checked_add_signed(at).unwrap();
        self.clock.set(UnixTime::since_unix_epoch(Duration::from_secs(seconds)));
    }

    fn config(&self) -> TlsConfig {
        let mut material = testing::material(&self.ca, &self.judge, self.policy.provider()).unwrap();
        material.revocation_lists = self.lists.clone();
        let required = RequiredIdentity::common_name(PEER).unwrap();
        TlsConfig::new(material, required, self.policy.clone())
    }

    /// Which knows nobody yet.
    pub(crate) fn judging_typha(&self) -> TyphaAcceptor {
        TyphaAcceptor::new(self.config())
    }

    /// Which knows nobody yet.
    pub(crate) fn judging_felix(&self) -> FelixConnector {
        FelixConnector::new(self.config())
    }

    fn leaf(&self, is_revoked: bool) -> &TestLeaf {
        if is_revoked { &self.revoked } else { &self.peer }
    }

    pub(crate) fn felix(&self, is_revoked: bool) -> FelixConnector {
        let required = RequiredIdentity::common_name(JUDGE).unwrap();
        testing::connector(&self.judges_ca, self.leaf(is_revoked), required).unwrap()
    }

    pub(crate) fn typha(&self, is_revoked: bool) -> TyphaAcceptor {
        let required = RequiredIdentity::common_name(JUDGE).unwrap();
        testing::acceptor(&self.judges_ca, self.leaf(is_revoked), required).unwrap()
    }
}
