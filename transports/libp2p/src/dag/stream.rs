//! A stream of the swarm with the traits of tokio.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures::io::{AsyncRead as _, AsyncWrite as _};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::asked::Life;
use crate::streams::Held;

/// A stream that keeps its place among those of its peer, and tells what came.
#[derive(Debug)]
pub(super) struct Io {
    held: Held,
    life: Option<Arc<Life>>,
}

impl Io {
    pub(super) fn new(held: Held, life: Option<Arc<Life>>) -> Self {
        Self { held, life }
    }
}

impl AsyncRead for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = ready!(Pin::new(&mut self.held.stream).poll_read(cx, buf.initialize_unfilled()))?;
        buf.advance(read);
        if let Some(life) = &self.life {
            life.came(read);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Io {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.held.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.held.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.held.stream).poll_close(cx)
    }
}
