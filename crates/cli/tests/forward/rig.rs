//! Both sidecars, and the programs at their plain sides.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use socket2::SockRef;
use tempfile::TempDir;
use typha_tls::testing::{CertificateSpec, FELIX_COMMON_NAME, Purpose, TYPHA_COMMON_NAME, TestLeaf, TestPki};

/// How long anything may take that is to happen.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// Files and configurations of both ends.
pub(crate) struct Site {
    pub(crate) pki: TestPki,
    pub(crate) dir: TempDir,
}

impl Site {
    pub(crate) fn new() -> Self {
        let this = Self { pki: TestPki::new().unwrap(), dir: TempDir::new().unwrap() };
        this.write("ca.pem", &this.pki.ca.root_pem());
        this.write_leaf("felix", &this.pki.felix);
        this.write_leaf("typha", &this.pki.typha);
        let stranger = CertificateSpec::leaf("stranger").purpose(Purpose::ClientAuth);
        this.write_leaf("stranger", &this.pki.ca.issue(stranger).unwrap());
        let files = |ca: &str, cert: &str, key: &str, leaf: &str| {
            let path = |name: &str| this.path(name);
            format!(
                "{ca}={}\n{cert}={}\n{key}={}\n",
                path("ca.pem"),
                path(&format!("{leaf}.pem")),
                path(&format!("{leaf}.key"))
            )
        };
        for name in ["felix", "stranger"] {
            let felix = files("TyphaCAFile", "TyphaCertFile", "TyphaKeyFile", name);
            // Some of these connections are idle for longer than Calico's.
            let felix = format!("{felix}TyphaCN={TYPHA_COMMON_NAME}\nTyphaReadTimeout=600\n");
            this.write(&format!("{name}.cfg"), &felix);
        }
        let typha = files("CAFile", "ServerCertFile", "ServerKeyFile", "typha");
        this.write("typha.cfg", &format!("{typha}ClientCN={FELIX_COMMON_NAME}\n"));
        this
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    /// Replaces a file as a whole.
    pub(crate) fn write(&self, name: &str, contents: &str) {
        std::fs::write(self.path("new"), contents).unwrap();
        // A key that others can read is a warning.
        std::fs::set_permissions(self.path("new"), std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::rename(self.path("new"), self.path(name)).unwrap();
    }

    pub(crate) fn write_leaf(&self, name: &str, leaf: &TestLeaf) {
        self.write(&format!("{name}.key"), &leaf.key_pem());
        self.write(&format!("{name}.pem"), &leaf.chain_pem());
    }

    /// Typha's sidecar.
    pub(crate) fn typha(&self, forward: &str, more: &[&str]) -> Daemon {
        let config = self.path("typha.cfg");
        let arguments = ["typha", "--listen", "127.0.0.1:0", "--config", &config, "--forward", forward];
        Daemon::start(&[&arguments[..], more].concat())
    }

    /// Typha's sidecar, with its log in a file.
    pub(crate) fn typha_logging(&self, forward: &str, log: &str) -> Daemon {
        let config = self.path("typha.cfg");
        let arguments = ["typha", "--listen", "127.0.0.1:0", "--config", &config, "--forward", forward];
        let mut command = command(&arguments);
        command.stderr(File::create(log).unwrap());
        Daemon::spawn(command)
    }

    /// Felix's sidecar.
    pub(crate) fn felix(&self, typha: &Daemon, listen: &str, more: &[&str]) -> Daemon {
        self.felix_as("felix", typha, listen, more)
    }

    pub(crate) fn felix_as(&self, name: &str, typha: &Daemon, listen: &str, more: &[&str]) -> Daemon {
        let config = self.path(&format!("{name}.cfg"));
        let arguments = ["felix", "--connect", &typha.address, "--config", &config, "--listen", listen];
        Daemon::start(&[&arguments[..], more].concat())
    }
}

pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_typha-tls"));
    // Nothing of the machine's own configuration gets in.
    command.args(arguments).env_clear().stdin(Stdio::null());
    command
}

/// A running sidecar; killed when dropped.
pub(crate) struct Daemon {
    pub(crate) process: Child,
    pub(crate) address: String,
    /// The address of its metrics, if it serves them.
    pub(crate) metrics: Option<String>,
    lines: Receiver<Value>,
}

impl Daemon {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::spawn(command(arguments))
    }

    fn spawn(mut command: Command) -> Self {
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = lines_of(process.stdout.take().unwrap());
        let first = lines.recv_timeout(SOON).expect("it does not start");
        assert_eq!(first["event"], "listening", "{first}");
        let text = |name: &str| first[name].as_str().map(str::to_owned);
        Self { process, address: text("address").unwrap(), metrics: text("metrics"), lines }
    }

    /// The next line with this event; those before it are dropped.
    pub(crate) fn next(&self, event: &str) -> Value {
        self.next_where(|line| line["event"] == event)
    }

    pub(crate) fn next_where(&self, is_wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let line = self.lines.recv_timeout(SOON).expect("the line does not come");
            if is_wanted(&line) {
                return line;
            }
        }
    }

    /// Ends it by SIGTERM. Returns the exit code and the lines that it has printed since.
    pub(crate) fn terminate(mut self) -> (Option<i32>, Vec<Value>) {
        self.signal("TERM");
        let code = self.process.wait().unwrap().code();
        (code, self.lines.iter().collect())
    }

    pub(crate) fn signal(&self, signal: &str) {
        let kill =
            Command::new("kill").args([&format!("-{signal}"), &self.process.id().to_string()]).status();
        assert!(kill.unwrap().success());
    }

    /// A connection to its side without TLS.
    pub(crate) fn connect(&self) -> TcpStream {
        bounded(TcpStream::connect(&self.address).unwrap())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The lines, read by a thread so that the process never waits for us.
fn lines_of(stdout: ChildStdout) -> Receiver<Value> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            // Read on, even if nobody wants it.
            let _ = sender.send(serde_json::from_str(&line).expect("a JSON line"));
        }
    });
    receiver
}

/// The stream, whose reads and writes do not hang.
pub(crate) fn bounded(stream: TcpStream) -> TcpStream {
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.set_write_timeout(Some(SOON)).unwrap();
    stream
}

/// A program without TLS.
pub(crate) struct Backend(TcpListener);

impl Backend {
    pub(crate) fn new() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    pub(crate) fn accept(&self) -> TcpStream {
        bounded(self.0.accept().unwrap().0)
    }
}

/// A program without TLS, and both sidecars before it.
pub(crate) struct Pair {
    pub(crate) site: Site,
    pub(crate) backend: Backend,
    pub(crate) typha: Daemon,
    pub(crate) felix: Daemon,
}

impl Pair {
    pub(crate) fn new() -> Self {
        Self::with(&[], &[])
    }

    pub(crate) fn with(of_typha: &[&str], of_felix: &[&str]) -> Self {
        let (site, backend) = (Site::new(), Backend::new());
        let typha = site.typha(&backend.address().to_string(), of_typha);
        let felix = site.felix(&typha, "127.0.0.1:0", of_felix);
        Self { site, backend, typha, felix }
    }

    /// A connection through both, as its two ends have it: the client, and the server.
    pub(crate) fn connect(&self) -> [TcpStream; 2] {
        let client = self.felix.connect();
        [client, self.backend.accept()]
    }
}

/// Ends a connection by a reset.
pub(crate) fn reset(stream: TcpStream) {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
}

/// What arrives until the end, and how it ends.
pub(crate) fn rest(mut stream: &TcpStream) -> (Vec<u8>, Result<(), io::ErrorKind>) {
    let mut received = Vec::new();
    let ended = stream.read_to_end(&mut received).map(drop).map_err(|error| error.kind());
    (received, ended)
}
