//! Files in another form than PEM, or with blocks of other kinds: the error names the form and the command that
//! converts it.

use super::*;

use rustls_pki_types::CertificateDer;
use typha_tls::material::read_chain;

/// The text of the error, after the file.
fn problem<T: std::fmt::Debug>(dir: &Dir, name: &str, read: Result<T, MaterialError>) -> String {
    let text = read.unwrap_err().to_string();
    let text = text.strip_prefix(&format!("{}: ", dir.text(name))).map(str::to_owned);
    text.unwrap_or_else(|| panic!("it does not begin with the file"))
}

/// The problem of these bytes as a CA file, own chain, chain of a peer, private key, and list of revocations.
fn problems(bytes: &[u8]) -> [String; 5] {
    let (dir, pki) = (Dir::new(), TestPki::new().unwrap());
    dir.write_material(&pki.ca, &pki.typha);
    let file = dir.write("file", bytes);
    let good = |name: &str| dir.path(name);
    let bundle = pki.ca.trust_bundle().unwrap();
    [
        problem(&dir, "file", TrustBundle::from_file(&file)),
        problem(&dir, "file", Credentials::from_files(&file, good("key.pem"), &provider())),
        problem(&dir, "file", read_chain(&file)),
        problem(&dir, "file", Credentials::from_files(good("cert.pem"), &file, &provider())),
        problem(&dir, "file", RevocationLists::from_files([&file], &bundle, &provider())),
    ]
}

fn utf16(text: &str, mark: bool, octets: fn(u16) -> [u8; 2]) -> Vec<u8> {
    let mark = mark.then_some('\u{feff}');
    let text: String = mark.into_iter().chain(text.chars()).collect();
    text.encode_utf16().flat_map(octets).collect()
}

/// As base64 -w 64 does.
fn base64(bytes: &[u8]) -> String {
    let pem = pem("X", bytes);
    pem.lines().filter(|line| !line.contains("-----")).map(|line| format!("{line}\n")).collect()
}

#[test]
fn text_in_other_encodings() {
    let text = ca("ca").root_pem().replace('\r', "");
    let text = &*text;
    for (bytes, expected) in [
        (
            utf16(text, true, u16::to_le_bytes),
            "it is text in UTF-16; convert it: iconv -f UTF-16 -t UTF-8 FILE > NEW",
        ),
        (
            utf16(text, true, u16::to_be_bytes),
            "it is text in UTF-16; convert it: iconv -f UTF-16 -t UTF-8 FILE > NEW",
        ),
        (
            utf16(text, false, u16::to_le_bytes),
            "it is text in UTF-16; convert it: iconv -f UTF-16LE -t UTF-8 FILE > NEW",
        ),
        (
            utf16(text, false, u16::to_be_bytes),
            "it is text in UTF-16; convert it: iconv -f UTF-16BE -t UTF-8 FILE > NEW",
        ),
        (
            text.replace('\n', "\r").into(),
            "its lines end in carriage returns alone (CR); convert them: tr '\\r' '\\n' < FILE > NEW",
        ),
        (
            text.replace('\n', "\\n").into(),
            "its line breaks are written as a backslash and an n (\\n); make line breaks of them: sed 's/\\\\r//g; \
             s/\\\\n/\\n/g; s/\"//g' FILE > NEW",
        ),
        (
            format!("\"{}\"\n", text.replace('\n', "\\r\\n")).into(),
            "its line breaks are written as a backslash and an n (\\n); make line breaks of them: sed 's/\\\\r//g; \
             s/\\\\n/\\n/g; s/\"//g' FILE > NEW",
        ),
        (
            base64(text.as_bytes()).into(),
            "it is PEM that was encoded in base64 once more, as in the manifest of a Kubernetes Secret; decode it: \
             base64 -d FILE > NEW",
        ),
        (
            base64(text.as_bytes()).replace('\n', "").into(),
            "it is PEM that was encoded in base64 once more, as in the manifest of a Kubernetes Secret; decode it: \
             base64 -d FILE > NEW",
        ),
    ] {
        assert_eq!(problems(&bytes), [expected; 5], "{expected}");
    }
}

#[test]
fn manifests() {
    let text = ca("ca").root_pem();
    let yaml = format!(
        "apiVersion: v1\nkind: Secret\ndata:\n  ca.crt: {}\n",
        base64(text.as_bytes()).replace('\n', "")
    );
    let indented: String = text.lines().map(|line| format!("    {line}\n")).collect();
    let literal = format!("kind: ConfigMap\napiVersion: v1\ndata:\n  ca.crt: |\n{indented}");
    let json = format!(
        "{{\"kind\": \"Secret\", \"stringData\": {{\"ca.crt\": \"{}\"}}}}",
        text.replace('\n', "\\n")
    );
    for manifest in [yaml, literal, json] {
        let expected = ["ca\\.crt", "tls\\.crt", "tls\\.crt", "tls\\.key", "ca\\.crl"].map(|entry| {
            format!(
                "it is JSON or YAML, such as a manifest of a Kubernetes Secret, and not PEM; extract the entry from \
                 the cluster: kubectl get secret NAME -o jsonpath='{{.data.{entry}}}' | base64 -d > NEW"
            )
        });
        assert_eq!(problems(manifest.as_bytes()), expected, "{manifest}");
    }
}

/// A SEQUENCE with these contents.
fn sequence(contents: &[&[u8]]) -> Vec<u8> {
    let contents = contents.concat();
    let length = u16::try_from(contents.len()).unwrap().to_be_bytes();
    match contents.len() {
        0..128 => [&[0x30, length[1]], &*contents].concat(),
        _ => [&[0x30, 0x82], &length[..], &contents].concat(),
    }
}

const PUT_CAS: &str = "put the certificates of the CAs here, in PEM";
const PUT_CHAIN: &str = "put the certificate chain here, leaf first, in PEM";
const PUT_KEY: &str = "put the private key here, in PEM";
const PUT_LISTS: &str = "put the revocation lists here, in PEM or DER";

/// Each as it is, and in base64 without BEGIN and END lines.
#[test]
fn binary_files() {
    let pki = TestPki::new().unwrap();
    let key = pki.typha.key();
    let key_pair = KeyPair::try_from(key.secret_der()).unwrap();
    let request = CertificateParams::new(Vec::new()).unwrap().serialize_request(&key_pair).unwrap();
    let filler = [&[0x04, 0x82, 1, 0][..], &[7; 256]].concat();
    let pkcs7_type = [0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 2];
    let pkcs12 = sequence(&[&[2, 1, 3], &sequence(&[&pkcs7_type, &filler])]);
    let mut indefinite = [&[0x30, 0x80], &pkcs12[4..]].concat();
    indefinite.extend([0, 0]);
    let convert = |command: &str| format!("convert it: {command}");
    let certificate = [
        convert("openssl x509 -inform DER -in FILE -out NEW"),
        convert("openssl x509 -inform DER -in FILE -out NEW"),
        PUT_KEY.to_owned(),
        PUT_LISTS.to_owned(),
    ];
    let of_pkcs12 = [
        convert("openssl pkcs12 -nokeys -cacerts -in FILE -out NEW"),
        convert("openssl pkcs12 -nokeys -in FILE -out NEW"),
        convert("openssl pkcs12 -nocerts -nodes -in FILE -out NEW"),
        PUT_LISTS.to_owned(),
    ];
    let of_pkcs7 = convert("openssl pkcs7 -inform DER -print_certs -in FILE -out NEW");
    let sign = "have the CA sign the request, and put the certificate here";
    let of_key = convert("openssl pkey -inform DER -in FILE -out NEW");
    let put = |bundle: &str, chain: &str, key: &str| [bundle, chain, key, PUT_LISTS].map(str::to_owned);
    for (der, form, [bundle, chain, key, lists]) in [
        (pki.ca.root().to_vec(), "a certificate in DER", certificate),
        (pkcs12, "a PKCS#12 file", of_pkcs12.clone()),
        (indefinite, "a PKCS#12 file", of_pkcs12),
        (sequence(&[&pkcs7_type, &filler]), "a PKCS#7 file in DER", put(&of_pkcs7, &of_pkcs7, PUT_KEY)),
        (request.der().to_vec(), "a certificate request (CSR) in DER", put(sign, sign, PUT_KEY)),
        (key.secret_der().to_vec(), "a private key in DER", put(PUT_CAS, PUT_CHAIN, &of_key)),
        (
            rcgen::PublicKeyData::subject_public_key_info(&key_pair),
            "a public key in DER",
            put(PUT_CAS, PUT_CHAIN, PUT_KEY),
        ),
        (
            sequence(&[&sequence(&[&[6, 1, 0x2a]]), &filler]),
            "an encrypted private key in DER",
            put(PUT_CAS, PUT_CHAIN, &of_key),
        ),
    ] {
        let remedies = [bundle, chain.clone(), chain, key, lists];
        let expected = remedies.clone().map(|remedy| format!("it is {form}, and not PEM; {remedy}"));
        assert_eq!(problems(&der), expected);
        let expected = remedies.map(|remedy| {
            let remedy = remedy.replace(": openssl", ": base64 -d FILE | openssl").replace(" -in FILE", "");
            format!("it is base64 of {form}, without BEGIN and END lines; {remedy}")
        });
        assert_eq!(problems(base64(&der).as_bytes()), expected);
    }
}

#[test]
fn a_revocation_list_in_der_is_no_certificate() {
    let (dir, a) = (Dir::new(), ca("a"));
    let list = common_lists::List::new().signed_by(&a, "a");
    let file = dir.write("file", &list);
    let expected = format!("it is a revocation list in DER, and not PEM; {PUT_CAS}");
    assert_eq!(problem(&dir, "file", TrustBundle::from_file(&file)), expected);
    assert!(RevocationLists::from_files([file], &a.trust_bundle().unwrap(), &provider()).is_ok());
    let file = dir.write("file", base64(&list));
    let lists = RevocationLists::from_files([file], &a.trust_bundle().unwrap(), &provider());
    let expected = "it is base64 of a revocation list in DER, without BEGIN and END lines; convert it: base64 -d \
                    FILE | openssl crl -inform DER -out NEW";
    assert_eq!(problem(&dir, "file", lists), expected);
}

#[test]
fn public_keys_of_openssh() {
    for text in ["ssh-ed25519 AAAA x@y\n", "ecdsa-sha2-nistp256 AAAA\n"] {
        let expected = [PUT_CAS, PUT_CHAIN, PUT_CHAIN, PUT_KEY, PUT_LISTS]
            .map(|put| format!("it is a public key of OpenSSH, and not PEM; {put}"));
        assert_eq!(problems(text.as_bytes()), expected);
    }
}

/// The whole file is refused: one certificate of it must not be dropped.
#[test]
fn blocks_that_share_a_line() {
    let (first, second) = (ca("first").root_pem(), ca("second").root_pem());
    let [first, second] = [&first, &second].map(|pem| pem.replace('\r', ""));
    let number = first.lines().count();
    for joined in [
        format!("{}{second}", first.trim_end()),
        format!("{} {second}", first.trim_end()),
        format!("{}{}", first.trim_end(), &second[5..]),
        format!("{}{second}", first.trim_end()).replace('\n', "\r\n"),
    ] {
        let expected = format!(
            "line {number} has the END of a block and the BEGIN of the next one; put a line break between them: sed \
             's/-----BEGIN/\\n&/' FILE > NEW"
        );
        let [bundle, own, peer, ..] = problems(joined.as_bytes());
        assert_eq!([bundle, own, peer], [&*expected; 3]);
    }
    let expected = "line 1 has the BEGIN and the END of a block, so its line breaks are lost; copy the file again \
                    (in a shell, put quotes around the variable: echo \"$PEM\")";
    for between in ["", " "] {
        let [bundle, own, peer, ..] = problems(first.replace('\n', between).as_bytes());
        assert_eq!([bundle, own, peer], [expected; 3]);
    }
}

#[test]
fn byte_order_marks() {
    let text = ca("ca").root_pem().replace('\r', "");
    for (text, line) in
        [(format!("\u{feff}{text}"), 1), (format!("{text}\u{feff}{text}"), text.lines().count() + 1)]
    {
        let expected = format!(
            "line {line} begins with a byte order mark (BOM); remove it: sed 's/^\\xEF\\xBB\\xBF//' FILE > NEW"
        );
        let [bundle, own, peer, ..] = problems(text.as_bytes());
        assert_eq!([bundle, own, peer], [&*expected; 3]);
    }
}

#[test]
fn files_of_other_blocks() {
    let pki = TestPki::new().unwrap();
    let none = "there is no certificate (a PEM block CERTIFICATE) in it";
    let sign = "have the CA sign the request, and put the certificate here";
    for (text, found, [bundle, chain]) in [
        (pki.typha.key_pem(), "it has a private key, so the two files may be swapped", [PUT_CAS, PUT_CHAIN]),
        (
            ENCRYPTED_SEC1.to_owned(),
            "it has a private key, so the two files may be swapped",
            [PUT_CAS, PUT_CHAIN],
        ),
        (pem("CERTIFICATE REQUEST", b"\x30\x00"), "it has a certificate request (CSR)", [sign, sign]),
        (pem("NEW CERTIFICATE REQUEST", b"\x30\x00"), "it has a certificate request (CSR)", [sign, sign]),
        (pem("PUBLIC KEY", b"\x30\x00"), "it has a public key", [PUT_CAS, PUT_CHAIN]),
        (pem("DH PARAMETERS", b"\x30\x00"), "it has the parameters of a key", [PUT_CAS, PUT_CHAIN]),
    ] {
        let [in_bundle, own, peer, ..] = problems(text.as_bytes());
        let expected = [bundle, chain, chain].map(|remedy| format!("{none}: {found}; {remedy}"));
        assert_eq!([in_bundle, own, peer], expected);
    }
}

/// Certificate and key in one file, as cert-manager and HAProxy write it, and other blocks that do no harm.
#[test]
fn each_file_gives_the_blocks_it_is_for() {
    let (dir, pki) = (Dir::new(), TestPki::new().unwrap());
    let (chain, key) = (pki.typha.chain_pem(), pki.typha.key_pem());
    let others: String = [
        "EC PARAMETERS",
        "DH PARAMETERS",
        "X9.42 DH PARAMETERS",
        "PUBLIC KEY",
        "CERTIFICATE REQUEST",
        "NEW CERTIFICATE REQUEST",
    ]
    .iter()
    .map(|label| pem(label, b"\x30\x00"))
    .collect();
    for combined in
        [format!("{key}{chain}"), format!("{chain}{key}"), format!("{others}{chain}{others}{key}{others}")]
    {
        assert_eq!(load_key(&dir, &combined, &combined).unwrap().chain(), pki.typha.chain());
        assert_eq!(read_chain(dir.path("cert.pem")).unwrap(), pki.typha.chain());
        let bundle = TrustBundle::from_pem(format!("{combined}{}", pki.ca.root_pem()).as_bytes()).unwrap();
        assert_eq!(bundle.subjects().len(), pki.typha.chain().len() + 1);
    }
    // Keys of any kind are skipped where no key is read, even such that can not be decoded.
    for other in [
        ENCRYPTED_PKCS8,
        ENCRYPTED_SEC1,
        SEC1,
        &pem("OPENSSH PRIVATE KEY", b""),
        &pem("ANY PRIVATE KEY", b""),
    ] {
        let text = format!("{other}{chain}{other}");
        assert_eq!(load_key(&dir, &text, &key).unwrap().chain(), pki.typha.chain());
    }
    // But a key that is cut off fails the file, because a certificate may be missing with it.
    let cut = key.replace("-----END PRIVATE KEY-----", "");
    assert!(matches!(load_key(&dir, &format!("{chain}{cut}"), &key), Err(MaterialError::BadPem { .. })));
}

#[test]
fn a_peer_s_chain_is_read_as_it_is_sent() {
    let dir = Dir::new();
    let ca = ca("root").intermediate(CertificateSpec::ca("lower")).unwrap();
    let leaf = ca.issue(CertificateSpec::leaf("felix")).unwrap();
    assert_eq!(read_chain(dir.write("file", leaf.chain_pem())).unwrap(), leaf.chain());
    // The certificates are not parsed.
    let chain = read_chain(dir.write("file", pem("CERTIFICATE", b"no DER"))).unwrap();
    assert_eq!(chain, [CertificateDer::from(&b"no DER"[..])]);
    let damaged = pem("CERTIFICATE", b"no DER").replace("bm8g", "bm!g");
    let file = dir.write("file", leaf.chain_pem() + &damaged);
    assert_eq!(
        problem(&dir, "file", read_chain(file)),
        format!(
            "the block CERTIFICATE that begins in line {} is not valid base64; copy it again",
            leaf.chain_pem().lines().count() + 1
        )
    );
    assert!(matches!(read_chain(dir.path("missing")), Err(MaterialError::Read { .. })));
}
