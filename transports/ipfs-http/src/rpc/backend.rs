//! Our client in the place of the crate's own, so that its typed calls go the same way as ours.

use async_trait::async_trait;
use bytes::Bytes;
use common_multipart_rfc7578::client::multipart::Form;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use http_02::StatusCode;
use http_02::header::{HeaderName, HeaderValue};
use ipfs_api_prelude::{ApiRequest, Backend, BoxStream};

use super::{Answer, Fault, Payload, Prepared, Rpc, place};

#[async_trait]
impl Backend for Rpc {
    type HttpRequest = Prepared;
    type HttpResponse = Answer;
    type Error = Fault;

    fn build_base_request<R: ApiRequest>(
        &self,
        call: R,
        form: Option<Form<'static>>,
    ) -> Result<Prepared, Fault> {
        self.prepare(&call, form.map_or(Payload::Nothing, Payload::Form))
    }

    /// None: whoever asks wants to know of trailers, and those are read with the body.
    fn get_header(_: &Answer, _: HeaderName) -> Option<&HeaderValue> {
        None
    }

    /// Only 200: everything else is an error already.
    async fn request_raw<R: ApiRequest>(
        &self,
        call: R,
        form: Option<Form<'static>>,
    ) -> Result<(StatusCode, Bytes), Fault> {
        let payload = form.map_or(Payload::Nothing, Payload::Form);
        let bytes = self.bytes(call, payload).await?;
        Ok((StatusCode::OK, bytes))
    }

    fn response_to_byte_stream(answer: Answer) -> BoxStream<Bytes, Fault> {
        let chunks = stream::try_unfold(answer, async |mut answer| {
            Ok(answer.chunk().await?.map(|chunk| (chunk, answer)))
        });
        Box::new(chunks.boxed())
    }

    fn request_stream<T, F>(&self, call: Prepared, process: F) -> BoxStream<T, Fault>
    where
        F: 'static + Send + Fn(Answer) -> BoxStream<T, Fault>,
    {
        let answer = begin(self.clone(), call);
        Box::new(stream::once(answer).map_ok(process).try_flatten())
    }
}

/// Waits for a place, and for the answer to begin.
fn begin(rpc: Rpc, call: Prepared) -> BoxFuture<'static, Result<Answer, Fault>> {
    async move {
        let slot = place(&rpc.0.calls).await;
        rpc.send(call, rpc.patience(), slot, rpc.0.idle).await
    }
    .boxed()
}
