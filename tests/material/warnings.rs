//! What is usable but probably not meant.

use super::*;

fn unix_time(time: SystemTime) -> UnixTime {
    UnixTime::since_unix_epoch(time.duration_since(SystemTime::UNIX_EPOCH).unwrap())
}

fn labels(warnings: &[MaterialWarning]) -> Vec<&'static str> {
    warnings.iter().map(MaterialWarning::label).collect()
}

/// The warnings of a configuration with this leaf, whose peers have another CA.
fn of_config(leaf: &TestLeaf, role: Role, now: SystemTime) -> Vec<MaterialWarning> {
    let (begin, end) = year();
    let ca = TestCa::new(CertificateSpec::ca("peers").valid(begin - days(3650), end + days(3650))).unwrap();
    let policy = TlsPolicy::builder().build().unwrap();
    let credentials = leaf.credentials(policy.provider()).unwrap();
    let material = Material::new(ca.trust_bundle().unwrap(), credentials);
    let required = RequiredIdentity::common_name("peer").unwrap();
    TlsConfig::new(material, required, policy).warnings(role, unix_time(now))
}

#[test]
fn warnings_about_our_own_leaf() {
    let (begin, end) = year();
    let middle = begin + days(100);
    let second = Duration::from_secs(1);
    let leaf = || CertificateSpec::leaf("felix").valid(begin, end);
    for (spec, now, felix, typha) in [
        (leaf(), middle, &[][..], &[][..]),
        (leaf(), begin, &[], &[]),
        (leaf(), end - days(30) - second, &[], &[]),
        (leaf(), end - days(30), &["leaf_expires_soon"], &["leaf_expires_soon"]),
        (leaf(), end, &["leaf_expires_soon"], &["leaf_expires_soon"]),
        (leaf(), begin - second, &["leaf_not_yet_valid"], &["leaf_not_yet_valid"]),
        (leaf(), end + second, &["leaf_expired"], &["leaf_expired"]),
        (leaf().purpose(Purpose::ClientAuth), middle, &[], &["leaf_lacks_purpose"]),
        (leaf().purpose(Purpose::ServerAuth), middle, &["leaf_lacks_purpose"], &[]),
        (leaf().purpose(Purpose::CodeSigning), middle, &["leaf_lacks_purpose"], &["leaf_lacks_purpose"]),
        (leaf().purpose(Purpose::ClientAuth).purpose(Purpose::ServerAuth), middle, &[], &[]),
        (leaf().purpose(Purpose::Any), middle, &[], &[]),
        // A peer may have it in its CA file.
        (CertificateSpec::ca("felix").valid(begin, end), middle, &[], &[]),
        (
            leaf().purpose(Purpose::ServerAuth),
            end + second,
            &["leaf_expired", "leaf_lacks_purpose"],
            &["leaf_expired"],
        ),
    ] {
        let leaf = TestLeaf::self_signed(spec).unwrap();
        for (role, expected) in [(Role::Felix, felix), (Role::Typha, typha)] {
            assert_eq!(labels(&of_config(&leaf, role, now)), expected, "{role}");
        }
    }
}

/// Only what every peer refuses, whatever CAs it has, is a warning.
#[test]
fn peers_may_have_other_cas() {
    let (begin, end) = year();
    let now = begin + days(100);
    let leaf = || CertificateSpec::leaf("typha").valid(begin, end);
    let ca = |name: &str| CertificateSpec::ca(name).valid(begin, end);
    let root = TestCa::new(ca("root")).unwrap();
    let as_ca = root.issue(ca("typha")).unwrap();
    assert_eq!(labels(&of_config(&as_ca, Role::Typha, now)), ["leaf_is_ca"]);

    // An intermediate that has expired, beside its renewal.
    let intermediate = |spec| root.intermediate(spec).unwrap();
    let (old, renewed) = (intermediate(ca("i").valid(begin, begin + days(1))), intermediate(ca("i")));
    let by_renewed = renewed.issue(leaf()).unwrap();
    let [own, above] = [0, 1].map(|index| by_renewed.chain()[index].clone());
    let expired = old.issue(leaf()).unwrap().chain()[1].clone();
    for (chain, bundle, expected) in [
        (vec![own.clone(), expired.clone(), above.clone()], "peers", None),
        (vec![own.clone(), above.clone()], "root", None),
        (vec![own.clone(), expired], "root", Some("own_chain_refused")),
    ] {
        let policy = TlsPolicy::builder().build().unwrap();
        let credentials = Credentials::from_der(chain, by_renewed.key(), policy.provider()).unwrap();
        let peers = TestCa::new(ca("peers")).unwrap();
        let bundle = if bundle == "root" { &root } else { &peers }.trust_bundle().unwrap();
        let material = Material::new(bundle, credentials);
        let config = TlsConfig::new(material, RequiredIdentity::common_name("peer").unwrap(), policy);
        let found = labels(&config.warnings(Role::Typha, unix_time(now)));
        assert_eq!(found, expected.into_iter().collect::<Vec<_>>());
    }

    // Our root permits no CA below it, but a peer may have the intermediate in its CA file.
    let strict = TestCa::new(ca("strict").path_length(0)).unwrap();
    let below = strict.intermediate(ca("below")).unwrap().issue(leaf()).unwrap();
    let policy = TlsPolicy::builder().build().unwrap();
    let credentials = below.credentials(policy.provider()).unwrap();
    let material = Material::new(strict.trust_bundle().unwrap(), credentials);
    let config = TlsConfig::new(material, RequiredIdentity::common_name("peer").unwrap(), policy);
    assert_eq!(labels(&config.warnings(Role::Typha, unix_time(now))), [""; 0]);

    // Without a name, and expired.
    let nameless = TestLeaf::self_signed(CertificateSpec::unnamed().valid(begin, end)).unwrap();
    assert_eq!(labels(&of_config(&nameless, Role::Typha, end + days(1))), ["no_identity", "leaf_expired"]);
}

#[test]
fn warnings_say_what_to_do() {
    let (begin, end) = year();
    let spec = CertificateSpec::leaf("felix").valid(begin, end).purpose(Purpose::ServerAuth);
    let leaf = TestLeaf::self_signed(spec).unwrap();
    let texts =
        |now| -> Vec<_> { of_config(&leaf, Role::Felix, now).iter().map(ToString::to_string).collect() };
    let lacks = "our certificate CN=\"felix\" has an extended key usage without clientAuth: every peer will refuse it; \
                 issue one with extendedKeyUsage = clientAuth";
    assert_eq!(
        texts(end + days(1)),
        [
            "our certificate CN=\"felix\" expired at 2026-01-01T00:00:00Z: every peer will refuse it; issue a new one",
            lacks
        ]
    );
    assert_eq!(
        texts(begin - days(1)),
        [
            "our certificate CN=\"felix\" is not valid before 2025-01-01T00:00:00Z: every peer will refuse it until \
             then; check the clock",
            lacks
        ]
    );
}

/// Calico's guide "the hard way" makes such a leaf.
#[test]
fn a_version_1_leaf_is_no_leaf_that_peers_accept() {
    let fixture = |name: &str| {
        std::fs::read(format!("{}/tests/fixtures/{name}.pem", env!("CARGO_MANIFEST_DIR"))).unwrap()
    };
    let policy = TlsPolicy::builder().build().unwrap();
    let credentials =
        Credentials::from_pem(&fixture("version1"), &fixture("leaf-key"), policy.provider()).unwrap();
    let required = RequiredIdentity::common_name("peer").unwrap();
    // With its CA in our bundle, and without.
    for bundle in [TrustBundle::from_pem(&fixture("ca")).unwrap(), ca("peers").trust_bundle().unwrap()] {
        let material = Material::new(bundle, credentials.clone());
        let config = TlsConfig::new(material, required.clone(), policy.clone());
        let now = unix_time(SystemTime::now());
        for (role, purpose) in [(Role::Felix, "clientAuth"), (Role::Typha, "serverAuth")] {
            let texts: Vec<_> = config.warnings(role, now).iter().map(ToString::to_string).collect();
            let expected = format!(
                "every peer that uses this library will refuse our own certificate (unsupported_version): the leaf \
                 certificate CN=\"typha-client\" is X.509 version 1, but only version 3 has the extensions that are \
                 needed; issue it again with an extension: openssl x509 -req -in CSR -CA CA -CAkey KEY \
                 -CAcreateserial -days DAYS -extfile EXT -out NEW (EXT is a file with the line extendedKeyUsage = \
                 {purpose}, and with subjectAltName = URI:ID if a URI SAN is required)"
            );
            assert_eq!(texts, [expected]);
        }
    }
}

#[test]
fn warnings_about_entries_of_the_bundle() {
    let (begin, end) = year();
    let specs = [
        CertificateSpec::ca("good"),
        CertificateSpec::leaf("leaf"),
        CertificateSpec::ca("no flag").without_ca_flag(),
        CertificateSpec::ca("no usage").without_key_cert_sign(),
        CertificateSpec::ca("short").path_length(0),
    ];
    let roots = specs.map(|spec| TestCa::new(spec.valid(begin, end)).unwrap().root().clone());
    let bundle = TrustBundle::from_der(roots).unwrap();
    let texts = |now| bundle.warnings(unix_time(now)).iter().map(ToString::to_string).collect::<Vec<_>>();
    let not_a_ca = |name: &str, why: &str| {
        format!(
            "CN=\"{name}\" in the CA file is no CA ({why}): it issues nothing, and is accepted only as a peer's own \
             certificate; if that is not intended, put the CA that issued it into the CA file"
        )
    };
    let no_cas = [
        not_a_ca("leaf", "basic constraints do not mark it as a CA"),
        not_a_ca("no flag", "basic constraints do not mark it as a CA"),
        not_a_ca("no usage", "its key usage does not include keyCertSign"),
    ];
    assert_eq!(texts(begin + days(1)), no_cas);
    assert_eq!(labels(&bundle.warnings(unix_time(begin))), ["not_a_ca"; 3]);

    let expired = |name: &str| {
        format!(
            "the CA CN=\"{name}\" expired at 2026-01-01T00:00:00Z: nothing it issued is accepted; remove it, or add \
             its successor"
        )
    };
    let early = |name: &str| {
        format!(
            "the CA CN=\"{name}\" is not valid before 2025-01-01T00:00:00Z: nothing it issued is accepted until then; \
             check the clock"
        )
    };
    let pin_expired = ["leaf", "no flag", "no usage"].map(|name| {
        format!(
            "CN=\"{name}\" in the CA file is no CA, and expired at 2026-01-01T00:00:00Z: it is not even accepted as \
             a peer's own certificate; remove it, or replace it by its successor"
        )
    });
    let all_expired = [vec![expired("good")], pin_expired.to_vec(), vec![expired("short")]].concat();
    assert_eq!(texts(end + days(1)), all_expired);
    let pin_early = ["leaf", "no flag", "no usage"].map(|name| {
        format!(
            "CN=\"{name}\" in the CA file is no CA, and is not valid before 2025-01-01T00:00:00Z: until then it is not \
             even accepted as a peer's own certificate; check the clock"
        )
    });
    let all_early = [vec![early("good")], pin_early.to_vec(), vec![early("short")]].concat();
    assert_eq!(texts(begin - days(1)), all_early);
}

#[cfg(unix)]
#[test]
fn a_key_that_others_can_read() {
    use std::os::unix::fs::PermissionsExt as _;

    let (dir, pki) = (Dir::new(), TestPki::new().unwrap());
    dir.write_material(&pki.ca, &pki.felix);
    let key = dir.path("key.pem");
    for (mode, is_exposed) in [
        (0o600, false),
        (0o400, false),
        (0o640, false),
        (0o601, false),
        (0o604, true),
        (0o602, true),
        (0o644, true),
        (0o666, true),
        (0o777, true),
    ] {
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).unwrap();
        let credentials = Credentials::from_files(dir.path("cert.pem"), &key, &provider()).unwrap();
        let warnings = credentials.warnings(UnixTime::now());
        let texts: Vec<_> = warnings.iter().map(ToString::to_string).collect();
        let expected = format!(
            "the private key {key} is accessible by every user (mode {mode:04o}); chmod 600 {key}",
            key = key.display()
        );
        assert_eq!(texts, if is_exposed { vec![expected] } else { Vec::new() }, "{mode:o}");
        if is_exposed {
            assert_eq!(labels(&warnings), ["key_accessible_by_others"]);
        }
    }
}

/// Kubernetes sets the permissions of the files on a volume.
#[cfg(unix)]
#[test]
fn a_key_on_a_volume_of_a_secret() {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    let (dir, pki) = (Dir::new(), TestPki::new().unwrap());
    std::fs::create_dir(dir.path("..2026_01_01")).unwrap();
    symlink("..2026_01_01", dir.path("..data")).unwrap();
    for (name, contents) in [("tls.crt", pki.typha.chain_pem()), ("tls.key", pki.typha.key_pem())] {
        let file = dir.path("..2026_01_01").join(name);
        std::fs::write(&file, contents).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
        symlink(format!("..data/{name}"), dir.path(name)).unwrap();
    }
    // By the path of the volume, and as a file that is mounted by itself.
    symlink(dir.path("..data/tls.key"), dir.path("elsewhere")).unwrap();
    for key in [dir.path("tls.key"), dir.path("elsewhere")] {
        let credentials = Credentials::from_files(dir.path("tls.crt"), &key, &provider()).unwrap();
        let texts: Vec<_> = credentials.warnings(UnixTime::now()).iter().map(ToString::to_string).collect();
        let expected = format!(
            "the private key {} is accessible by every user (mode 0644); set defaultMode: 0400 for that volume in the \
             manifest of the pod, and, if the process does not run as root, fsGroup in its securityContext",
            key.display()
        );
        assert_eq!(texts, [expected]);
    }
}

#[cfg(unix)]
#[test]
fn a_private_key_in_a_certificate_file() {
    use std::os::unix::fs::PermissionsExt as _;
    let (dir, pki) = (Dir::new(), TestPki::new().unwrap());
    let both = format!("{}{}{}", pki.typha.chain_pem(), pki.typha.key_pem(), pki.ca.root_pem());
    let (both, key) = (dir.write("both.pem", both), dir.write("key.pem", pki.typha.key_pem()));
    let chain = dir.write("chain.pem", pki.typha.chain_pem());
    let ca = dir.write("ca.pem", pki.ca.root_pem());
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    for (mode, ca_file, cert_file, key_file, is_reported) in [
        (0o640, &ca, &both, &key, true),
        (0o640, &both, &chain, &key, true),
        (0o600, &both, &both, &key, false),
        // It is the key file, for which other rules count.
        (0o640, &both, &both, &both, false),
    ] {
        std::fs::set_permissions(&both, std::fs::Permissions::from_mode(mode)).unwrap();
        let files = TlsFiles::new(ca_file, cert_file, key_file);
        let policy = TlsPolicy::builder().build().unwrap();
        let required = RequiredIdentity::common_name("peer").unwrap();
        let config = TlsConfig::from_files(&files, required, policy).unwrap();
        let warnings = config.warnings(Role::Typha, UnixTime::now());
        let texts: Vec<_> = warnings
            .iter()
            .filter(|warning| warning.label() == "key_in_certificate_file")
            .map(ToString::to_string)
            .collect();
        let expected = format!(
            "the certificate file {both} also has a private key, and users other than its owner can access it (mode \
             0640); if it is not the key file of this end, move the private key to a safe place; otherwise chmod 600 \
             {both}",
            both = both.display()
        );
        assert_eq!(texts, if is_reported { vec![expected] } else { Vec::new() });
    }
}
