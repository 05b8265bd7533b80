//! Calico's parameters for etcd, by component: what they mean, and every reason why they can not be used.

use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;
use typha_tls::config::Sources;
use typha_tls_etcd::{EtcdConfig, EtcdConfigError};

/// A folder with the files `ca`, `cert` and `key`, which only have to exist here.
pub(crate) struct Files(TempDir);

impl Files {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["ca", "cert", "key"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        Self(dir)
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    pub(crate) fn write(&self, name: &str, contents: &str) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, contents).unwrap();
        path
    }

    /// The text with the folder in place of `DIR`.
    pub(crate) fn expand(&self, text: &str) -> String {
        text.replace("DIR", &self.0.path().display().to_string())
    }

    /// Sources with the prefix of Felix and this environment.
    fn sources(&self, environment: &[(&str, &str)]) -> Sources {
        let variables = environment.iter().map(|(name, value)| ((*name).to_owned(), self.expand(value)));
        Sources::none().with_environment(variables).with_prefixes(["FELIX_"])
    }
}

/// Endpoints, files and user in one line.
pub(crate) fn shown(config: Result<EtcdConfig, EtcdConfigError>, files: &Files) -> String {
    let config = match config {
        Ok(config) => config,
        Err(error) => {
            let text = typha_tls::error::WithCauses(&error).to_string();
            return format!("{}: {}", error.label(), text.replace(&files.path(""), "DIR/"));
        }
    };
    let mut parts: Vec<_> = config.endpoints.iter().map(ToString::to_string).collect();
    parts.extend([&config.files.ca_file].map(|file| format!("ca={}", file.display())));
    if let Some((cert, key)) = &config.files.own_files {
        parts.push(format!("cert={} key={}", cert.display(), key.display()));
    }
    parts.extend(config.user.map(|user| format!("user={} password={}", user.name(), user.password())));
    parts.join(" ").replace(&files.path(""), "DIR/")
}

/// Calls `read` with each environment and compares the outcome.
fn check(
    read: impl Fn(&Sources, &Files) -> Result<EtcdConfig, EtcdConfigError>,
    cases: &[(&[(&str, &str)], &str)],
) {
    let files = Files::new();
    for (environment, outcome) in cases {
        assert_eq!(shown(read(&files.sources(environment), &files), &files), *outcome, "{environment:?}");
    }
}

const CA: (&str, &str) = ("FELIX_ETCDCAFILE", "DIR/ca");
const CERT: (&str, &str) = ("FELIX_ETCDCERTFILE", "DIR/cert");
const KEY: (&str, &str) = ("FELIX_ETCDKEYFILE", "DIR/key");

#[test]
fn of_felix() {
    check(
        |sources, _| EtcdConfig::felix(sources),
        &[
            (
                &[
                    ("FELIX_ETCDENDPOINTS", "https://a:2379, https://10.0.0.7:1,https://[2001:db8::1]:2"),
                    CA,
                    CERT,
                    KEY,
                ],
                "https://a:2379 https://10.0.0.7:1 https://[2001:db8::1]:2 ca=DIR/ca cert=DIR/cert key=DIR/key",
            ),
            // The server alone is authenticated.
            (&[("FELIX_ETCDENDPOINTS", "https://a:2379"), CA], "https://a:2379 ca=DIR/ca"),
            (&[("FELIX_ETCDADDR", "b:4001"), ("FELIX_ETCDSCHEME", "https"), CA], "https://b:4001 ca=DIR/ca"),
            // The endpoints win over the address.
            (
                &[
                    ("FELIX_ETCDENDPOINTS", "https://a:2379"),
                    ("FELIX_ETCDADDR", "b:4001"),
                    ("FELIX_ETCDSCHEME", "https"),
                    CA,
                ],
                "https://a:2379 ca=DIR/ca",
            ),
            // The scheme alone uses the default address.
            (&[("FELIX_ETCDSCHEME", "https"), CA], "https://127.0.0.1:2379 ca=DIR/ca"),
            // Below Felix's parameters: CALICO_ETCD_..., then ETCD_...
            (
                &[
                    ("CALICO_ETCD_ENDPOINTS", "https://c:1"),
                    ("ETCD_ENDPOINTS", "https://d:1"),
                    ("ETCD_CA_CERT_FILE", "DIR/ca"),
                    ("FELIX_ETCDSCHEME", "https"),
                    ("ETCD_USERNAME", "felix"),
                    ("ETCD_PASSWORD", "secret"),
                ],
                "https://c:1 ca=DIR/ca user=felix password=secret",
            ),
            // `none` also stands for what a lower source sets.
            (
                &[
                    ("ETCD_ENDPOINTS", "https://d:1"),
                    ("FELIX_ETCDENDPOINTS", "none"),
                    ("FELIX_ETCDCERTFILE", "None"),
                    ("FELIX_ETCDKEYFILE", "none"),
                    ("ETCD_CERT_FILE", "DIR/cert"),
                    ("ETCD_KEY_FILE", "DIR/key"),
                    CA,
                ],
                "https://d:1 ca=DIR/ca",
            ),
            (
                &[
                    ("ETCD_ENDPOINTS", "https://d:1"),
                    ("FELIX_ETCDADDR", "b:4001"),
                    ("FELIX_ETCDSCHEME", "https"),
                    CA,
                ],
                "https://b:4001 ca=DIR/ca",
            ),
        ],
    );
}

#[test]
fn of_typha() {
    let typha = |sources: &Sources, _: &Files| {
        let sources = sources.clone().with_prefixes(["TYPHA_"]);
        EtcdConfig::typha(&sources)
    };
    check(
        typha,
        &[
            (
                &[("TYPHA_ETCDENDPOINTS", "https://a:2379"), ("TYPHA_ETCDCAFILE", "DIR/ca")],
                "https://a:2379 ca=DIR/ca",
            ),
            (
                &[
                    ("TYPHA_ETCDSCHEME", "https"),
                    ("TYPHA_ETCDCAFILE", "DIR/ca"),
                    ("ETCD_ENDPOINTS", "https://d:1"),
                ],
                "https://127.0.0.1:2379 ca=DIR/ca",
            ),
            // It does not read ETCD_....
            (
                &[("ETCD_ENDPOINTS", "https://d:1"), ("ETCD_CA_CERT_FILE", "DIR/ca")],
                "no_endpoint: no parameter says where etcd is; set EtcdEndpoints to https://HOST:PORT; separate \
                 several by commas",
            ),
        ],
    );
}

#[test]
fn of_the_environment() {
    const ENDPOINTS: (&str, &str) = ("ETCD_ENDPOINTS", "https://a:1");
    const CA: (&str, &str) = ("ETCD_CA_CERT_FILE", "DIR/ca");
    check(
        |sources, _| EtcdConfig::environment(sources),
        &[
            (
                &[
                    ENDPOINTS,
                    CA,
                    ("ETCD_CERT_FILE", "DIR/cert"),
                    ("ETCD_KEY_FILE", "DIR/key"),
                    ("ETCD_USERNAME", "u"),
                    ("ETCD_PASSWORD", "p"),
                ],
                "https://a:1 ca=DIR/ca cert=DIR/cert key=DIR/key user=u password=p",
            ),
            (
                &[ENDPOINTS, CA, ("ETCD_USERNAME", "u")],
                "incomplete: ETCD_USERNAME (from environment variable ETCD_USERNAME) is set, but ETCD_PASSWORD is not; \
                 set both, or neither",
            ),
            (
                &[ENDPOINTS, CA, ("CALICO_ETCD_PASSWORD", "p")],
                "incomplete: CALICO_ETCD_PASSWORD (from environment variable CALICO_ETCD_PASSWORD) is set, but \
                 ETCD_USERNAME is not; set both, or neither",
            ),
            // An empty variable with the prefix stands for one without it.
            (
                &[
                    ENDPOINTS,
                    CA,
                    ("ETCD_USERNAME", "u"),
                    ("ETCD_PASSWORD", "p"),
                    ("CALICO_ETCD_USERNAME", ""),
                    ("CALICO_ETCD_PASSWORD", ""),
                    ("ETCD_DISCOVERY_SRV", "example.org"),
                    ("CALICO_ETCD_DISCOVERY_SRV", ""),
                ],
                "https://a:1 ca=DIR/ca",
            ),
            (
                &[ENDPOINTS, CA, ("ETCD_DISCOVERY_SRV", "example.org")],
                "discovery: ETCD_DISCOVERY_SRV (from environment variable ETCD_DISCOVERY_SRV) is not supported; set \
                 the endpoints: `dig +short SRV _etcd-client-ssl._tcp.DOMAIN` lists them",
            ),
            (
                &[ENDPOINTS],
                "no_ca_file: ETCD_CA_CERT_FILE is not set, so that no CA is trusted; set it to the file of the CA \
                 that issued etcd's certificate",
            ),
        ],
    );
}

#[test]
fn of_cni() {
    let cni = |json: &'static str| {
        move |sources: &Sources, files: &Files| {
            EtcdConfig::cni(files.write("10-calico.conflist", &files.expand(json)), sources)
        }
    };
    let members = r#"{"name": "k8s", "type": "calico", "etcd_endpoints": "https://a:1", "etcd_ca_cert_file": "DIR/ca",
        "etcd_cert_file": "DIR/cert", "etcd_key_file": "DIR/key", "log_level": "info"}"#;
    let outcome = "https://a:1 ca=DIR/ca cert=DIR/cert key=DIR/key";
    check(
        cni(members),
        &[
            (&[], outcome),
            // The plugin sets ETCD_... from its file.
            (&[("ETCD_ENDPOINTS", "https://b:1")], outcome),
            (&[("CALICO_ETCD_ENDPOINTS", "https://b:1")], "https://b:1 ca=DIR/ca cert=DIR/cert key=DIR/key"),
            (
                &[("CALICO_ETCD_CERT_FILE", ""), ("CALICO_ETCD_KEY_FILE", ""), ("ETCD_KEY_FILE", "DIR/key")],
                "https://a:1 ca=DIR/ca",
            ),
        ],
    );
    // As Go reads it.
    let go = r#"{"plugins": [{"type": "calico", "ETCD_Endpoints": "https://a:1", "etcd_endpoints": "https://b:1",
        "Etcd_Endpoints": null, "etcd_CA_cert_file": "DIR/ca", "mtu": 1500}]}"#;
    check(cni(go), &[(&[], "https://b:1 ca=DIR/ca")]);
    let discovery =
        r#"{"type": "calico", "etcd_discovery_srv": "example.org", "etcd_ca_cert_file": "DIR/ca"}"#;
    check(
        cni(discovery),
        &[
            (
                &[],
                "discovery: etcd_discovery_srv (from file DIR/10-calico.conflist) is not supported; set the endpoints: \
                 `dig +short SRV _etcd-client-ssl._tcp.DOMAIN` lists them",
            ),
            (
                &[("CALICO_ETCD_DISCOVERY_SRV", ""), ("ETCD_ENDPOINTS", "https://b:1")],
                "https://b:1 ca=DIR/ca",
            ),
        ],
    );
    let list = r#"{"cniVersion": "0.3.1", "plugins": [{"type": "portmap"}, {"type": "calico", "etcd_endpoints": "",
        "etcd_ca_cert_file": "DIR/ca"}]}"#;
    check(
        cni(list),
        &[(
            &[("ETCD_ENDPOINTS", "https://b:1"), ("ETCD_USERNAME", "u"), ("ETCD_PASSWORD", "p")],
            "https://b:1 ca=DIR/ca user=u password=p",
        )],
    );
    for (json, place) in [
        ("etcd_endpoints: x", "line 1, column 1"),
        ("[]", "line 1, column 0"),
        ("{\n\"type\": \"calico\", \"etcd_key_file\": 4711}", "line 2, column 39"),
    ] {
        let text = format!("file: DIR/10-calico.conflist: it is not a JSON file of CNI: see {place}");
        check(cni(json), &[(&[], &text)]);
    }
}

#[test]
fn of_neutron() {
    let neutron = |ini: &'static str| {
        move |sources: &Sources, files: &Files| {
            EtcdConfig::neutron(files.write("neutron.conf", &files.expand(ini)), sources)
        }
    };
    check(
        neutron(
            "[DEFAULT]\netcd_host = other\n[calico]\n# a comment\netcd_host = etcd.example\netcd_port = 4001\n\
             etcd_ca_cert_file = DIR/ca\netcd_cert_file=DIR/cert\netcd_key_file=DIR/key\netcd_username = u\n\
             etcd_password = p\\n%x\n[ovs]\netcd_host = another\n",
        ),
        // The environment does not count.
        &[(
            &[("ETCD_ENDPOINTS", "https://b:1")],
            "https://etcd.example:4001 ca=DIR/ca cert=DIR/cert key=DIR/key user=u password=p\\n%x",
        )],
    );
    check(neutron("[calico]\netcd_ca_cert_file = DIR/ca\n"), &[(&[], "https://127.0.0.1:2379 ca=DIR/ca")]);
    check(
        neutron("[calico]\netcd_host = 2001:db8::1\netcd_ca_cert_file = DIR/ca\n"),
        &[(&[], "https://[2001:db8::1]:2379 ca=DIR/ca")],
    );
    check(
        neutron("[DEFAULT]\n"),
        &[(
            &[],
            "clear_text: etcd_host (from the default) has the endpoint \"http://127.0.0.1:2379\": everything would be \
             sent in the clear; set etcd_ca_cert_file",
        )],
    );
    check(
        neutron("[calico]\netcd_ca_cert_file = DIR/ca\netcd_username = u\netcd_password =\n"),
        &[(
            &[],
            "incomplete: etcd_username (from file DIR/neutron.conf) is set, but etcd_password is not; set both, or \
             neither",
        )],
    );
    check(
        neutron("[calico]\netcd_host = root:hunter2\netcd_ca_cert_file = DIR/ca\n"),
        &[(
            &[],
            "value: etcd_host (from file DIR/neutron.conf) has the value \"(not shown: it may have a password)\": it \
             has more than one colon; write https://HOST:PORT, with an IPv6 address in brackets",
        )],
    );
}

#[test]
fn what_calico_ignores_is_an_error() {
    const HTTP: (&str, &str) = ("FELIX_ETCDENDPOINTS", "http://a:2379");
    const HTTPS: (&str, &str) = ("FELIX_ETCDENDPOINTS", "https://a:2379");
    check(
        |sources, _| EtcdConfig::felix(sources),
        &[
            (
                &[HTTP, CA, CERT, KEY],
                "clear_text: EtcdEndpoints (from environment variable FELIX_ETCDENDPOINTS) has the endpoint \
                 \"http://a:2379\": everything would be sent in the clear, and EtcdCaFile, EtcdCertFile, EtcdKeyFile would \
                 be ignored; write https://",
            ),
            (
                &[HTTP],
                "clear_text: EtcdEndpoints (from environment variable FELIX_ETCDENDPOINTS) has the endpoint \
                 \"http://a:2379\": everything would be sent in the clear; write https://",
            ),
            // The default scheme.
            (
                &[("FELIX_ETCDADDR", "b:4001"), CA],
                "clear_text: EtcdAddr (from environment variable FELIX_ETCDADDR) has the endpoint \"http://b:4001\": \
                 everything would be sent in the clear, and EtcdCaFile would be ignored; set EtcdScheme to https",
            ),
            (
                &[("FELIX_ETCDENDPOINTS", "https://a:1,http://b:1"), CA],
                "mixed_schemes: EtcdEndpoints (from environment variable FELIX_ETCDENDPOINTS) mixes https:// and \
                 http://, and Calico uses the first one's scheme for all; write https:// for all",
            ),
            (
                &[HTTPS, CA, CERT],
                "incomplete: EtcdCertFile (from environment variable FELIX_ETCDCERTFILE) is set, but EtcdKeyFile is \
                 not; set both, or neither",
            ),
            (
                &[HTTPS, CA, KEY],
                "incomplete: EtcdKeyFile (from environment variable FELIX_ETCDKEYFILE) is set, but EtcdCertFile is \
                 not; set both, or neither",
            ),
            (
                &[HTTPS, CERT, KEY],
                "no_ca_file: EtcdCaFile is not set, so that no CA is trusted; set it to the file of the CA that \
                 issued etcd's certificate",
            ),
            (
                &[HTTPS, ("FELIX_ETCDCAFILE", "DIR/absent")],
                "unreadable_file: EtcdCaFile (from environment variable FELIX_ETCDCAFILE): DIR/absent can not be read: \
                 No such file or directory (os error 2); correct the path or the permissions",
            ),
            (
                &[HTTPS, ("FELIX_ETCDCAFILE", "DIR/")],
                "unreadable_file: EtcdCaFile (from environment variable FELIX_ETCDCAFILE): DIR/ can not be read: it is \
                 not a regular file; correct the path or the permissions",
            ),
        ],
    );
}

#[test]
fn endpoints_that_can_not_be_used() {
    let files = Files::new();
    for (endpoint, problem) in [
        ("a:2379", "it has no scheme; write https://HOST:PORT"),
        ("ftp://a:2379", "its scheme is neither https nor http; write https://HOST:PORT"),
        ("https://a:2379/v3", "it has a path; write https://HOST:PORT"),
        ("https://a:2379?x", "it has a path; write https://HOST:PORT"),
        ("https://a", "it has no port; write https://HOST:PORT, where etcd's port is usually 2379"),
        ("https://a:0", "it has no port; write https://HOST:PORT, where etcd's port is usually 2379"),
        (
            "https://0.0.0.0:2379",
            "the host 0.0.0.0 is not the address of one server; give the name or the address that the certificate has",
        ),
        ("https://*.a:2379", "the host \"*.a\" is a wildcard; give the name of one server"),
    ] {
        let sources = files.sources(&[("FELIX_ETCDENDPOINTS", endpoint), CA]);
        let text = format!(
            "value: EtcdEndpoints (from environment variable FELIX_ETCDENDPOINTS) has the value \"{endpoint}\": \
             {problem}"
        );
        assert_eq!(shown(EtcdConfig::felix(&sources), &files), text);
    }
}

#[test]
fn endpoints_that_may_have_a_password_are_not_shown() {
    let files = Files::new();
    let user = "it has a user; write https://HOST:PORT, and set user and password by their own parameters";
    let colons = "it has more than one colon; write https://HOST:PORT, with an IPv6 address in brackets";
    for (endpoints, problem) in [
        ("https://u:hunter2@a:2379", user),
        ("https://u:hunter2@[2001:db8::1]:2379", user),
        ("http://u:hunter2@a:2379", user),
        ("u:hunter2@a:2379", user),
        // Commas separate endpoints.
        ("https://u:hunt,er2@a:2379", user),
        ("https://a:1,https://u:hunter2,x@b:1", user),
        ("https://u:hunter2:a:2379", colons),
        ("u:hunter2:a", colons),
        ("https://u:hunter2%40[2001:db8::1]:2379", colons),
        ("https://2001:db8::1:2379", colons),
    ] {
        let sources = files.sources(&[("FELIX_ETCDENDPOINTS", endpoints), CA]);
        let text = format!(
            "value: EtcdEndpoints (from environment variable FELIX_ETCDENDPOINTS) has the value \"(not shown: it may \
             have a password)\": {problem}"
        );
        assert_eq!(shown(EtcdConfig::felix(&sources), &files), text, "{endpoints}");
    }
}

/// Nothing waits for the writer of a pipe, and nothing fills the memory.
#[cfg(unix)]
#[test]
fn only_regular_files_are_read() {
    let files = Files::new();
    let pipe = files.0.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let large = files.write("large", &" ".repeat(1024 * 1024 + 1));
    let none = &Sources::none();
    for (path, problem) in [
        (pipe.as_path(), "it is not a regular file"),
        (std::path::Path::new("/dev/zero"), "it is not a regular file"),
        (&large, "it is larger than 1 MiB"),
    ] {
        let shown_path = path.display().to_string().replace(&files.path(""), "DIR/");
        let text = format!("file: {shown_path}: it can not be read: {problem}");
        assert_eq!(shown(EtcdConfig::cni(path, none), &files), text);
        assert_eq!(shown(EtcdConfig::neutron(path, none), &files), text);
    }
    let parameters = [("ETCD_ENDPOINTS", "https://a:1"), ("ETCD_CA_CERT_FILE", "DIR/pipe")];
    assert_eq!(
        shown(EtcdConfig::environment(&files.sources(&parameters)), &files),
        "unreadable_file: ETCD_CA_CERT_FILE (from environment variable ETCD_CA_CERT_FILE): DIR/pipe can not be read: \
         it is not a regular file; correct the path or the permissions"
    );
}

#[test]
fn the_policy_is_that_of_the_process() {
    let files = Files::new();
    let https = ("FELIX_ETCDENDPOINTS", "https://a:2379");
    let config = EtcdConfig::felix(&files.sources(&[https, CA, ("TLS_MIN_VERSION", "1.3")])).unwrap();
    assert_eq!(config.policy.versions().len(), 1);
    let error = EtcdConfig::felix(&files.sources(&[https, CA, ("TLS_MIN_VERSION", "1.1")])).unwrap_err();
    assert_eq!(error.label(), "parameters");
}

#[test]
fn a_password_is_not_shown() {
    let files = Files::new();
    let sources = files.sources(&[
        ("ETCD_ENDPOINTS", "https://a:1"),
        ("ETCD_CA_CERT_FILE", "DIR/ca"),
        ("ETCD_USERNAME", "u"),
        ("ETCD_PASSWORD", "hunter2"),
    ]);
    let config = EtcdConfig::environment(&sources).unwrap();
    assert!(!format!("{config:?}").contains("hunter2"));
}
