//! The proxies, which end TLS in front of a server without TLS: their settings, their start, their CPU time and memory.

use std::fs::{self, File};
use std::io;
use std::net::TcpStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;
use typha_tls::testing::FELIX_COMMON_NAME;

use crate::context::Job;
use crate::machine::{Core, cpu_ticks, on_cores, resident_bytes};
use crate::material::{Material, write};
use crate::process::{BenchError, end_group};
use crate::protocol::{CpuTime, Implementation};

/// How long a proxy may take until it listens.
const STARTING: Duration = Duration::from_secs(10);
/// How much of its log is in an error.
const LOG_LENGTH: usize = 2000;

/// The proxies that are on this machine, with the program of each. The others are noted.
pub(crate) fn installed(job: &Job<'_>) -> Result<Vec<(Implementation, PathBuf)>, BenchError> {
    let context = job.context;
    let ours = context.program.with_file_name("typha-tls");
    if version(Implementation::Ours, &ours).is_none() {
        return Err(BenchError::Unusable(format!(
            "{} is missing: build it with `cargo build --release -p typha-tls-cli`, in the profile of this benchmark",
            ours.display()
        )));
    }
    let others = [(Implementation::Haproxy, "haproxy"), (Implementation::Stunnel, "stunnel4")];
    let mut found = vec![(Implementation::Ours, ours)];
    for (proxy, program) in others {
        match version(proxy, Path::new(program)) {
            Some(version) => {
                context.versions.borrow_mut().insert(proxy.name(), version);
                found.push((proxy, program.into()));
            }
            None => context.note(format!("{}: {program} is not installed", job.title)),
        }
    }
    Ok(found)
}

/// None if the program cannot be run.
fn version(proxy: Implementation, program: &Path) -> Option<String> {
    let flag = match proxy {
        Implementation::Haproxy => "-vv",
        Implementation::Stunnel => "-version",
        _ => "--version",
    };
    let output = Command::new(program).arg(flag).stdin(Stdio::null()).output().ok()?;
    // stunnel writes it to stderr.
    let text =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    output.status.success().then(|| versions(&text))
}

/// The versions of a program, and of OpenSSL, where it names them.
fn versions(text: &str) -> String {
    let of_openssl =
        |line: &str| Some(format!("OpenSSL {}", line.split_once("OpenSSL ")?.1.rsplit(": OpenSSL ").next()?));
    let own = text.lines().find(|line| line.starts_with("HAProxy") || line.starts_with("stunnel"));
    let own = own.and_then(|line| line.split(" on ").next());
    let openssl = text.lines().find(|line| line.starts_with("Running ") && line.contains("OpenSSL"));
    [own.map(str::to_owned), openssl.and_then(of_openssl)]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join(", ")
}

/// A proxy process; killed when dropped.
pub(crate) struct Proxy {
    pub(crate) name: String,
    /// Where it listens.
    pub(crate) address: String,
    child: Child,
}

impl Proxy {
    /// Starts it on these cores in front of the backend, and waits until it listens.
    pub(crate) fn start(
        job: &Job<'_>,
        (proxy, program): &(Implementation, PathBuf),
        material: &Material,
        backend: &str,
        cores: &[Core],
    ) -> Result<Self, BenchError> {
        let cannot = format!("the proxy {} cannot be started", proxy.name());
        let address = job.context.new_address();
        let config =
            config(*proxy, material, &address.to_string(), backend).map_err(BenchError::machine(&cannot))?;
        let log = format!("{config}.log");
        let to_log = || File::options().append(true).create(true).open(&log);
        let (stdout, stderr) =
            to_log().and_then(|stdout| Ok((stdout, to_log()?))).map_err(BenchError::machine(&cannot))?;
        let mut command = Command::new(program);
        match proxy {
            Implementation::Haproxy => command.args(["-db", "-f", &config]),
            Implementation::Stunnel => command.arg(&config),
            _ => {
                let listen = ["--listen", &address.to_string()];
                command.arg("typha").args(listen).args(["--config", &config, "--forward", backend])
            }
        };
        // So that no variable tunes it.
        command.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        command.stdin(Stdio::null()).stdout(stdout).stderr(stderr).process_group(0);
        let child = on_cores(cores, || command.spawn())
            .and_then(|child| child)
            .map_err(BenchError::machine(&cannot))?;
        let mut proxy = Self { name: proxy.name().to_owned(), address: address.to_string(), child };
        let deadline = Instant::now() + STARTING;
        while TcpStream::connect(address).is_err() {
            let ended = proxy.child.try_wait().map_err(BenchError::machine(&cannot))?;
            if ended.is_some() || Instant::now() > deadline {
                let log: String =
                    fs::read_to_string(&log).unwrap_or_default().chars().take(LOG_LENGTH).collect();
                let what = if ended.is_some() { "it ended" } else { "it does not listen" };
                return Err(BenchError::machine(cannot)(format!("{what}; its log: {}", log.trim())));
            }
            job.context.stop.pause(Duration::from_millis(5))?;
        }
        Ok(proxy)
    }

    /// CPU time of all its threads since it began.
    pub(crate) fn usage(&self) -> Result<Sample, BenchError> {
        self.sample().map_err(BenchError::machine(format!("the CPU time of {} is unknown", self.name)))
    }

    fn sample(&self) -> io::Result<Sample> {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).map_err(io::Error::other)?);
        let total = clock_gettime(clock_getcpuclockid(pid)?)?;
        let stat = format!("/proc/{pid}/stat");
        let ticks = cpu_ticks(&fs::read_to_string(&stat)?).ok_or_else(|| io::Error::other(stat))?;
        Ok(Sample { total: Duration::from(total), ticks })
    }

    pub(crate) fn resident(&self) -> Result<f64, BenchError> {
        let bytes = resident_bytes(&self.child.id().to_string());
        Ok(bytes.map_err(BenchError::machine(format!("the memory of {} is unknown", self.name)))? as f64)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        end_group(&mut self.child);
    }
}

/// CPU time of a process. Ticks are too rough for the time of a slice, and divide it only.
#[derive(Clone, Copy)]
pub(crate) struct Sample {
    total: Duration,
    /// User and system time.
    ticks: [u64; 2],
}

impl Sample {
    pub(crate) fn since(self, before: Self) -> CpuTime {
        let nanos = u64::try_from(self.total.saturating_sub(before.total).as_nanos()).unwrap_or(u64::MAX);
        let [user, system] = [0, 1].map(|part: usize| {
            let of = |sample: Self| sample.ticks.get(part).copied().unwrap_or_default();
            of(self).saturating_sub(of(before)) as f64
        });
        let share = if user + system > 0.0 { user / (user + system) } else { 1.0 };
        let user_nanos = (nanos as f64 * share) as u64;
        CpuTime { user_nanos, system_nanos: nanos.saturating_sub(user_nanos) }
    }
}

/// Writes the configuration of a proxy, and returns its file.
fn config(proxy: Implementation, material: &Material, listen: &str, backend: &str) -> io::Result<String> {
    let (files, dir, name) = (&material.typha, material.dir(), FELIX_COMMON_NAME);
    let (ca, chain, key) = (&files.ca, &files.chain, &files.key);
    let text = match proxy {
        Implementation::Haproxy => {
            let pem = fs::read_to_string(chain)? + &fs::read_to_string(key)?;
            let pem = write(dir, "haproxy.pem", &pem)?;
            format!(
                "global\n\
                 \x20 nbthread 1\n\
                 \x20 tune.ssl.cachesize 0\n\
                 defaults\n\
                 \x20 mode tcp\n\
                 \x20 timeout connect 5s\n\
                 \x20 timeout client 1h\n\
                 \x20 timeout server 1h\n\
                 frontend felix\n\
                 \x20 bind {listen} ssl crt {pem} ca-file {ca} verify required \
                 ssl-min-ver TLSv1.3 no-tls-tickets prefer-client-ciphers\n\
                 \x20 tcp-request session reject unless {{ ssl_c_s_dn(CN) -m str {name} }}\n\
                 \x20 default_backend typha\n\
                 backend typha\n\
                 \x20 server typha {backend}\n"
            )
        }
        Implementation::Stunnel => format!(
            "foreground = yes\n\
             syslog = no\n\
             debug = warning\n\
             pid =\n\
             socket = l:TCP_NODELAY=1\n\
             socket = r:TCP_NODELAY=1\n\
             [typha]\n\
             accept = {listen}\n\
             connect = {backend}\n\
             cert = {chain}\n\
             key = {key}\n\
             CAfile = {ca}\n\
             verifyChain = yes\n\
             checkHost = {name}\n\
             sslVersionMin = TLSv1.3\n\
             sessionResume = no\n"
        ),
        _ => format!("CAFile={ca}\nServerCertFile={chain}\nServerKeyFile={key}\nClientCN={name}\n"),
    };
    write(dir, &format!("{}-{listen}.cfg", proxy.name()), &text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_name_their_versions() {
        let haproxy = "HAProxy version 2.6.12-1+deb12u4 2026/10/17 - https://haproxy.org/\n\
                       Running on: Linux 6.18.44 x86_64\n\
                       Built with OpenSSL version : OpenSSL 3.0.22 25 Aug 2026\n\
                       Running on OpenSSL version : OpenSSL 3.0.19 27 Jan 2026\n";
        assert_eq!(
            versions(haproxy),
            "HAProxy version 2.6.12-1+deb12u4 2026/10/17 - https://haproxy.org/, OpenSSL 3.0.19 27 Jan 2026"
        );
        let stunnel = "Initializing inetd mode configuration\n\
                       stunnel 5.68 on x86_64-pc-linux-gnu platform\n\
                       Compiled with OpenSSL 3.0.9 30 May 2023\n\
                       Running  with OpenSSL 3.0.19 27 Jan 2026\n";
        assert_eq!(versions(stunnel), "stunnel 5.68, OpenSSL 3.0.19 27 Jan 2026");
        assert_eq!(version(Implementation::Haproxy, Path::new("/nonexistent")), None);
    }

    #[test]
    fn ticks_divide_the_cpu_time() {
        let sample = |millis, ticks| Sample { total: Duration::from_millis(millis), ticks };
        let since = sample(500, [30, 20]).since(sample(100, [0, 10]));
        assert_eq!(since, CpuTime { user_nanos: 300_000_000, system_nanos: 100_000_000 });
        let short = sample(501, [30, 20]).since(sample(500, [30, 20]));
        assert_eq!(short, CpuTime { user_nanos: 1_000_000, system_nanos: 0 });
    }
}
