//! `typha-tls check apiservice`: the certificate of an aggregated API server, and the APIService object by which
//! kube-apiserver connects to it.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use rustls_pki_types::UnixTime;
use serde::Deserialize;
use serde_json::{Value, json};
use typha_tls::config::open_file;
use typha_tls::error::{Quoted, WithCauses};
use typha_tls::material::{RevocationLists, TrustBundle};
use typha_tls::policy::TlsPolicy;
use typha_tls::verifier::{HostVerifier, Rejection};
use typha_tls::{CertificateFacts, Role, ServerHost};

use super::own::{Own, OwnFiles, Peers};
use super::report::{Line, Report, SEE_PATH};
use super::warnings;
use crate::output;

#[derive(Args)]
pub(crate) struct Arguments {
    /// The APIService object as YAML or JSON: kubectl get apiservice v3.projectcalico.org -o yaml
    manifest: PathBuf,
    /// PEM chain of the API server, leaf first
    #[arg(long, value_name = "FILE")]
    chain: PathBuf,
    /// PEM private key of the leaf
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
}

/// The most bytes of a manifest. All objects of a cluster have less.
const MAX_MANIFEST: u64 = 16 << 20;

/// How deep the values of a manifest may be nested. Each level takes some of the stack.
const MAX_DEPTH: usize = 64;

const KUBE_APISERVER: Peers = Peers::Go("kube-apiserver");

/// The end of the line before a private key in PEM.
const PRIVATE_KEY: &[u8] = b"PRIVATE KEY-----";

/// The parts of an APIService object that decide about its TLS. As for kube-apiserver, `null` is a value that is not
/// set.
#[derive(Deserialize)]
struct ApiService {
    metadata: Metadata,
    spec: Option<Spec>,
    status: Option<Status>,
}

#[derive(Deserialize)]
struct Metadata {
    name: String,
}

#[derive(Deserialize)]
struct Spec {
    #[serde(rename = "caBundle")]
    ca_bundle: Option<String>,
    #[serde(rename = "insecureSkipTLSVerify")]
    insecure_skip_tls_verify: Option<bool>,
    service: Option<Service>,
}

#[derive(Deserialize)]
struct Service {
    name: String,
    namespace: String,
}

#[derive(Deserialize)]
struct Status {
    conditions: Option<Vec<Condition>>,
}

#[derive(Deserialize)]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
    reason: Option<String>,
    message: Option<String>,
}

/// The server, as kube-apiserver would meet it now.
struct Server<'a> {
    /// `None` if there is no chain.
    own: Option<Own>,
    files: OwnFiles<'a>,
    policy: &'a TlsPolicy,
    now: UnixTime,
}

pub(super) fn check(report: &mut Report, arguments: &Arguments, policy: &TlsPolicy, now: UnixTime) {
    let objects = read(&arguments.manifest).unwrap_or_else(|Unusable { problem, fix }| {
        report.add(Line::error("manifest", problem).about(arguments.manifest.display().to_string()).fix(fix));
        Vec::new()
    });
    let files = OwnFiles { chain: ("--chain", &arguments.chain), key: ("--key", &arguments.key) };
    let own = files.check(report, Role::Server, policy, KUBE_APISERVER, now);
    let server = Server { own, files, policy, now };
    let is_one_remote = objects.iter().any(|object| object.service().is_some());
    for object in objects {
        let about = format!("APIService {}", Quoted(&object.metadata.name));
        if let Some((spec, service)) = object.service() {
            server.check(report, &about, spec, service);
            if object.metadata.name.ends_with(".projectcalico.org") {
                let detail = "Calico's API server reads its certificate only when it starts, so that a renewed one is \
                              not used before a restart";
                let fix = format!(
                    "after each renewal: kubectl rollout restart deployment calico-apiserver -n {}",
                    Quoted(&service.namespace)
                );
                report.add(Line::info("renewal", detail).about(&about).fix(fix));
            }
            if let Some(status) = &object.status {
                status.report(report, &about);
            }
        } else {
            let detail = "it has no spec.service: kube-apiserver serves this API itself, and connects to no other \
            server";
            report.add(match is_one_remote {
                true => Line::info("no_service", detail).about(about),
                false => Line::error("no_service", detail)
                    .about(about)
                    .fix("set spec.service to the service of the API server, if there is one"),
            });
        }
    }
}

impl ApiService {
    fn service(&self) -> Option<(&Spec, &Service)> {
        let spec = self.spec.as_ref()?;
        Some((spec, spec.service.as_ref()?))
    }
}

/// Why a manifest can not be used.
struct Unusable {
    problem: String,
    fix: &'static str,
}

/// The APIService objects of a file: those among several documents, and those of a list.
fn read(manifest: &Path) -> Result<Vec<ApiService>, Unusable> {
    let mut text = String::new();
    let file = open_file(manifest).and_then(|file| file.take(MAX_MANIFEST + 1).read_to_string(&mut text));
    file.map_err(|error| Unusable { problem: format!("it can not be read: {error}"), fix: SEE_PATH })?;
    let unusable = |problem: String| Unusable {
        problem,
        fix: "write it again: kubectl get apiservice v3.projectcalico.org -o yaml",
    };
    if text.len() as u64 > MAX_MANIFEST {
        return Err(unusable(format!("it is larger than {} MiB", MAX_MANIFEST >> 20)));
    }
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_depth: MAX_DEPTH },
    };
    let documents: Vec<Value> =
        serde_saphyr::from_multiple_with_options(&text, options).map_err(|error| {
            // The places of many aliases make it long.
            let problem = output::cut_detail(&error.without_snippet().to_string());
            unusable(format!("it can not be read as YAML or JSON: {problem}"))
        })?;
    let is_api_service = |object: &Value| {
        let group = object["apiVersion"].as_str().and_then(|version| version.split_once('/'));
        object["kind"] == "APIService" && group.is_some_and(|(group, _)| group == "apiregistration.k8s.io")
    };
    let is_list = |document: &Value| document["kind"].as_str().is_some_and(|kind| kind.ends_with("List"));
    let objects =
        documents.into_iter().flat_map(|mut document| match document.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) if is_list(&document) => items,
            _ => vec![document],
        });
    let objects = objects.filter(is_api_service).map(|object| {
        serde_json::from_value(object)
            .map_err(|error| unusable(format!("an APIService object in it can not be read: {error}")))
    });
    let objects = objects.collect::<Result<Vec<_>, _>>()?;
    match objects.is_empty() {
        true => Err(unusable("there is no APIService object (apiregistration.k8s.io) in it".to_owned())),
        false => Ok(objects),
    }
}

impl Server<'_> {
    fn check(&self, report: &mut Report, about: &str, spec: &Spec, service: &Service) {
        if spec.insecure_skip_tls_verify == Some(true) {
            let detail = match &spec.ca_bundle {
                Some(_) => {
                    "insecureSkipTLSVerify is true beside caBundle: kube-apiserver refuses such an object"
                }
                None => {
                    "insecureSkipTLSVerify is true: kube-apiserver accepts any certificate, and sends the requests of \
                     its users, with their names, to whoever answers"
                }
            };
            let fix = "remove insecureSkipTLSVerify, and set caBundle";
            report.add(Line::error("insecure_skip_tls_verify", detail).about(about).fix(fix));
        }
        let host = match ServerHost::new(&format!("{}.{}.svc", service.name, service.namespace)) {
            Ok(host) => host,
            Err(error) => {
                let line = Line::error("service", format!("spec.service can not be used: {error}"));
                let fix = "correct the name and the namespace of the service";
                return report.add(line.split().about(about).fix(fix));
            }
        };
        report.add(Line::info("host", format!("kube-apiserver connects to {host}")).about(about));
        let Some(bundle) = spec.bundle(report, about) else { return };
        for name in bundle.names() {
            report.add(Line::info("trusted_ca", name).about(about));
        }
        for warning in bundle.warnings(self.now) {
            report.add(warnings::line(&warning, "caBundle: ").about(about));
        }
        let Some(own) = &self.own else { return };
        let verifier = HostVerifier::new(bundle, RevocationLists::none(), self.policy);
        let rejection = match verifier.verify(&own.chain, &host, self.now) {
            Ok(server) => {
                let detail =
                    format!("kube-apiserver accepts the certificate for {host}: its CA is {}", server.ca());
                return report.add(Line::info("accepted", detail).about(about));
            }
            Err(rejection) => rejection,
        };
        let chain = self.files.about_chain();
        let label = rejection.label();
        let is_self_signed = || {
            let leaf = own.chain.first().and_then(|leaf| CertificateFacts::read(leaf).ok());
            leaf.is_some_and(|leaf| leaf.is_self_issued)
        };
        let line = match &rejection {
            Rejection::CaUsedAsLeaf { subject } if is_self_signed() => {
                let detail = format!(
                    "kube-apiserver refuses {chain} ({label}): {subject} is self-signed, and not in caBundle; set \
                     caBundle to the base64 of this certificate, or have a CA of caBundle issue it"
                );
                Line::error("refused", detail)
            }
            _ if KUBE_APISERVER.may_accept(label) => {
                let detail = format!(
                    "this check can not say whether kube-apiserver (Go) accepts {chain}, because it refuses it itself \
                     ({label}): {}",
                    WithCauses(&rejection)
                );
                Line::warning("refused", detail)
            }
            _ => {
                let text = WithCauses(&rejection);
                Line::error("refused", format!("kube-apiserver refuses {chain} ({label}): {text}"))
            }
        };
        let line = line.about(about).split();
        let line = line.members(json!({ "reason": label }));
        report.add(match &rejection {
            Rejection::CaKeyMismatch { .. } => line.fix(
                "if that CA was made anew, set caBundle to the base64 of its new certificate; otherwise issue the \
                 certificate by the CA of caBundle",
            ),
            Rejection::HostMismatch(_) => {
                line.fix(format!("issue it again with subjectAltName = DNS:{host}"))
            }
            Rejection::UnknownCa { issuer, .. } => line.fix(format!(
                "add the certificate of {issuer} to caBundle; or, if that is an intermediate CA, append it to {chain}"
            )),
            // Every peer refuses it for this reason, so it is reported already.
            _ if own.is_refused && !KUBE_APISERVER.may_accept(label) => return,
            _ => line.or_fix("issue a new certificate"),
        });
    }
}

impl Spec {
    /// The CAs of caBundle.
    fn bundle(&self, report: &mut Report, about: &str) -> Option<TrustBundle> {
        let mut refuse = |problem: &str, fix: &str| {
            report.add(Line::error("ca_bundle", problem).about(about).fix(fix));
            None
        };
        let set = "set spec.caBundle to the output of: base64 -w0 CA-FILE";
        let Some(encoded) = self.ca_bundle.as_deref().filter(|encoded| !encoded.is_empty()) else {
            return refuse(
                "there is no caBundle: kube-apiserver trusts the CAs of its own system, and none of these issues \
                 certificates for a service of a cluster",
                set,
            );
        };
        // Like Go's decoder, which ignores line breaks.
        let Ok(pem) = STANDARD.decode(encoded.replace(['\r', '\n'], "")) else {
            return refuse("caBundle is not base64", set);
        };
        if pem.windows(PRIVATE_KEY.len()).any(|part| part == PRIVATE_KEY) {
            let problem = "caBundle has a private key, and many users may read APIService objects";
            let fix = "remove the key from caBundle, and make a new one with a new certificate, because the old one is \
                       no secret any more";
            refuse(problem, fix);
        }
        match TrustBundle::from_pem(&pem) {
            Ok(bundle) => Some(bundle),
            Err(error) => refuse(&format!("caBundle can not be used: {}", WithCauses(&error)), set),
        }
    }
}

impl Status {
    /// Reports what kube-apiserver itself says.
    fn report(&self, report: &mut Report, about: &str) {
        let is_unavailable =
            |condition: &&Condition| condition.kind == "Available" && condition.status != "True";
        if let Some(condition) = self.conditions.iter().flatten().find(is_unavailable) {
            let detail = format!(
                "kube-apiserver could not use it when the manifest was written ({}): {}",
                Quoted(condition.reason.as_deref().unwrap_or_default()),
                output::cut_detail(condition.message.as_deref().unwrap_or_default())
            );
            let fix = "fix the other findings; if there are none, see whether the pods of the service run";
            report.add(Line::warning("unavailable", detail).about(about).fix(fix));
        }
    }
}
