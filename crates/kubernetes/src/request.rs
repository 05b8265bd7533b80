//! Lists the EndpointSlices of a service, page by page.
//!
//! The types of the API's own crate are not used: they parse whole slices, including metadata and field managers. This
//! crate needs a tenth of that.

use std::error::Error;

use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use kube::api::ListParams;
use kube::client::Body;
use kube::core::Request;
use serde::Deserialize;

use crate::client::{ApiClient, connection_error};
use crate::error::KubernetesError;
use crate::slices::{Slice, SliceList};
use typha_tls::HandshakeError;
use typha_tls::error::{Quoted, WithCauses};
use typha_tls::host::{HostConnector, HttpsError};

/// The most slices in one answer, as in kubectl. Few services of Typhas have more than one slice of each family.
const PAGE: u32 = 500;

/// The most bytes in all answers together. A slice of a hundred endpoints has about 50 KiB.
const MAX_BYTES: usize = 32 * 1024 * 1024;

/// Calls `slice` for every slice of the service.
pub(crate) async fn list(
    api: &ApiClient,
    namespace: &str,
    service: &str,
    mut slice: impl FnMut(Slice),
) -> Result<(), KubernetesError> {
    let request = Request::new(format!("/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"));
    let mut parameters =
        ListParams::default().labels(&format!("kubernetes.io/service-name={service}")).limit(PAGE);
    let mut budget = MAX_BYTES;
    loop {
        let malformed = |problem: String| KubernetesError::Malformed { problem };
        let page =
            request.list(&parameters).map_err(|error| malformed(Quoted(&error.to_string()).to_string()))?;
        let response = api.client.send(page.map(Body::from)).await.map_err(|error| transport(&error))?;
        let status = response.status().as_u16();
        let body = read(response.into_body(), budget).await?;
        budget = budget.saturating_sub(body.len());
        if status != 200 {
            return Err(refusal(status, &body, namespace, api));
        }
        let list = serde_json::from_slice::<SliceList>(&body)
            .map_err(|error| malformed(Quoted(&error.to_string()).to_string()))?;
        if list.kind != "EndpointSliceList" {
            return Err(malformed(format!("it sent {}, not an EndpointSliceList", Quoted(&list.kind))));
        }
        list.items.unwrap_or_default().into_iter().for_each(&mut slice);
        match list.metadata.continue_token.filter(|token| !token.is_empty()) {
            Some(token) => parameters.continue_token = Some(token),
            None => return Ok(()),
        }
    }
}

async fn read(body: Body, budget: usize) -> Result<Vec<u8>, KubernetesError> {
    let collected = Limited::new(body, budget).collect().await.map_err(|error| {
        if error.is::<LengthLimitError>() {
            KubernetesError::TooLarge { limit: MAX_BYTES }
        } else {
            transport(&*error)
        }
    })?;
    Ok(collected.to_bytes().to_vec())
}

/// The API's form of an error. Proxies in front of it send other forms.
#[derive(Deserialize)]
struct Status {
    message: String,
}

fn refusal(status: u16, body: &[u8], namespace: &str, api: &ApiClient) -> KubernetesError {
    let message = match serde_json::from_slice::<Status>(body) {
        Ok(status) => status.message,
        Err(_) => String::from_utf8_lossy(body).trim().to_owned(),
    };
    match status {
        401 => {
            let config = api.connector.as_ref().map(HostConnector::config);
            let credentials = config.as_ref().and_then(|config| config.material.credentials.as_ref());
            let certificate = credentials.map(|own| own.identity().to_string());
            KubernetesError::Unauthorized { message, certificate }
        }
        403 => KubernetesError::Forbidden { namespace: namespace.to_owned(), message },
        _ => KubernetesError::Answered { status, message },
    }
}

/// An error of the connection. If there was none, its causes become one text, because they may quote an
/// unauthenticated peer.
fn transport(error: &(dyn Error + 'static)) -> KubernetesError {
    if let Some(reason) = connection_error(error) {
        let handshake = match reason {
            HttpsError::Dial(error) => error.handshake(),
            _ => None,
        };
        return match handshake {
            None
            | Some(HandshakeError::Closed { .. } | HandshakeError::Io(_) | HandshakeError::TimedOut { .. }) => {
                KubernetesError::Unreachable(reason.clone())
            }
            Some(_) => KubernetesError::Untrusted(reason.clone()),
        };
    }
    // The text of kube's own errors includes their cause.
    let error = error.source().filter(|_| error.is::<kube::Error>()).unwrap_or(error);
    KubernetesError::Disconnected { cause: WithCauses(error).to_string() }
}
