//! Revocation lists, good and damaged.

use super::*;

/// A list of the CA `issuer`, by a key of its own; of all its certificates, or only those of a distribution point.
fn revocation_list(issuer: &str, distribution_point: Option<&str>) -> CertificateRevocationListDer<'static> {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name.push(rcgen::DnType::CommonName, issuer);
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.key_usages = vec![rcgen::KeyUsagePurpose::CrlSign];
    let (begin, end) = year();
    let revoked = RevokedCertParams {
        serial_number: SerialNumber::from(1),
        revocation_time: begin.into(),
        reason_code: None,
        invalidity_date: None,
    };
    let list = CertificateRevocationListParams {
        this_update: begin.into(),
        next_update: end.into(),
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: distribution_point.map(|uri| rcgen::CrlIssuingDistributionPoint {
            distribution_point: rcgen::CrlDistributionPoint { uris: vec![uri.to_owned()] },
            scope: None,
        }),
        revoked_certs: vec![revoked],
        key_identifier_method: rcgen::KeyIdMethod::Sha256,
    };
    list.signed_by(&rcgen::Issuer::new(params, key)).unwrap().der().clone()
}

#[test]
fn revocation_lists_good_and_damaged() {
    let dir = Dir::new();
    let lists = [revocation_list("a", None), revocation_list("b", None)];
    let [first, second] = lists.each_ref().map(|list| pem("X509 CRL", list));
    let load = |text: String| RevocationLists::from_pem_file(dir.write("crl.pem", text));
    for (text, count) in [
        (first.clone(), 1),
        (format!("# comment\n{first}\n{second}"), 2),
        (format!("{first}{second}").replace('\r', "").replace('\n', "\r\n"), 2),
    ] {
        assert_eq!(format!("{:?}", load(text).unwrap()), format!("RevocationLists({count})"));
    }
    assert_eq!(format!("{:?}", RevocationLists::from_der(lists.clone()).unwrap()), "RevocationLists(2)");
    assert_eq!(format!("{:?}", RevocationLists::none()), "RevocationLists(0)");

    let file = dir.text("crl.pem");
    for text in ["", "no list"] {
        let error = load(text.to_owned()).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("{file}: there is no revocation list (a PEM block X509 CRL) in it")
        );
        assert!(matches!(error, MaterialError::NoRevocationList(Origin::File(_))));
    }
    assert!(matches!(RevocationLists::from_der([]), Err(MaterialError::NoRevocationList(Origin::Memory))));

    for damaged in [&b""[..], b"\x30\x00", &lists[1][..lists[1].len() - 1], &lists[1][1..], ca("ca").root()] {
        let error = load(first.clone() + &pem("X509 CRL", damaged)).unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with(&format!("{file}: revocation list 2 is unusable: ")), "{text}");
        assert!(matches!(error, MaterialError::RevocationList { position: 2, .. }), "{error:?}");
    }
    let error = load(first.clone() + &ca("ca").root_pem()).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("{file}: found a PEM block \"CERTIFICATE\", but only X509 CRL blocks may stand here")
    );

    let text = format!("{first}{second}");
    for length in 0..text.trim_end().len() {
        if let Ok(lists) = RevocationLists::from_pem(&text.as_bytes()[..length]) {
            assert_eq!(format!("{lists:?}"), "RevocationLists(1)");
            let range = first.trim_end().len()..first.len() + "-----BEGIN".len();
            assert!(range.contains(&length), "{length}");
        }
    }
}

/// webpki looks at one list of an issuer only, by its name: a superseded one beside the current one would hide what that
/// revokes.
#[test]
fn an_issuer_has_one_list_for_all_its_certificates() {
    let whole = || revocation_list("a", None);
    for (lists, problem) in [
        (
            vec![whole(), revocation_list("b", None), whole()],
            "the given bytes: revocation list 3 is unusable: it is the second list of the same issuer; leave only the \
             current one",
        ),
        (
            vec![revocation_list("a", Some("http://ca.example/1.crl"))],
            "the given bytes: revocation list 1 is unusable: it covers only a part of its issuer's certificates (issuing \
             distribution point), which is not supported",
        ),
    ] {
        assert_eq!(RevocationLists::from_der(lists).unwrap_err().to_string(), problem);
    }
}
