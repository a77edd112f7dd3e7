//! What goes out with a call.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use carrick_core::BoxError;
use common_multipart_rfc7578::client::multipart::{self, Form};
use futures::TryStreamExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty, StreamBody};
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::watch;

/// How much of a part goes out at once: as finely it shows how far it got.
const PIECE: usize = 16 << 10;

/// What goes out with a call.
pub(crate) enum Payload {
    Nothing,
    /// A file, without a copy.
    Part(Bytes),
    /// As the typed calls of the crate make it.
    Form(Form<'static>),
}

pub(super) type Sent = UnsyncBoxBody<Bytes, BoxError>;

impl Payload {
    /// The body, and its content type where it has one.
    pub(super) fn into_body(self) -> (Sent, Option<String>) {
        match self {
            Self::Nothing => (Empty::new().map_err(never).boxed_unsync(), None),
            Self::Part(bytes) => {
                // Drawn anew, so that nobody can write content that ends the part.
                let boundary = format!("carrick-{:032x}", rand::random::<u128>());
                let head = format!(
                    "--{boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"file\"\r\n\
                     Content-Type: application/octet-stream\r\n\r\n"
                );
                let tail = format!("\r\n--{boundary}--\r\n");
                let parts = VecDeque::from([head.into(), bytes, tail.into()]);
                let kind = format!("multipart/form-data; boundary={boundary}");
                (Parts(parts).map_err(never).boxed_unsync(), Some(kind))
            }
            Self::Form(form) => {
                let kind = form.content_type();
                let body = multipart::Body::from(form)
                    .map_ok(|bytes| Frame::data(bytes.freeze()))
                    .map_err(|error| BoxError::from(error.to_string()));
                (StreamBody::new(body).boxed_unsync(), Some(kind))
            }
        }
    }
}

fn never(error: Infallible) -> BoxError {
    match error {}
}

/// A body that tells of each piece that is taken from it, and of its end by being dropped.
pub(super) struct Watched {
    body: Sent,
    taken: watch::Sender<()>,
}

impl Watched {
    pub(super) fn new(body: Sent) -> (Self, watch::Receiver<()>) {
        let (taken, watch) = watch::channel(());
        (Self { body, taken }, watch)
    }
}

impl Body for Watched {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        self.taken.send_replace(());
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Chunks whose length together is known.
struct Parts(VecDeque<Bytes>);

impl Body for Parts {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = match self.0.front_mut() {
            Some(part) if part.len() > PIECE => Some(part.split_to(PIECE)),
            _ => self.0.pop_front(),
        };
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.iter().map(|bytes| bytes.len() as u64).sum())
    }
}
