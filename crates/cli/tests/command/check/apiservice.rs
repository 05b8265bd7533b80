//! `check apiservice`: the object by which kube-apiserver connects, and the certificate of the server.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use typha_tls::testing::{CertificateSpec, Purpose, TestCa, TestLeaf};

use super::server::{Server, findings, fixture, leaf};
use super::site::{DAY, ca, detail, name, only, spec};

const HOST: &str = "calico-api.calico-apiserver.svc";
const NAME: &str = "APIService \"v3.projectcalico.org\"";

/// The object as kubectl prints it, with these CAs.
fn manifest(ca_pem: &str) -> String {
    fixture("apiservice.yaml").replace("CA_BUNDLE", &STANDARD.encode(ca_pem))
}

/// The lines of a check of a server of this CA, with this manifest.
fn check(server: &Server, manifest: &str) -> (Option<i32>, Vec<Value>) {
    let path = server.write("manifest", manifest);
    server.check(&["apiservice", &path])
}

fn server_of(ca: &TestCa) -> Server {
    Server::new(&ca.issue(leaf(HOST)).unwrap())
}

fn labels(expected: &[&str]) -> Vec<String> {
    expected.iter().map(|label| (*label).to_owned()).collect()
}

#[test]
fn a_good_server_is_accepted() {
    let site = ca("site");
    let server = server_of(&site);
    let path = server.write("manifest", &manifest(&site.root_pem()));
    let (code, text) = server.text(&["apiservice", &path]);
    let ca_name = super::site::ca_name(&site.root_pem());
    let expected = format!(
        "- renewal: {NAME}: Calico's API server reads its certificate only when it starts, so that a renewed one is \
         not used before a restart\n    \
         fix: after each renewal: kubectl rollout restart deployment calico-apiserver -n \"calico-apiserver\"\n\
         - days_left: our certificate expires in 59 days\n\
         - host: {NAME}: kube-apiserver connects to {HOST}\n\
         - trusted_ca: {NAME}: {ca_name}\n\
         - accepted: {NAME}: kube-apiserver accepts the certificate for {HOST}: its CA is {ca_name}\n\
         \n\
         no errors, no warnings\n"
    );
    assert_eq!((code, text), (Some(0), expected));
}

/// With the indentation of `kubectl -o json`, and with tabs.
#[test]
fn json_lists_and_other_documents_are_read() {
    let site = ca("site");
    let server = server_of(&site);
    let yaml = manifest(&site.root_pem());
    let spec = json!({
        "caBundle": STANDARD.encode(site.root_pem()),
        "service": { "name": "calico-api", "namespace": "calico-apiserver" },
    });
    let api_service = json!({
        "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
        "metadata": { "name": "v3.projectcalico.org" }, "spec": spec,
    });
    let mut local = api_service.clone();
    local["metadata"]["name"] = "v1.apps".into();
    local["spec"] = json!({ "group": "apps", "version": "v1" });
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": [local, api_service] });
    let json = serde_json::to_string_pretty(&api_service).unwrap();
    let others = "apiVersion: v1\nkind: Service\nmetadata:\n  name: calico-api\nspec:\n  service: x\n";
    for manifest in [
        json.replace("  ", "\t"),
        json.replace("  ", "    "),
        format!("---\n{others}---\n{yaml}---\n---\n{others}"),
        yaml.replace('\n', "\r\n"),
        serde_json::to_string_pretty(&list).unwrap(),
        list.to_string(),
    ] {
        let (code, lines) = check(&server, &manifest);
        assert_eq!((code, findings(&lines)), (Some(0), vec![]), "{manifest}");
        assert_eq!(only(&lines, "accepted")["about"], NAME);
    }
    let (_, lines) = check(&server, &list.to_string());
    let of_local = only(&lines, "no_service");
    assert_eq!((&of_local["level"], &of_local["about"]), (&json!("info"), &json!("APIService \"v1.apps\"")));
}

#[test]
fn the_object_decides_whether_the_server_is_verified() {
    let site = ca("site");
    let server = server_of(&site);
    let good = manifest(&site.root_pem());
    let insecure = good.replace("  group:", "  insecureSkipTLSVerify: true\n  group:");
    let bundle = good.lines().find(|line| line.contains("caBundle")).unwrap().to_owned() + "\n";
    let service = "  service:\n    name: calico-api\n    namespace: calico-apiserver\n    port: 443\n";
    let set = "set spec.caBundle to the output of: base64 -w0 CA-FILE";
    let with_bundle = |value: &str| good.replace(&bundle, &format!("  caBundle: {value}\n"));
    let with_key = STANDARD.encode(site.root_pem() + &site.key_pem());
    let only_key = STANDARD.encode(site.key_pem());
    let key = "caBundle has a private key, and many users may read APIService objects; remove the key from caBundle, \
               and make a new one with a new certificate, because the old one is no secret any more";
    let cases: [(String, &[&str], &str); 11] = [
        (with_bundle(&with_key), &["error ca_bundle"], key),
        (with_bundle(&only_key), &["error ca_bundle", "error ca_bundle"], key),
        (
            insecure.clone(),
            &["error insecure_skip_tls_verify"],
            "insecureSkipTLSVerify is true beside caBundle: kube-apiserver refuses such an object; remove \
             insecureSkipTLSVerify, and set caBundle",
        ),
        (
            insecure.replace(&bundle, ""),
            &["error insecure_skip_tls_verify", "error ca_bundle"],
            "insecureSkipTLSVerify is true: kube-apiserver accepts any certificate, and sends the requests of its \
             users, with their names, to whoever answers; remove insecureSkipTLSVerify, and set caBundle",
        ),
        (
            good.replace(&bundle, ""),
            &["error ca_bundle"],
            "there is no caBundle: kube-apiserver trusts the CAs of its own system, and none of these issues \
             certificates for a service of a cluster; SET",
        ),
        (with_bundle("\"\""), &["error ca_bundle"], "there is no caBundle: "),
        (with_bundle("\"-----BEGIN\""), &["error ca_bundle"], "caBundle is not base64; SET"),
        (with_bundle("eHl6"), &["error ca_bundle"], "caBundle can not be used: "),
        (
            good.replace(service, ""),
            &["error no_service"],
            "it has no spec.service: kube-apiserver serves this API itself, and connects to no other server; set \
             spec.service to the service of the API server, if there is one",
        ),
        (
            good.replace("namespace: calico-apiserver\n", "namespace: \"calico apiserver\"\n"),
            &["error service"],
            "spec.service can not be used: the host \"calico-api.calico apiserver.svc\" is neither a DNS name nor an \
             IP address; correct the name and the namespace of the service",
        ),
        (
            good.replace("status: \"True\"", "status: \"False\"")
                .replace("all checks passed", "'x509: unknown'"),
            &["warning unavailable"],
            "kube-apiserver could not use it when the manifest was written (\"Passed\"): x509: unknown; fix the other \
             findings; if there are none, see whether the pods of the service run",
        ),
    ];
    for (manifest, expected, text) in cases {
        let (code, lines) = check(&server, &manifest);
        assert_eq!((code, findings(&lines)), (Some(1), labels(expected)), "{manifest}");
        let finding = lines.iter().find(|line| line["level"] != "info").unwrap();
        let detail = finding["detail"].as_str().unwrap();
        assert!(detail.starts_with(&text.replace("SET", set)), "{detail}");
        assert_eq!(finding["about"], NAME);
    }
}

/// As in Go, `null` is a value that is not set.
#[test]
fn null_is_not_set() {
    let site = ca("site");
    let server = server_of(&site);
    let good = manifest(&site.root_pem());
    let (start, conditions) = good.split_once("  conditions:\n").unwrap();
    for manifest in [
        good.replace("  group:", "  insecureSkipTLSVerify: null\n  group:"),
        start.replace("status:", "status: null"),
        format!("{start}  conditions: null\n"),
        format!("{start}  conditions:\n{}", conditions.replace("all checks passed", "null")),
    ] {
        let (code, lines) = check(&server, &manifest);
        assert_eq!((code, findings(&lines)), (Some(0), vec![]), "{manifest}");
        assert_eq!(only(&lines, "accepted")["about"], NAME);
    }
    let (spec, _) = good.split_once("spec:").unwrap();
    let (code, lines) = check(&server, &format!("{spec}spec: null\n"));
    assert_eq!((code, findings(&lines)), (Some(1), labels(&["error no_service"])));
    let (code, lines) = check(&server, &good.replace(&STANDARD.encode(site.root_pem()), "null"));
    assert_eq!((code, findings(&lines)), (Some(1), labels(&["error ca_bundle"])));
}

/// Go accepts a leaf that is marked as a CA, and RSA keys of 1024 bits.
#[test]
fn what_only_this_check_refuses_is_not_said_of_kube_apiserver() {
    let site = ca("site");
    let now = std::time::SystemTime::now();
    let as_ca = || CertificateSpec::ca("calico-api").dns_san(HOST).valid(now - DAY, now + 60 * DAY);
    let unsure = "this check can not say whether kube-apiserver (Go) accepts --chain DIR/chain.pem, because it refuses \
                  it itself";
    let (code, lines) = check(&Server::new(&site.issue(as_ca()).unwrap()), &manifest(&site.root_pem()));
    assert_eq!((code, findings(&lines)), (Some(1), labels(&["warning leaf_is_ca", "warning refused"])));
    assert_eq!(
        detail(&lines, "leaf_is_ca"),
        "our certificate CN=\"calico-api\" is marked as a CA: kube-apiserver (Go) allows that, but other programs \
         refuse it; issue one without the cA flag"
    );
    assert_eq!(
        detail(&lines, "refused"),
        format!(
            "{unsure} (ca_used_as_leaf): CN=\"calico-api\" is marked as a CA, and a peer must present a leaf \
             certificate; issue it again with basicConstraints = CA:FALSE"
        )
    );

    let chain = fixture("rsa1024.pem");
    let (code, lines) = check(&Server::of_pem(&chain, &fixture("rsa1024.key")), &manifest(&chain));
    assert_eq!(
        (code, findings(&lines)),
        (Some(1), labels(&["error cert_file_and_key_file", "warning refused"]))
    );
    let refused = format!("{unsure} (unsupported_key_size): ");
    assert!(detail(&lines, "refused").starts_with(&refused), "{lines:?}");

    // A renewed certificate that is not in caBundle yet.
    let [old, new] = [(); 2].map(|()| TestLeaf::self_signed(as_ca()).unwrap());
    let (code, lines) = check(&Server::new(&new), &manifest(&old.chain_pem()));
    assert_eq!((code, findings(&lines)), (Some(1), labels(&["error refused"])));
    assert_eq!(
        detail(&lines, "refused"),
        "kube-apiserver refuses --chain DIR/chain.pem (ca_used_as_leaf): CN=\"calico-api\" is self-signed, and not in \
         caBundle; set caBundle to the base64 of this certificate, or have a CA of caBundle issue it"
    );
    assert_eq!(only(&lines, "refused")["reason"], "ca_used_as_leaf");
}

#[cfg(unix)]
#[test]
fn a_manifest_that_is_no_file_is_a_finding_at_once() {
    let server = server_of(&ca("site"));
    std::process::Command::new("mkfifo").arg(server.path("pipe")).status().unwrap();
    for manifest in [server.path("pipe"), server.path(""), "/dev/zero".to_owned()] {
        let (code, lines) = server.check(&["apiservice", &manifest]);
        assert_eq!((code, findings(&lines)), (Some(1), labels(&["error manifest"])));
        assert_eq!(
            detail(&lines, "manifest"),
            "it can not be read: it is not a regular file; see whether the path is right and this user may read the \
             file"
        );
    }
}

#[test]
fn the_verdict_is_that_of_kube_apiserver() {
    let site = ca("site");
    let now = std::time::SystemTime::now();
    let refused = |leaf: &TestLeaf, bundle: &str| {
        let (code, lines) = check(&Server::new(leaf), &manifest(bundle));
        let line = only(&lines, "refused");
        assert_eq!((code, findings(&lines)), (Some(1), labels(&["error refused"])));
        (line["reason"].as_str().unwrap().to_owned(), line["fix"].as_str().unwrap().to_owned(), lines)
    };
    // A Common Name does not count.
    let of_name = site.issue(spec(HOST, Purpose::ServerAuth)).unwrap();
    let (reason, fix, lines) = refused(&of_name, &site.root_pem());
    assert_eq!(
        (&*reason, fix),
        ("host_mismatch", format!("issue it again with subjectAltName = DNS:{HOST}"))
    );
    let start = format!(
        "kube-apiserver refuses --chain DIR/chain.pem (host_mismatch): the server's certificate is not valid for the \
         host {HOST}: it has neither "
    );
    assert!(detail(&lines, "refused").starts_with(&start), "{lines:?}");
    let (reason, fix, _) = refused(&site.issue(leaf(HOST)).unwrap(), &ca("other").root_pem());
    assert_eq!(
        (&*reason, &*fix),
        (
            "unknown_ca",
            "add the certificate of CN=\"site\" to caBundle; or, if that is an intermediate CA, append it to --chain \
             DIR/chain.pem"
        )
    );
    let (reason, fix, _) = refused(&site.issue(leaf(HOST)).unwrap(), &ca("site").root_pem());
    assert_eq!(
        (&*reason, &*fix),
        (
            "ca_key_mismatch",
            "if that CA was made anew, set caBundle to the base64 of its new certificate; otherwise issue the \
             certificate by the CA of caBundle"
        )
    );
    // What every peer refuses is reported once.
    for (spec, finding) in [
        (leaf(HOST).valid(now - 2 * DAY, now - DAY), "error leaf_expired"),
        (spec("x", Purpose::ClientAuth).dns_san(HOST), "error leaf_lacks_purpose"),
        (leaf(HOST).valid(now - 99 * DAY, now + 5 * DAY), "warning leaf_expires_soon"),
    ] {
        let (code, lines) = check(&Server::new(&site.issue(spec).unwrap()), &manifest(&site.root_pem()));
        assert_eq!((code, findings(&lines)), (Some(1), labels(&[finding])));
    }
    // The CA's own end.
    let old = TestCa::new(CertificateSpec::ca("old").valid(now - 99 * DAY, now - DAY)).unwrap();
    let (_, lines) = check(&server_of(&old), &manifest(&old.root_pem()));
    assert_eq!(findings(&lines), labels(&["warning ca_expired", "error refused"]));
    assert_eq!(only(&lines, "refused")["reason"], "expired");
}

/// As Calico's documentation makes it: the server's certificate is its own caBundle.
#[test]
fn a_self_signed_server_that_is_its_own_bundle_is_accepted() {
    let now = std::time::SystemTime::now();
    let spec = CertificateSpec::ca("calico-api").dns_san(HOST).valid(now - DAY, now + 60 * DAY);
    let own = TestLeaf::self_signed(spec).unwrap();
    let (code, lines) = check(&Server::new(&own), &manifest(&own.chain_pem()));
    assert_eq!((code, findings(&lines)), (Some(0), vec![]), "{lines:?}");
    assert_eq!(only(&lines, "accepted")["about"], NAME);
}

/// It would overflow the stack.
const TOO_DEEP: &str = "it can not be read as YAML or JSON: budget breached: Depth { depth: 65 }";

#[test]
fn a_file_that_can_not_be_used_is_a_finding() {
    let site = ca("site");
    let server = server_of(&site);
    let get = "write it again: kubectl get apiservice v3.projectcalico.org -o yaml";
    // Each of the values is deeper than the one before.
    let deeper = |n: usize| format!("a{n}: &a{n} [[[[[[[[[[*a{}]]]]]]]]]]\n", n - 1);
    let aliases = "a0: &a0 x\n".to_owned() + &(1..100).map(deeper).collect::<String>();
    for (manifest, problem) in [
        ("", "there is no APIService object (apiregistration.k8s.io) in it"),
        ("kind: APIService\napiVersion: example.org/v1\n", "there is no APIService object"),
        ("a: [", "it can not be read as YAML or JSON: "),
        ("a: 1\na: 2\n", "it can not be read as YAML or JSON: "),
        (&"- ".repeat(1000), TOO_DEEP),
        (&"[".repeat(1000), "it can not be read as YAML or JSON: recursion limit exceeded"),
        (&aliases, TOO_DEEP),
        (
            "kind: APIService\napiVersion: apiregistration.k8s.io/v1\nmetadata: {name: x}\nspec: {caBundle: {}}\n",
            "an APIService object in it can not be read: invalid type: map, expected a string",
        ),
    ] {
        let (code, lines) = check(&server, manifest);
        assert_eq!((code, findings(&lines)), (Some(1), labels(&["error manifest"])), "{manifest}");
        let line = only(&lines, "manifest");
        let detail = line["detail"].as_str().unwrap();
        assert!(detail.starts_with(problem) && detail.ends_with(&format!("; {get}")), "{detail}");
        assert!(!detail.contains('\n'), "{detail}");
        assert_eq!(line["about"], "DIR/manifest");
        // The certificate is checked nevertheless.
        assert_eq!(lines.iter().map(name).collect::<Vec<_>>(), ["manifest", "days_left"]);
    }
    let (code, lines) = server.check(&["apiservice", &server.path("none")]);
    assert_eq!((code, findings(&lines)), (Some(1), labels(&["error manifest"])));
    assert_eq!(
        only(&lines, "manifest")["fix"],
        "see whether the path is right and this user may read the file"
    );
    std::fs::File::create(server.path("large")).unwrap().set_len((16 << 20) + 1).unwrap();
    let (_, lines) = server.check(&["apiservice", &server.path("large")]);
    assert_eq!(detail(&lines, "manifest"), format!("it is larger than 16 MiB; {get}"));
    // Nothing of a manifest changes the terminal, and a long message is cut.
    let long = "x\u{1b}[2J".repeat(10_000);
    let message = serde_json::to_string(&long).unwrap();
    let manifest =
        manifest(&site.root_pem()).replace("all checks passed", &message).replace("\"True\"", "\"False\"");
    let path = server.write("manifest", &manifest);
    let (code, text) = server.text(&["apiservice", &path]);
    assert!(text.contains("): x\\u{1b}[2J") && text.contains(" bytes more)\n"), "{text}");
    assert!(!text.contains('\u{1b}') && text.len() < 8 << 10, "{}", text.len());
    assert_eq!(code, Some(1));
}
