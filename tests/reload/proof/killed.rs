//! A Typha that is killed in the middle of reloads: this test's program, run again.

use std::collections::BTreeMap;
use std::env;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, SystemTime};

use rustls::AlertDescription;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use typha_tls::FelixConnector;
use typha_tls::config::{Sources, TyphaConfig};
use typha_tls::reload::Reloaded;
use typha_tls::testing::{self, CertificateSpec, FELIX_COMMON_NAME, TYPHA_COMMON_NAME, TestCa, TestPki};

use super::held::{bounded, when_asked};

/// Set for the process that is Typha; what it is set to is its directory.
const FILES: &str = "RELOAD_PROOF_FILES";

/// What Typha has, and where its files are made before they are moved there.
struct Files {
    dir: TempDir,
    workshop: TempDir,
    pki: TestPki,
    second_ca: TestCa,
}

impl Files {
    fn new() -> Self {
        let (dir, workshop) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let second_ca = TestCa::new(CertificateSpec::ca("second-ca")).unwrap();
        let this = Self { dir, workshop, pki: TestPki::new().unwrap(), second_ca };
        let path = |name| this.dir.path().join(name).display().to_string();
        let configuration = format!(
            "CAFile={}\nServerCertFile={}\nServerKeyFile={}\nClientCN={FELIX_COMMON_NAME}\n",
            path("ca.pem"),
            path("typha.pem"),
            path("key.pem")
        );
        this.write("typha.pem", &this.pki.typha.chain_pem());
        this.write("key.pem", &this.pki.typha.key_pem());
        this.write("typha.cfg", &configuration);
        this.trust_second(false);
        this
    }

    fn write(&self, name: &str, contents: &str) {
        let new = self.workshop.path().join(name);
        std::fs::write(&new, contents).unwrap();
        std::fs::rename(new, self.dir.path().join(name)).unwrap();
    }

    fn trust_second(&self, too: bool) {
        let second = if too { self.second_ca.root_pem() } else { String::new() };
        self.write("ca.pem", &(self.pki.ca.root_pem() + &second));
    }

    /// All that is below the directory, with what is in it and when that was written.
    fn all(&self) -> BTreeMap<PathBuf, (Vec<u8>, SystemTime)> {
        let mut all = BTreeMap::new();
        let mut directories = vec![self.dir.path().to_owned()];
        while let Some(directory) = directories.pop() {
            for entry in std::fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                let contents = if path.is_dir() { Vec::new() } else { std::fs::read(&path).unwrap() };
                let modified = std::fs::symlink_metadata(&path).unwrap().modified().unwrap();
                if path.is_dir() {
                    directories.push(path.clone());
                }
                all.insert(path, (contents, modified));
            }
        }
        all
    }
}

/// Killed when dropped.
struct Typha {
    process: Child,
    lines: Receiver<String>,
    address: SocketAddr,
}

impl Typha {
    fn start(dir: &Path) -> Self {
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["proof::killed::is_a_typha", "--exact", "--nocapture"]);
        // Whatever it would write without being told where, is written there.
        command.env(FILES, dir).env("TMPDIR", dir).env("HOME", dir).current_dir(dir);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let stderr = BufReader::new(process.stderr.take().unwrap());
        let (sender, lines) = channel();
        thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let mut this = Self { process, lines, address: SocketAddr::from(([0, 0, 0, 0], 0)) };
        this.address = this.line().parse().unwrap();
        this
    }

    fn line(&self) -> String {
        self.lines.recv_timeout(Duration::from_secs(30)).unwrap()
    }

    /// The alert by which it refuses this Felix, if it does.
    async fn alert(&self, felix: &FelixConnector) -> Option<AlertDescription> {
        let tcp = TcpStream::connect(self.address).await.unwrap();
        bounded(felix.connect_tcp(tcp)).await.err().map(|error| error.alert().unwrap())
    }
}

impl Drop for Typha {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test]
async fn nothing_is_left_of_a_typha_that_is_killed_in_its_reloads() {
    let files = Files::new();
    let felix = files.pki.connector().unwrap();
    let of_second = files.second_ca.issue(CertificateSpec::leaf(FELIX_COMMON_NAME)).unwrap();
    let required = typha_tls::RequiredIdentity::common_name(TYPHA_COMMON_NAME).unwrap();
    let of_second = testing::connector(&files.pki.ca, &of_second, required).unwrap();
    let mut trusts_second = false;
    for reloads in [0, 1, 2, 5, 10, 20] {
        let refusal = |trusts_second: bool| (!trusts_second).then_some(AlertDescription::UnknownCA);
        let mut typha = Typha::start(files.dir.path());
        for generation in 2..reloads + 2 {
            assert_eq!(typha.alert(&felix).await, None);
            assert_eq!(typha.alert(&of_second).await, refusal(trusts_second));
            trusts_second = !trusts_second;
            files.trust_second(trusts_second);
            assert_eq!(typha.line(), generation.to_string());
        }
        // It reads its files all the time, and these may be in force by then, or not.
        trusts_second = !trusts_second;
        files.trust_second(trusts_second);
        let before = files.all();
        assert_eq!(before.len(), 4);
        typha.process.kill().unwrap();
        assert_eq!(typha.process.wait().unwrap().signal(), Some(9), "it ran until then");
        assert_eq!(files.all(), before);

        let again = Typha::start(files.dir.path());
        assert_eq!(again.alert(&felix).await, None);
        assert_eq!(again.alert(&of_second).await, refusal(trusts_second));
        assert_eq!(files.all(), before);
    }
}

/// Not a test, but the program of the other process. It says where it listens, and then each generation that it puts in
/// force.
#[test]
fn is_a_typha() {
    let Some(files) = env::var_os(FILES) else { return };
    let sources = Sources::none().with_file(Path::new(&files).join("typha.cfg"));
    Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(async {
        let config = TyphaConfig::load(&sources).unwrap();
        let acceptor = config.acceptor().unwrap();
        let reloader = acceptor.follow(config.source(), when_asked());
        let mut listener = typha_tls::TyphaListener::builder(acceptor).bind("127.0.0.1:0").await.unwrap();
        eprintln!("{}", listener.local_addr());
        tokio::spawn(async move { while listener.accept().await.is_some() {} });
        loop {
            if let Reloaded::Replaced { generation } = reloader.reload_now().await.unwrap() {
                eprintln!("{generation}");
            }
        }
    });
}
