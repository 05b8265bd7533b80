//! The calls of etcd's gRPC API that the tests need, written by hand: the generated code would need `protoc`.

use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Request, Status, Streaming};
use tonic_prost::ProstCodec;

use crate::site::SOON;

#[derive(Clone, PartialEq, prost::Message)]
struct PutRequest {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RangeRequest {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RangeResponse {
    #[prost(message, repeated, tag = "2")]
    key_values: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct KeyValue {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) key: Vec<u8>,
    #[prost(bytes = "vec", tag = "5")]
    pub(crate) value: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Empty {}

#[derive(Clone, PartialEq, prost::Message)]
struct WatchRequest {
    #[prost(message, optional, tag = "1")]
    create: Option<RangeRequest>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WatchResponse {
    #[prost(bool, tag = "3")]
    created: bool,
    #[prost(message, repeated, tag = "11")]
    events: Vec<Event>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Event {
    #[prost(message, optional, tag = "2")]
    key_value: Option<KeyValue>,
}

async fn unary<Q, R>(channel: &Channel, path: &'static str, request: Q) -> Result<R, Status>
where
    Q: prost::Message + 'static,
    R: prost::Message + Default + 'static,
{
    let mut grpc = Grpc::new(channel.clone());
    grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let (path, codec) = (PathAndQuery::from_static(path), ProstCodec::<Q, R>::default());
    let call = grpc.unary(Request::new(request), path, codec);
    timeout(SOON, call).await.expect("etcd does not answer").map(tonic::Response::into_inner)
}

pub(crate) async fn put(channel: &Channel, key: &str, value: &str) -> Result<(), Status> {
    let request = PutRequest { key: key.into(), value: value.into() };
    unary::<_, Empty>(channel, "/etcdserverpb.KV/Put", request).await.map(drop)
}

pub(crate) async fn get(channel: &Channel, key: &str) -> Result<Option<String>, Status> {
    let request = RangeRequest { key: key.into() };
    let response: RangeResponse = unary(channel, "/etcdserverpb.KV/Range", request).await?;
    let first = response.key_values.into_iter().next();
    Ok(first.map(|found| String::from_utf8(found.value).unwrap()))
}

/// A running watch of one key.
pub(crate) struct Watch {
    responses: Streaming<WatchResponse>,
    _requests: mpsc::Sender<WatchRequest>,
}

impl Watch {
    pub(crate) async fn start(channel: &Channel, key: &str) -> Self {
        let (requests, receiver) = mpsc::channel(1);
        requests.send(WatchRequest { create: Some(RangeRequest { key: key.into() }) }).await.unwrap();
        let mut grpc = Grpc::new(channel.clone());
        grpc.ready().await.unwrap();
        let path = PathAndQuery::from_static("/etcdserverpb.Watch/Watch");
        let requests_stream = Request::new(ReceiverStream::new(receiver));
        let call =
            grpc.streaming(requests_stream, path, ProstCodec::<WatchRequest, WatchResponse>::default());
        let mut responses = timeout(SOON, call).await.expect("no watch").unwrap().into_inner();
        let created = timeout(SOON, responses.message()).await.expect("no watch").unwrap().unwrap();
        assert!(created.created);
        Self { responses, _requests: requests }
    }

    /// The value of the next event.
    pub(crate) async fn next(&mut self) -> Result<String, Status> {
        loop {
            let response = timeout(SOON, self.responses.message()).await.expect("no event");
            let Some(response) = response? else { return Err(Status::aborted("the watch has ended")) };
            if let Some(event) = response.events.into_iter().next() {
                return Ok(String::from_utf8(event.key_value.unwrap().value).unwrap());
            }
        }
    }
}
