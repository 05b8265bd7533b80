//! What is in `deploy` and in the guide: names of metrics, flags, manifests, and the commands of the walk.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::metrics::{get, samples};
use crate::rig::{Pair, command, rest};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &str) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn documents(path: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(&read(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The files of a folder, as paths from the root.
fn files(folder: &str, extension: &str) -> Vec<String> {
    let entries = fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .map(|path| format!("{folder}/{}", path.file_name().unwrap().to_str().unwrap()))
        .collect();
    files.sort();
    files
}

/// Each `name{label,label}` or `name` in the first column of the guide's table of metrics.
fn in_guide() -> BTreeSet<(String, BTreeSet<String>)> {
    let guide = read("docs/operation.md");
    let (_, section) = guide.split_once("\n## Metrics\n").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let cells = section.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    cells
        .map(|cell| {
            let (name, labels) = cell.trim_end_matches('}').split_once('{').unwrap_or((cell, ""));
            let labels = labels.split(',').filter(|label| !label.is_empty());
            (name.to_owned(), labels.map(str::to_owned).collect())
        })
        .collect()
}

/// The source of the library and of the command, without their tests.
fn sources() -> String {
    fn add(folder: &Path, text: &mut String) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => add(&path, text),
                false => text.push_str(&fs::read_to_string(&path).unwrap()),
            }
        }
    }
    let mut text = String::new();
    for folder in ["src", "crates/cli/src"] {
        add(&root().join(folder), &mut text);
    }
    text
}

/// The words of an expression that can be names.
fn words(expression: &str) -> impl Iterator<Item = &str> {
    expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

/// The metric, for the name of one of its samples.
fn base(name: &str) -> &str {
    let suffixes = ["_bucket", "_sum", "_count"];
    suffixes.iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name)
}

/// All values of a member, at any depth.
fn members<'a>(value: &'a Value, name: &str, found: &mut Vec<&'a Value>) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                if key == name {
                    found.push(value);
                }
                members(value, name, found);
            }
        }
        Value::Array(values) => values.iter().for_each(|value| members(value, name, found)),
        _ => {}
    }
}

/// The queries of the dashboard and of the alerts.
fn queries() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(&read("deploy/grafana/typha-tls.json")).unwrap();
    let alerts = documents("deploy/prometheus/alerts.yaml");
    let mut found = Vec::new();
    members(&dashboard, "expr", &mut found);
    members(&dashboard["templating"], "definition", &mut found);
    alerts.iter().for_each(|document| members(document, "expr", &mut found));
    found.into_iter().map(|query| query.as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_queries_use_metrics_that_exist() {
    let (metrics, sources, queries) = (in_guide(), sources(), queries());
    assert!(queries.len() > 30, "{queries:?}");
    let used: BTreeSet<_> = queries
        .iter()
        .flat_map(|query| words(query))
        .filter(|word| word.starts_with("typha_"))
        .map(base)
        .collect();
    for name in &used {
        assert!(metrics.iter().any(|(metric, _)| metric == name), "{name} is not in docs/operation.md");
        assert!(sources.contains(&format!("\"{name}\"")), "{name} is not in the code");
    }
    // The dashboard shows everything that there is.
    let all: BTreeSet<_> = metrics.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(used, all);
}

/// The labels of Prometheus itself, and those of a query on a histogram.
const OF_PROMETHEUS: [&str; 3] = ["job", "instance", "le"];

#[test]
fn the_queries_use_labels_that_exist() {
    let metrics = in_guide();
    for query in queries() {
        let known: BTreeSet<_> = words(&query)
            .filter_map(|word| metrics.iter().find(|(name, _)| name == base(word)))
            .flat_map(|(_, labels)| labels.iter().map(String::as_str))
            .chain(OF_PROMETHEUS)
            .collect();
        // `by (a, b)`, and `{a="x", b=~"y"}`.
        let grouped = query.split("by (").skip(1).map(|rest| rest.split(')').next().unwrap());
        let grouped = grouped.flat_map(|labels| labels.split(',').map(str::trim));
        let selected = query.split('{').skip(1).map(|rest| rest.split('}').next().unwrap());
        let selected = selected.flat_map(|labels| {
            let labels = labels.split(',').filter(|label| !label.trim().is_empty());
            labels.map(|label| label.split(['=', '!']).next().unwrap().trim())
        });
        for label in grouped.chain(selected) {
            assert!(known.contains(label), "{query}: no metric in it has the label {label}");
        }
    }
}

/// Everything that running sidecars show after some events is in the guide, with its labels.
#[test]
fn the_guide_has_what_the_pages_have() {
    let metrics = in_guide();
    let options = ["--metrics", "127.0.0.1:0"];
    let pair = Pair::with(&options, &options);
    let stranger = pair.site.felix_as("stranger", &pair.typha, "127.0.0.1:0", &options);
    let _ = rest(&stranger.connect());
    drop(pair.connect());
    for daemon in [&pair.typha, &pair.felix] {
        daemon.next("ended");
    }
    let mut seen = BTreeSet::new();
    for daemon in [&pair.typha, &pair.felix, &stranger] {
        let (status, page) = get(daemon, "/metrics");
        assert_eq!(status, 200);
        for sample in samples(&page).keys() {
            let (name, labels) =
                sample.trim_end_matches('}').split_once('{').unwrap_or((sample.as_str(), ""));
            let labels = labels.split("\",").filter_map(|label| Some(label.split_once("=\"")?.0));
            let labels: BTreeSet<_> = labels.filter(|label| *label != "le").map(str::to_owned).collect();
            let metric = (base(name).to_owned(), labels);
            assert!(metrics.contains(&metric), "{metric:?} is not in docs/operation.md");
            seen.insert(metric.0);
        }
    }
    for name in ["typha_handshakes_refused", "typha_connects_failed", "typha_forwarded_ended"] {
        assert!(seen.contains(name), "{name}");
    }
}

#[test]
fn the_alerts_say_what_to_do() {
    let documents = documents("deploy/prometheus/alerts.yaml");
    let [document] = documents.as_slice() else { panic!("several documents") };
    let rules = document["groups"][0]["rules"].as_array().unwrap();
    assert_eq!(rules.len(), 7);
    for rule in rules {
        let name = rule["alert"].as_str().unwrap();
        assert!(rule["for"].as_str().is_some_and(|duration| duration.ends_with('m')), "{name}");
        assert!(matches!(rule["labels"]["severity"].as_str(), Some("warning" | "critical")), "{name}");
        for annotation in ["summary", "description"] {
            assert!(!rule["annotations"][annotation].as_str().unwrap().is_empty(), "{name}: {annotation}");
        }
    }
}

/// Fails if a part of the document has a name, a type or a place that this version of Kubernetes does not know.
fn assert_known<T: DeserializeOwned + serde::Serialize>(path: &str, document: &Value) {
    fn assert_within(given: &Value, known: &Value, at: &str) {
        match (given, known) {
            (Value::Object(given), Value::Object(known)) => {
                for (name, value) in given {
                    let at = format!("{at}.{name}");
                    let Some(known) = known.get(name) else { panic!("{at} is unknown") };
                    assert_within(value, known, &at);
                }
            }
            (Value::Array(given), Value::Array(known)) => {
                assert_eq!(given.len(), known.len(), "{at}");
                for (index, (given, known)) in given.iter().zip(known).enumerate() {
                    assert_within(given, known, &format!("{at}[{index}]"));
                }
            }
            _ => assert_eq!(given, known, "{at}"),
        }
    }
    let object: T =
        serde_json::from_value(document.clone()).unwrap_or_else(|error| panic!("{path}: {error}"));
    assert_within(document, &serde_json::to_value(object).unwrap(), path);
}

#[test]
fn the_manifests_have_the_form_of_kubernetes() {
    let paths = files("deploy/kubernetes", "yaml");
    assert_eq!(paths, ["deploy/kubernetes/felix-sidecar.yaml", "deploy/kubernetes/typha-sidecar.yaml"]);
    for path in &paths {
        let documents = documents(path);
        let [document] = documents.as_slice() else { panic!("{path}: several documents") };
        let kind = document["kind"].as_str().unwrap();
        let name = document["metadata"]["name"].as_str().unwrap();
        match (kind, name) {
            ("DaemonSet", "calico-node") => assert_known::<DaemonSet>(path, document),
            ("Deployment", "calico-typha") => assert_known::<Deployment>(path, document),
            other => panic!("{path}: {other:?}"),
        }
        let pod = &document["spec"]["template"]["spec"];
        let sidecar = &pod["initContainers"][0];
        let security = &sidecar["securityContext"];
        for (name, value) in [
            ("runAsNonRoot", json!(true)),
            ("readOnlyRootFilesystem", json!(true)),
            ("allowPrivilegeEscalation", json!(false)),
            ("capabilities", json!({ "drop": ["ALL"] })),
            ("seccompProfile", json!({ "type": "RuntimeDefault" })),
        ] {
            assert_eq!(security[name], value, "{path}: {name}");
        }
        assert!(pod["securityContext"]["fsGroup"].is_u64(), "{path}");
        // The probes go where the page is.
        let page =
            arguments(sidecar).into_iter().find_map(|flag| Some(flag.strip_prefix("--metrics=")?.to_owned()));
        for (probe, of_page) in
            [("startupProbe", "/healthz"), ("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")]
        {
            let get = &sidecar[probe]["httpGet"];
            let address = format!("{}:{}", get["host"].as_str().unwrap(), get["port"]);
            assert_eq!(
                (get["path"].as_str(), Some(address)),
                (Some(of_page), page.clone()),
                "{path}: {probe}"
            );
        }
        assert_eq!(format!("127.0.0.1:{}", sidecar["ports"][0]["containerPort"]), page.unwrap());
        // Calico's container reaches the sidecar, or the sidecar reaches it.
        let plain = arguments(sidecar).into_iter().find_map(|flag| {
            let (name, address) = flag.split_once('=')?;
            ["--forward", "--listen"].contains(&name).then(|| address.to_owned())
        });
        let of_calico = |name: &str| {
            let variables = pod["containers"][0]["env"].as_array().unwrap();
            let variable = variables.iter().find(|variable| variable["name"] == name);
            variable.unwrap_or_else(|| panic!("{path}: no {name}"))["value"].as_str().unwrap().to_owned()
        };
        let calico = match kind {
            "DaemonSet" => of_calico("FELIX_TYPHAADDR"),
            _ => format!("{}:{}", of_calico("TYPHA_SERVERHOST"), of_calico("TYPHA_SERVERPORT")),
        };
        assert_eq!(plain, Some(calico), "{path}");
    }
}

fn arguments(container: &Value) -> Vec<String> {
    container["args"].as_array().unwrap().iter().map(|flag| flag.as_str().unwrap().to_owned()).collect()
}

/// The command lines in a text that begin with the command, each as its words, up to a pipe, a `&`, or the end.
fn command_lines(text: &str) -> Vec<Vec<String>> {
    let joined = text.replace("\\\n", " ");
    joined
        .lines()
        .filter_map(|line| {
            let line = line.trim_start().trim_start_matches("ExecStart=/usr/local/bin/");
            let rest = line.strip_prefix("typha-tls ")?;
            let end = |word: &&str| !["|", ">", "&"].contains(word);
            Some(rest.split_whitespace().take_while(end).map(str::to_owned).collect())
        })
        .collect()
}

/// The long flags of a subcommand.
fn flags_of(subcommand: &[&str]) -> BTreeSet<String> {
    let output = command(&[subcommand, &["--help"]].concat()).output().unwrap();
    assert!(output.status.success(), "{subcommand:?} is unknown: {output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let ends = |c: char| !c.is_ascii_alphanumeric() && c != '-';
    let lines = text.lines().filter_map(|line| line.trim_start().strip_prefix("--"));
    let flags: BTreeSet<_> = lines.map(|line| format!("--{}", line.split(ends).next().unwrap())).collect();
    assert!(flags.len() > 1, "{text}");
    flags
}

/// Fails if a command line has a subcommand or a flag that the command does not know.
fn assert_flags(of: impl Debug, words: &[impl AsRef<str>]) {
    let words: Vec<_> = words.iter().map(AsRef::as_ref).collect();
    let subcommand = match words[0] {
        "check" => &words[..2],
        _ => &words[..1],
    };
    let known = flags_of(subcommand);
    for word in words.iter().filter(|word| word.starts_with("--")) {
        let flag = word.split('=').next().unwrap();
        assert!(known.contains(flag), "{of:?}: {subcommand:?} does not know {flag}");
    }
}

#[test]
fn the_flags_are_those_of_the_command() {
    for path in files("deploy/kubernetes", "yaml") {
        for document in documents(&path) {
            let sidecar = &document["spec"]["template"]["spec"]["initContainers"][0];
            assert_flags(&path, &arguments(sidecar));
        }
    }
    let units = files("deploy/systemd", "service");
    assert_eq!(units.len(), 2, "{units:?}");
    for path in units {
        let lines = command_lines(&read(&path));
        assert_eq!(lines.len(), 1, "{path}");
        assert_flags(&path, &lines[0]);
    }
    const GUIDE: &str = "docs/in-front-of-calico.md";
    let guide = read(GUIDE);
    let lines = command_lines(&guide);
    assert_eq!(lines.len(), 5, "{lines:?}");
    for line in lines {
        assert_flags(GUIDE, &line);
    }
    // In the text, a flag may be one of either end.
    let known = flags_of(&["typha"]).union(&flags_of(&["felix"])).cloned().collect::<BTreeSet<_>>();
    let (text, _) = guide.split_once("## What was not tried").unwrap();
    let outside_blocks: String = text.split("```").step_by(2).collect();
    let spans = outside_blocks.split('`').skip(1).step_by(2);
    let flags = spans.flat_map(str::split_whitespace).filter(|word| word.starts_with("--"));
    let mut count = 0;
    for flag in flags.map(|word| word.split('=').next().unwrap()) {
        assert!(known.contains(flag), "{GUIDE}: no end knows {flag}");
        count += 1;
    }
    assert!(count > 5, "{count}");
}

/// Skips a test whose tool is missing, unless a tool must not be missing.
fn is_missing(tool: &str, version: &str) -> bool {
    let is_missing = Command::new(tool).arg(version).output().is_err();
    if is_missing {
        assert_ne!(std::env::var("TYPHA_TLS_REQUIRE_INTEROP").as_deref(), Ok("1"), "no {tool}");
        // Not by a macro, whose output the test harness keeps back when a test passes.
        let _ = writeln!(std::io::stderr(), "skipped: no {tool}");
    }
    is_missing
}

/// Runs the blocks of the guide one after the other, as a reader would.
#[test]
fn the_commands_of_the_walk_work() {
    if is_missing("openssl", "version") || is_missing("python3", "--version") {
        return;
    }
    let guide = read("docs/in-front-of-calico.md");
    let (_, walk) = guide.split_once("<!-- walk:").unwrap();
    let (walk, _) = walk.split_once("<!-- end of walk -->").unwrap();
    let blocks: Vec<_> =
        walk.split("```sh\n").skip(1).map(|block| block.split_once("```").unwrap().0).collect();
    assert_eq!(blocks.len(), 6);
    // The ports of the guide may be in use on this machine. All are taken at once, so that they differ.
    let free: Vec<_> = (0..4).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let ports = ["5473", "5474", "5475", "9473"].into_iter().zip(["@A@", "@B@", "@C@", "@D@"]);
    let mut script = blocks.concat();
    for (port, mark) in ports.clone() {
        assert!(script.contains(port), "{port}");
        script = script.replace(port, mark);
    }
    for ((_, mark), free) in ports.zip(&free) {
        script = script.replace(mark, &free.local_addr().unwrap().port().to_string());
    }
    drop(free);
    let dir = tempfile::tempdir().unwrap();
    let bin = Path::new(env!("CARGO_BIN_EXE_typha-tls")).parent().unwrap().to_owned();
    let path = std::env::split_paths(&std::env::var_os("PATH").unwrap()).collect::<Vec<_>>();
    let path = std::env::join_paths(std::iter::once(bin).chain(path)).unwrap();
    // What waits for a line waits forever if it does not come. Whatever happens, nothing is left running.
    let script = format!("trap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n{script}");
    let output = Command::new("timeout")
        .args(["120", "bash", "-euo", "pipefail", "-c", &script])
        .current_dir(dir.path())
        .env("PATH", path)
        .output()
        .unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{stdout}\n{stderr}");
    for line in ["hello", "still here", "hello again", "typha_forwarded_active 2"] {
        assert_eq!(stdout.lines().filter(|found| *found == line).count(), 1, "{line}: {stdout}");
    }
    let serials: BTreeSet<_> = stdout.lines().filter(|line| line.starts_with("\"serial\":")).collect();
    assert_eq!(serials.len(), 2, "{stdout}");
    let log = fs::read_to_string(dir.path().join("typha.log")).unwrap();
    assert_eq!(log.matches(r#""event":"broken_off""#).count(), 0, "{log}");
    assert_eq!(log.matches(r#""event":"shut_down""#).count(), 1, "{log}");
}

/// systemd knows every line of the units.
#[test]
#[cfg(target_os = "linux")]
fn systemd_accepts_the_units() {
    // It is not on every machine, not even on every one with the other tools.
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        let _ = writeln!(std::io::stderr(), "skipped: no systemd-analyze");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    for path in files("deploy/systemd", "service") {
        let unit = read(&path).replace("/usr/local/bin/typha-tls", env!("CARGO_BIN_EXE_typha-tls"));
        let copy = dir.path().join(Path::new(&path).file_name().unwrap());
        fs::write(&copy, unit).unwrap();
        let output = Command::new("systemd-analyze").arg("verify").arg(&copy).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        // It also loads the units of this machine that the copy names.
        let about: Vec<_> = text.lines().filter(|line| line.contains(dir.path().to_str().unwrap())).collect();
        assert!(output.status.success() && about.is_empty(), "{text}");
    }
}
