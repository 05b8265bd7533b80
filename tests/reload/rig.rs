//! Parts to be put in force, a source that does as it is told, files, and what is logged.

use std::fmt::Debug;
use std::future::pending;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use rustls::time_provider::TimeProvider;
use rustls_pki_types::UnixTime;
use tempfile::TempDir;
use tokio::sync::{Notify, watch};
use tracing::field::{Field, Visit};
use tracing::subscriber::DefaultGuard;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use typha_tls::material::{Material, TlsFiles, TrustBundle};
use typha_tls::policy::TlsPolicy;
use typha_tls::reload::{ReloadOptions, ReloadState, Reloader, SourceError, TlsConfigSource};
use typha_tls::testing::{CertificateSpec, Purpose, TestCa, TestLeaf};
use typha_tls::{RequiredIdentity, TlsConfig, TyphaAcceptor};

pub(crate) const DAY: Duration = Duration::from_secs(24 * 3600);

pub(crate) fn ca(name: &str) -> TestCa {
    TestCa::new(CertificateSpec::ca(name)).unwrap()
}

pub(crate) fn typha_spec() -> CertificateSpec {
    CertificateSpec::leaf("typha").purpose(Purpose::ServerAuth)
}

/// Two CAs, and leaves for Typha.
pub(crate) struct Pki {
    pub(crate) a: TestCa,
    pub(crate) b: TestCa,
    pub(crate) leaf: TestLeaf,
    pub(crate) clock: Arc<TestClock>,
}

impl Pki {
    pub(crate) fn new() -> Self {
        let a = ca("a");
        let leaf = a.issue(typha_spec()).unwrap();
        Self { a, b: ca("b"), leaf, clock: Arc::default() }
    }

    pub(crate) fn policy(&self) -> TlsPolicy {
        TlsPolicy::builder().time_provider(self.clock.clone()).build().unwrap()
    }

    pub(crate) fn config(&self, cas: &[&TestCa], leaf: &TestLeaf) -> TlsConfig {
        let policy = self.policy();
        let material = Material::new(
            TrustBundle::from_der(cas.iter().map(|ca| ca.root().clone())).unwrap(),
            leaf.credentials(policy.provider()).unwrap(),
        );
        TlsConfig::new(material, RequiredIdentity::common_name("felix").unwrap(), policy)
    }

    /// Trusts `a`.
    pub(crate) fn first(&self) -> TlsConfig {
        self.config(&[&self.a], &self.leaf)
    }

    /// Trusts `a` and `b`.
    pub(crate) fn second(&self) -> TlsConfig {
        self.config(&[&self.a, &self.b], &self.leaf)
    }
}

/// Shows the time of the system, moved by so many seconds.
#[derive(Debug, Default)]
pub(crate) struct TestClock(AtomicU64);

impl TestClock {
    pub(crate) fn turn(&self, by: Duration) {
        self.0.fetch_add(by.as_secs(), Ordering::Relaxed);
    }

    pub(crate) fn system_time(&self) -> SystemTime {
        SystemTime::now() + Duration::from_secs(self.0.load(Ordering::Relaxed))
    }
}

impl TimeProvider for TestClock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(self.system_time().duration_since(SystemTime::UNIX_EPOCH).unwrap()))
    }
}

/// What the source does when it is asked.
#[derive(Clone)]
pub(crate) enum Act {
    Fail(&'static str),
    /// With another text each time.
    FailAnew,
    Give(TlsConfig),
    /// What was there when it was asked, 5 s later.
    GiveLate(TlsConfig),
    /// One after the other, over and over.
    Alternate([TlsConfig; 2]),
    Hang,
    Panic,
}

#[derive(Clone)]
pub(crate) struct Source {
    pub(crate) act: Arc<Mutex<Act>>,
    pub(crate) hint: Arc<Notify>,
    pub(crate) asked: Arc<AtomicU64>,
    settle_time: Duration,
}

impl Source {
    pub(crate) fn new(act: Act, settle_time: Duration) -> Self {
        Self { act: Arc::new(Mutex::new(act)), hint: Arc::default(), asked: Arc::default(), settle_time }
    }

    pub(crate) fn at_once(act: Act) -> Self {
        Self::new(act, Duration::ZERO)
    }

    pub(crate) fn set(&self, act: Act) {
        *self.act.lock().unwrap() = act;
    }

    pub(crate) fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }
}

impl TlsConfigSource for Source {
    async fn load(&self) -> Result<TlsConfig, SourceError> {
        let times = self.asked.fetch_add(1, Ordering::Relaxed) as usize;
        let act = self.act.lock().unwrap().clone();
        match act {
            Act::Fail(text) => Err(SourceError::new(text)),
            Act::FailAnew => Err(SourceError::new(format!("request {times} failed"))),
            Act::Give(config) => Ok(config),
            Act::GiveLate(config) => {
                seconds(5.0).await;
                Ok(config)
            }
            Act::Alternate(configs) => Ok(configs[times % 2].clone()),
            Act::Hang => pending().await,
            Act::Panic => panic!("no parts {times}", times = "today"),
        }
    }

    async fn changed(&self) {
        self.hint.notified().await;
    }

    fn settle_time(&self) -> Duration {
        self.settle_time
    }

    fn description(&self) -> String {
        "the test".to_owned()
    }
}

/// A program that follows a source.
pub(crate) struct Rig {
    pub(crate) acceptor: TyphaAcceptor,
    pub(crate) source: Source,
    pub(crate) reloader: Reloader,
    pub(crate) log: Log,
}

impl Rig {
    /// With `config` in force.
    pub(crate) async fn start(config: TlsConfig, source: Source) -> Self {
        Self::start_with(config, source, ReloadOptions::default()).await
    }

    pub(crate) async fn start_with(config: TlsConfig, source: Source, options: ReloadOptions) -> Self {
        let acceptor = TyphaAcceptor::new(config);
        let log = Log::start();
        let reloader = acceptor.follow(source.clone(), options);
        seconds(0.001).await;
        Self { acceptor, source, reloader, log }
    }

    pub(crate) fn state(&self) -> ReloadState {
        self.reloader.state().borrow().clone()
    }

    /// Generation in force, looks, reloads and failures.
    pub(crate) fn counts(&self) -> [u64; 4] {
        let state = self.state();
        assert_eq!(state.generation, *self.acceptor.generations().borrow());
        [state.generation, state.looks, state.reloads, state.failures]
    }

    pub(crate) fn last_error(&self) -> Option<String> {
        self.state().last_error.map(|error| error.to_string())
    }
}

/// On the paused clock.
pub(crate) async fn seconds(seconds: f64) {
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
}

/// Waits until the state is as wanted.
pub(crate) async fn until(
    state: &mut watch::Receiver<ReloadState>,
    wanted: impl Fn(&ReloadState) -> bool,
) -> ReloadState {
    let waiting = state.wait_for(|state| wanted(state));
    tokio::time::timeout(Duration::from_secs(300), waiting)
        .await
        .expect("it never came to that")
        .unwrap()
        .clone()
}

/// What this thread logs.
pub(crate) struct Log {
    events: Recorder,
    _guard: DefaultGuard,
}

#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<Vec<String>>>);

impl Log {
    pub(crate) fn start() -> Self {
        crate::subscribers::let_all_be_asked();
        let events = Recorder::default();
        let guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(events.clone()));
        Self { events, _guard: guard }
    }

    /// What came since the last call, from info upwards: level, message, then fields.
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.events.0.lock().unwrap())
    }
}

impl<S: Subscriber> Layer<S> for Recorder {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let level = *event.metadata().level();
        if level > Level::INFO || !event.metadata().target().starts_with("typha_tls") {
            return;
        }
        let mut text = Text::default();
        event.record(&mut text);
        self.0.lock().unwrap().push(format!("{level} {}{}", text.message, text.fields));
    }
}

#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Visit for Text {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            name => self.fields += &format!(" {name}={value:?}"),
        }
    }
}

/// The three files in a directory of their own.
pub(crate) struct Files {
    pub(crate) dir: TempDir,
}

pub(crate) const NAMES: [&str; 3] = ["ca.pem", "cert.pem", "key.pem"];

impl Files {
    pub(crate) fn new(cas: &[&TestCa], leaf: &TestLeaf) -> Self {
        let files = Self { dir: TempDir::new().unwrap() };
        files.write_all(cas, leaf);
        files
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes in place.
    pub(crate) fn write(&self, name: &str, contents: impl AsRef<[u8]>) {
        write_one(&self.path(name), contents.as_ref());
    }

    pub(crate) fn write_all(&self, cas: &[&TestCa], leaf: &TestLeaf) {
        write_to(self.dir.path(), cas, leaf);
    }

    pub(crate) fn tls(&self) -> TlsFiles {
        let [ca_file, cert_file, key_file] = NAMES.map(|name| self.path(name));
        TlsFiles::new(ca_file, cert_file, key_file)
    }
}

pub(crate) fn contents(cas: &[&TestCa], leaf: &TestLeaf) -> [String; 3] {
    [cas.iter().map(|ca| ca.root_pem()).collect(), leaf.chain_pem(), leaf.key_pem()]
}

pub(crate) fn write_to(dir: &Path, cas: &[&TestCa], leaf: &TestLeaf) {
    for (name, contents) in NAMES.iter().zip(contents(cas, leaf)) {
        write_one(&dir.join(name), contents.as_bytes());
    }
}

/// Accessible by us alone: others would be warned of.
fn write_one(path: &Path, contents: &[u8]) {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = std::fs::File::options();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path).unwrap();
    file.write_all(contents).unwrap();
}
