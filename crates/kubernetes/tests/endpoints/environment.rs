//! Credentials that are found in the environment, which only another process can have another of.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::json;
use typha_tls_kubernetes::KubernetesEndpoints;

use crate::api_server::{Answer, ApiServer, TOKEN, ask, no_process_default};
use crate::listing::{ready, slice};

/// Says that this process is one that `found` started.
const ROLE: &str = "KUBERNETES_ENDPOINTS_TEST_CHILD";

/// Runs in the processes that `found` starts: prints what it finds with the credentials of its environment.
#[tokio::test]
async fn child() {
    if std::env::var_os(ROLE).is_none() {
        return;
    }
    no_process_default();
    let source = KubernetesEndpoints::infer("kube-system", "calico-typha").unwrap();
    match ask(&source).await {
        Ok(typhas) => println!("\nfound {typhas:?}"),
        Err(error) => println!("\nfound {}", error.text()),
    }
}

/// What a process with these variables, and this home directory, finds.
fn found(home: &Path, variables: &[(&str, &str)]) -> String {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "environment::child", "--nocapture"]);
    for name in
        ["KUBECONFIG", "HTTPS_PROXY", "https_proxy", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"]
    {
        command.env_remove(name);
    }
    let output = command.env(ROLE, "1").env("HOME", home).envs(variables.iter().copied()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    text.lines().find_map(|line| line.strip_prefix("found ")).unwrap().to_owned()
}

async fn found_in(home: &Path, variables: &[(&str, &str)]) -> String {
    let home = home.to_owned();
    let variables: Vec<_> =
        variables.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    tokio::task::spawn_blocking(move || {
        let variables: Vec<_> = variables.iter().map(|(name, value)| (&**name, &**value)).collect();
        found(&home, &variables)
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn a_kubeconfig_by_its_variable_or_in_the_home_directory() {
    let server =
        ApiServer::start(vec![Answer::Slices(vec![slice("IPv4", json!([ready("10.0.0.1", "n")]))])]).await;
    let kubeconfig = server.kubeconfig(json!({ "token": TOKEN })).to_string();
    let directory = tempfile::tempdir().unwrap();
    let named = directory.path().join("named.yaml");
    fs::write(&named, &kubeconfig).unwrap();
    let typhas = r#"["10.0.0.1:5473 n"]"#;
    assert_eq!(found_in(directory.path(), &[("KUBECONFIG", named.to_str().unwrap())]).await, typhas);

    let home = directory.path().join("home");
    fs::create_dir_all(home.join(".kube")).unwrap();
    fs::write(home.join(".kube/config"), &kubeconfig).unwrap();
    assert_eq!(found_in(&home, &[]).await, typhas);
    assert_eq!(found_in(&home, &[("KUBECONFIG", "")]).await, typhas);
    assert_eq!(server.requests().len(), 3);

    // A proxy of the environment is ignored, even one that can not be used.
    for name in ["HTTPS_PROXY", "https_proxy"] {
        for proxy in ["http://127.0.0.1:1", "a b"] {
            assert_eq!(found_in(&home, &[(name, proxy)]).await, typhas);
        }
    }
}

#[tokio::test]
async fn a_broken_kubeconfig_is_an_error_and_is_not_quoted() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("broken.yaml");
    let path = path.to_str().unwrap();
    let pod =
        [("KUBECONFIG", path), ("KUBERNETES_SERVICE_HOST", "127.0.0.1"), ("KUBERNETES_SERVICE_PORT", "1")];
    assert_eq!(
        found_in(directory.path(), &pod).await,
        format!("the kubeconfig can not be used: {path}: No such file or directory (os error 2)")
    );
    fs::write(path, format!("users:\n- name: u\n  user:\n    token: {TOKEN}\n   x: [\n")).unwrap();
    // Of the home directory it is one too.
    fs::create_dir(directory.path().join(".kube")).unwrap();
    fs::copy(path, directory.path().join(".kube/config")).unwrap();
    for variables in [&pod[..], &pod[1..]] {
        let found = found_in(directory.path(), variables).await;
        assert!(
            found.starts_with("the kubeconfig can not be used: it is no valid kubeconfig (line "),
            "{found}"
        );
        assert!(!found.contains(TOKEN), "{found}");
    }
}

#[tokio::test]
async fn neither_a_kubeconfig_nor_a_pod() {
    let directory = tempfile::tempdir().unwrap();
    let begin = "no credentials for the Kubernetes API: there is no kubeconfig (set KUBECONFIG, or write \
                 ~/.kube/config), and the service account of a pod can not be used: ";
    assert_eq!(
        found_in(directory.path(), &[]).await,
        format!(
            "{begin}KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set, so that this is no pod"
        )
    );
    if Path::new("/var/run/secrets/kubernetes.io/serviceaccount").exists() {
        return; // A pod after all.
    }
    let variables = [("KUBERNETES_SERVICE_HOST", "127.0.0.1"), ("KUBERNETES_SERVICE_PORT", "1")];
    assert_eq!(
        found_in(directory.path(), &variables).await,
        format!("{begin}\"failed to read the default namespace: No such file or directory (os error 2)\"")
    );
}
