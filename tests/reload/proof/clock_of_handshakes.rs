//! A clock that goes back and forth over the ends of what is valid: the verdicts of new handshakes, to the second.

use rustls::AlertDescription;
use typha_tls::HandshakeError;
use typha_tls::testing::{HandshakeResult, handshake};

use super::validities::{PARTS, Part, STEPS, Site, Verdict};

/// What both ends say of one handshake.
pub(crate) fn verdict<J, P>(judge: Result<J, HandshakeError>, peer: Result<P, HandshakeError>) -> Verdict {
    match (judge, peer) {
        (Ok(_), Ok(_)) => Ok(()),
        (Err(HandshakeError::Rejected(rejection)), Err(HandshakeError::RefusedByPeer { alert })) => {
            Err((rejection.label(), alert))
        }
        (judge, peer) => panic!("{:?}, {:?}", judge.err(), peer.err()),
    }
}

fn swap((typha, felix): (HandshakeResult, HandshakeResult)) -> (HandshakeResult, HandshakeResult) {
    (felix, typha)
}

#[tokio::test]
async fn verdicts_are_exact_to_the_second() {
    for (version, suites) in
        [("1.3", "TLS_AES_128_GCM_SHA256"), ("1.2", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256")]
    {
        for part in PARTS {
            let site = Site::new(part, version, suites);
            // One remembers whom it has verified, and one knows nobody.
            let (typha, felix) = (site.judging_typha(), site.judging_felix());
            for is_revoked in [false, true] {
                let (peer_felix, peer_typha) = (site.felix(is_revoked), site.typha(is_revoked));
                for at in STEPS {
                    site.turn_clock(at);
                    let is_on_list = is_revoked && matches!(part, Part::LenientList | Part::StrictList);
                    let expected = match is_on_list {
                        // Whether or not the list is out of date.
                        true => Err(("revoked", AlertDescription::CertificateRevoked)),
                        false => part.verdict(at),
                    };
                    for typha in [&typha, &site.judging_typha()] {
                        let (typha, felix) = handshake(typha, &peer_felix).await;
                        assert_eq!(
                            verdict(typha, felix),
                            expected,
                            "{part:?} at {at}, TLS {version}, by Typha"
                        );
                    }
                    for felix in [&felix, &site.judging_felix()] {
                        let (felix, typha) = swap(handshake(&peer_typha, felix).await);
                        assert_eq!(
                            verdict(felix, typha),
                            expected,
                            "{part:?} at {at}, TLS {version}, by Felix"
                        );
                    }
                }
            }
        }
    }
}
