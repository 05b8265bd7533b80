//! Makes the revocation list among the fixtures, and the seeds in `corpus/`.

use std::error::Error;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex, split};
use typha_tls::testing::{
    CertificateSpec, FELIX_COMMON_NAME, FELIX_SPIFFE_ID, KeyType, Purpose, StringType, TestLeaf,
};
use typha_tls::{FelixConnector, TlsConfig, TyphaAcceptor};
use typha_tls_fuzz::certificate::{Parts, revocation_list};
use typha_tls_fuzz::fixtures::{
    CA, CERTIFICATES, FELIX, FELIX_KEY, POLICY, SIGNER, TLS12, TYPHA, TYPHA_KEY, UNTRUSTED, material,
    required_felix, required_typha,
};
use typha_tls_fuzz::input::{Input, counted};

type Outcome = Result<(), Box<dyn Error>>;

fn main() -> Outcome {
    let list = pem::encode(&pem::Pem::new("X509 CRL", revocation_list()));
    write("../fixtures", "revocation-list.pem", list.as_bytes())?;
    acceptor()?;
    config()?;
    host()?;
    leaf()?;
    pem_files(&list)?;
    verify()
}

/// A subject and subject alternative names, as `Parts` reads them.
fn parts(attributes: &[(u8, u8, &[u8])], names: &[(u8, &[u8])]) -> Vec<u8> {
    let subject: Vec<u8> = attributes
        .iter()
        .flat_map(|(selector, tag, value)| [&[*selector, *tag, value.len() as u8], *value].concat())
        .collect();
    let names: Vec<u8> =
        names.iter().flat_map(|(tag, value)| [&[*tag, value.len() as u8], *value].concat()).collect();
    [vec![1], counted(&subject), counted(&names)].concat()
}

const UTF8: u8 = 0x0c;
const URI: u8 = 0x86;

fn all_parts() -> Vec<(&'static str, Vec<u8>)> {
    let felix = (0, UTF8, FELIX_COMMON_NAME.as_bytes());
    let uri = (URI, FELIX_SPIFFE_ID.as_bytes());
    let usage: &[u8] =
        b"\x30\x13\x06\x03\x55\x1d\x25\x04\x0c\x30\x0a\x06\x08\x2b\x06\x01\x05\x05\x07\x03\x02";
    // As long as their texts can become: in a name, in names of a leaf, in an object identifier.
    let long = [0x0b; 70];
    let attribute = (4, UTF8, &long[..]);
    let long_uri = [b'x'; 200];
    let mut long_extension = vec![0x30, 0x82, 2, 10, 0x06, 0x82, 2, 1, 0x2a];
    long_extension.extend([0x7f; 512]);
    long_extension.extend(b"\x01\x01\xff\x04\x00");
    let other: &[u8] = b"\x30\x0a\x06\x03\x2a\x03\x04\x01\x01\xff\x04\x00";
    vec![
        ("both", parts(&[felix], &[uri])),
        ("usage", [&parts(&[felix], &[uri]), usage].concat()),
        ("critical", [&parts(&[felix], &[uri]), other].concat()),
        ("common-name", parts(&[(1, 0x13, b"Example"), felix], &[])),
        ("uri", parts(&[], &[uri])),
        ("two-names", parts(&[(3, 0x16, b"com"), (0, UTF8, b"Users"), felix], &[])),
        ("two-in-a-set", parts(&[(0, UTF8, b"Users"), (0x80, 0x13, b"typha-client")], &[])),
        ("bmp", parts(&[(0, 0x1e, b"\0t\0y\xd8\x3d\xde\x00")], &[])),
        ("teletex", parts(&[(0, 0x14, b"caf\xe9")], &[])),
        ("numeric", parts(&[(4, 0x12, b"12 3"), felix], &[])),
        (
            "kinds",
            parts(
                &[felix],
                &[(0x81, b"a@b"), (0x82, b"a.b"), (0x87, &[10, 0, 0, 1]), (0x88, &[42, 3, 4]), uri],
            ),
        ),
        (
            "many-uris",
            parts(&[(0, UTF8, b"")], &[(URI, b"a:b"), (URI, b"c:d"), (URI, b"e:f"), (URI, b"g:h"), uri]),
        ),
        ("long-names", parts(&[attribute; 4], &[])),
        ("long-names-self-issued", [&[3], &parts(&[attribute; 4], &[])[1..]].concat()),
        ("long-uris", parts(&[(0, UTF8, &long)], &[(URI, &long_uri[..]); 4])),
        ("long-extension", [parts(&[felix], &[uri]), long_extension].concat()),
        ("odd-uri", parts(&[felix], &[(URI, b"spiffe://td/\0")])),
    ]
}

fn host() -> Outcome {
    const DNS: u8 = 0x82;
    const IP: u8 = 0x87;
    /// The tags and values of subject alternative names.
    type Names<'a> = &'a [(u8, &'a [u8])];
    let inputs: [(&str, &str, Names<'_>); 16] = [
        ("name", "etcd.example.org", &[(DNS, b"etcd.example.org")]),
        ("name-upper-case", "ETCD.example.org.", &[(DNS, b"etcd.Example.ORG")]),
        ("name-final-dot", "etcd.example.org", &[(DNS, b"etcd.example.org.")]),
        ("name-nul", "etcd.example.org", &[(DNS, b"etcd.example.org\0.x")]),
        ("name-second", "etcd", &[(URI, b"a:b"), (DNS, b"other"), (DNS, b"etcd")]),
        ("name-international", "xn--bcher-kva.example", &[(DNS, b"xn--bcher-kva.example")]),
        ("wildcard", "etcd.example.org", &[(DNS, b"*.example.org")]),
        ("wildcard-single", "example.org", &[(DNS, b"*.org")]),
        ("wildcard-part", "etcd.example.org", &[(DNS, b"e*d.example.org")]),
        ("wildcard-second", "etcd.example.org", &[(DNS, b"etcd.*.org")]),
        ("ipv4", "10.0.0.1", &[(IP, &[10, 0, 0, 1])]),
        ("ipv4-as-name", "10.0.0.1", &[(DNS, b"10.0.0.1")]),
        ("ipv4-short", "10.0.0.1", &[(IP, &[10, 0, 1]), (IP, &[10, 0, 0, 1])]),
        ("ipv4-mapped", "::ffff:10.0.0.1", &[(IP, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 1])]),
        ("ipv6", "[::1]", &[(IP, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1])]),
        ("none", "etcd", &[]),
    ];
    for (name, host, names) in inputs {
        let parts = parts(&[(0, UTF8, host.as_bytes())], names);
        write("host", name, &[counted(host.as_bytes()), parts].concat())?;
    }
    for host in ["", "*.example.org", "fe80::1%eth0", "0.0.0.0", "etcd:2379", "b\u{fc}cher"] {
        let name: String = host.chars().filter(char::is_ascii_alphanumeric).collect();
        write("host", &format!("invalid-{name}"), &counted(host.as_bytes()))?;
    }
    Ok(())
}

fn leaf() -> Outcome {
    for (name, parts) in all_parts() {
        write("leaf", &format!("parts-{name}"), &parts)?;
    }
    let spec = CertificateSpec::unnamed;
    let named = || CertificateSpec::leaf(FELIX_COMMON_NAME);
    let specs = [
        ("bmp", spec().common_name_as(StringType::Bmp, "t\u{fc}pha")),
        ("ia5", spec().common_name_as(StringType::Ia5, "typha@client")),
        ("printable", spec().common_name_as(StringType::Printable, "typha-client")),
        ("teletex", spec().common_name_as(StringType::Teletex, "typha-client")),
        ("universal", spec().common_name_as(StringType::Universal, "typha-client")),
        ("utf8", spec().common_name("t\u{fc}pha")),
        ("two", named().common_name("last")),
        ("unnamed", spec()),
        ("kinds", named().uri_san(FELIX_SPIFFE_ID).dns_san("a.b").ip_san(Ipv4Addr::LOCALHOST.into())),
        ("uris", spec().uri_san("https://a/b?c#d").uri_san("urn:x:y").uri_san(FELIX_SPIFFE_ID)),
        ("usages", named().purpose(Purpose::Any).purpose(Purpose::CodeSigning)),
        ("p384", named().key_type(KeyType::P384)),
        ("ed25519", named().key_type(KeyType::Ed25519)),
        ("extension", named().extension(&[1, 2, 3, 4], true, b"\x05\x00")),
        ("ca", CertificateSpec::ca("ca").path_length(1)),
    ];
    for (name, spec) in specs {
        write("leaf", &format!("{name}.der"), &TestLeaf::self_signed(spec)?.chain()[0])?;
    }
    Ok(())
}

fn pem_files(list: &str) -> Outcome {
    let text = String::from_utf8_lossy;
    let crlf = |pem: &[u8]| text(pem).replace('\n', "\r\n");
    let rsa = TestLeaf::self_signed(CertificateSpec::leaf("rsa").key_type(KeyType::Rsa2048))?;
    // What PKCS#8 wraps begins behind a version and an algorithm identifier, which these kinds of key have in one
    // length.
    let bare = |label: &str, pem: &[u8], start: usize| -> Result<String, Box<dyn Error>> {
        Ok(pem::encode(&pem::Pem::new(label, &pem::parse(pem)?.contents()[start..])))
    };
    let files = [
        ("bundle", text(&[CA, SIGNER].concat()).into_owned()),
        ("bundle-twice", text(&[CA, CA, SIGNER, UNTRUSTED].concat()).into_owned()),
        ("bundle-crlf", crlf(CA)),
        ("bundle-remarks", format!("# a remark\nSubject: CN = x\n{}\n\nend", text(CA))),
        ("chain", text(FELIX).into_owned()),
        ("chain-crlf", crlf(FELIX)),
        ("key-pkcs8", text(FELIX_KEY).into_owned()),
        ("key-sec1", bare("EC PRIVATE KEY", FELIX_KEY, 29)?),
        ("key-pkcs1", bare("RSA PRIVATE KEY", rsa.key_pem().as_bytes(), 26)?),
        ("key-of-another", text(TYPHA_KEY).into_owned()),
        (
            "key-with-parameters",
            format!(
                "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n{}",
                text(FELIX_KEY)
            ),
        ),
        (
            "key-encrypted",
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n".to_owned(),
        ),
        ("list", list.to_owned()),
        ("lists", list.repeat(2)),
    ];
    for (name, contents) in files {
        write("pem", name, contents.as_bytes())?;
    }
    Ok(())
}

/// Any file that is there will do: what is in it is not read.
const FILE: &str = "/etc/passwd";

fn config() -> Outcome {
    let typha = format!("CAFile = {FILE}\nServerCertFile = {FILE}\nServerKeyFile = {FILE}\n");
    let felix = format!("TyphaCAFile = {FILE}\nTyphaCertFile = {FILE}\nTyphaKeyFile = {FILE}\n");
    let environment =
        format!("TYPHA_CAFILE={FILE}\ntypha_ServerCertFile={FILE}\nTYPHA_SERVERKEYFILE={FILE}\n");
    let files = [
        ("typha", format!("[global]\n{typha}ClientCN = typha-client\nClientURISAN = {FELIX_SPIFFE_ID}\n")),
        ("typha-common-name", format!("{typha}ClientCN = typha-client\n")),
        ("typha-incomplete", "CAFile = /etc/passwd\n".to_owned()),
        ("typha-crlf", format!("{typha}ClientCN = typha-client\n").replace('\n', "\r\n")),
        ("typha-sections", format!("# a\n[a]\nX = 1\n; b\n[b]\n{typha}[c]\nClientCN: \"typha-client\"\n")),
        ("typha-remarks", format!("\u{feff}{typha}ClientCN = typha-client # remark\nClientURISAN =\n")),
        ("typha-indented", format!("[a]\n  # remark\n  ClientCN = x\n{typha}")),
        ("typha-continued", format!("X = a\\\nb\n# c \\\n{typha}ClientURISAN = urn:x:y\n")),
        ("typha-quoted", format!("X = \"a\n{typha}ClientCN = 'x'\nY = b\"\n")),
        ("typha-behind-remark", "[a]\n  # remark\nClientCN = x\n".to_owned()),
        ("typha-behind-remark-continued", "# remark \\\nodd\nClientCN = x\n".to_owned()),
        ("typha-behind-crlf-continued", "X = a\\\r\nodd\r\nClientCN = x\r\n".to_owned()),
        ("typha-behind-section", "[a] odd\nClientCN = x\n".to_owned()),
        ("typha-in-section-name", "[a = b\nClientCN = x\nY = c]\n".to_owned()),
        ("typha-none", format!("{typha}ClientCN = none\nClientURISAN = urn:x:y\n\0TYPHA_CAFILE=NONE\n")),
        ("typha-others", "ServerHost = 0.0.0.0\nServerPort = 0\nServerHandshakeTimeoutSecs = \
                          0.5\nServerWriteTimeoutSecs = none\nMaxConnectionsUpperLimit = 7\nShutdownTimeoutSecs = \
                          1e3\n".to_owned()),
        (
            "environment",
            format!(
                "\0{environment}TYPHA_CLIENTCN=typha-client\nTLS_MIN_VERSION=1.3\n\
                 TLS_CIPHER_SUITES=TLS_AES_128_GCM_SHA256\n"
            ),
        ),
        ("environment-and-file", format!("ClientURISAN = urn:x:y\n\0{environment}TYPHA_ClientCN=\n")),
        ("environment-twice", format!("\0{environment}TYPHA_ClientCN=a\nTYPHA_CLIENTCN=b\n")),
        ("felix", format!("[global]\n{felix}TyphaCN = typha-server\n")),
        ("felix-others", format!("{felix}TyphaURISAN = urn:x:y\nTyphaAddr = [::1]:5473\nTyphaReadTimeout = \
                                  1.5\nTyphaK8sNamespace = none\n")),
        ("felix-wrong-end", format!("{felix}ClientCN = typha-server\n")),
    ];
    for (name, contents) in files {
        write("config", name, contents.as_bytes())?;
    }
    Ok(())
}

fn verify() -> Outcome {
    // Verifier, role and time; then fixtures by their place, counted from 3.
    let chains: [(&str, &[u8]); 8] = [
        ("felix", &[0, 0, 3, 4]),
        ("felix-revocation", &[1, 0, 3, 4]),
        ("felix-as-typha", &[0, 1, 3, 4]),
        ("felix-early", &[0, 2, 3, 4]),
        ("felix-late", &[0, 6, 3, 4]),
        ("incomplete", &[2, 0, 3]),
        ("ca", &[4, 0, 8]),
        ("altered", &[0, 0, 2, 0, 0, 200, 1, 4]),
    ];
    for (name, input) in chains {
        write("verify", name, input)?;
    }
    for index in 0..CERTIFICATES.len() {
        write("verify", &format!("fixture-{index}"), &[0, 0, 3 + index as u8])?;
    }
    for (name, parts) in all_parts() {
        write("verify", &format!("signed-{name}"), &[vec![0, 0, 1], counted(&parts)].concat())?;
    }
    let unsigned = Parts::read(Input::new(&all_parts()[0].1)).unsigned();
    write("verify", "unsigned", &[vec![0, 0, 0], counted(&unsigned)].concat())
}

fn acceptor() -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    for (name, policy) in [("tls13", &*POLICY), ("tls12", &*TLS12)] {
        let config = TlsConfig::new(material(FELIX, FELIX_KEY), required_typha(), policy.clone());
        let flight = runtime.block_on(client_flight(&FelixConnector::new(config)))?;
        write("acceptor", &format!("flight-{name}"), &[&[0][..], &flight].concat())?;
        write("acceptor", &format!("flight-{name}-open"), &[&[0x80][..], &flight].concat())?;
        let hello = 5 + usize::from(flight[3]) * 256 + usize::from(flight[4]);
        write("acceptor", &format!("hello-{name}"), &[&[0x80][..], &flight[..hello]].concat())?;
    }
    let inputs: [(&str, &[u8]); 12] = [
        ("silent", &[0x80]),
        ("closed", &[0]),
        ("http", b"\0GET / HTTP/1.1\r\n\r\n"),
        ("alert", &[0, 21, 3, 3, 0, 2, 2, 40]),
        ("untouched-tls13", &[1]),
        ("untouched-tls12", &[2]),
        ("stranger", &[3]),
        ("untrusted", &[4]),
        ("changed-hello", &[1, 0, 60, 1, 0xff]),
        ("changed-certificate", &[2, 1, 40, 1, 0xff]),
        ("cut", &[1, 2, 0, 0xff]),
        ("inserted", &[2, 1, 0, 0, 22, 3, 3, 0, 4, 0, 0, 0, 0]),
    ];
    for (name, input) in inputs {
        write("acceptor", name, input)?;
    }
    Ok(())
}

/// All that a Felix sends in a handshake that succeeds.
async fn client_flight(connector: &FelixConnector) -> Result<Vec<u8>, Box<dyn Error>> {
    let config = TlsConfig::new(material(TYPHA, TYPHA_KEY), required_felix(), POLICY.clone());
    let acceptor = TyphaAcceptor::new(config);
    let (typha, wire) = duplex(64 * 1024);
    let (felix, tap) = duplex(64 * 1024);
    let accept = tokio::spawn(async move { acceptor.accept(typha).await.map(drop) });
    let connect = connector.connect(felix);
    tokio::spawn(async move { connect.await.map(drop) });
    let (mut from_felix, mut to_felix) = split(tap);
    let (mut from_typha, mut to_typha) = split(wire);
    tokio::spawn(async move { tokio::io::copy(&mut from_typha, &mut to_felix).await });
    let (mut flight, mut buffer) = (Vec::new(), [0; 4096]);
    while let received @ 1.. = from_felix.read(&mut buffer).await? {
        flight.extend(&buffer[..received]);
        // Fails only when Typha has all that it needs.
        if to_typha.write_all(&buffer[..received]).await.is_err() {
            break;
        }
    }
    accept.await??;
    Ok(flight)
}

fn write(target: &str, name: &str, contents: &[u8]) -> Outcome {
    let folder: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    std::fs::create_dir_all(&folder)?;
    Ok(std::fs::write(folder.join(name), contents)?)
}
