//! What the nodes of a test say in their logs, where an operator would read why something was refused.

use std::io;
use std::sync::{Arc, Mutex};

use carrick_core::Cid;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;

/// The log of this thread's nodes, for as long as it lives.
pub(crate) struct Told {
    log: Log,
    _guard: tracing::subscriber::DefaultGuard,
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Told {
    pub(crate) fn listen() -> Self {
        let log = Log::default();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(LevelFilter::DEBUG)
            .with_ansi(false)
            .with_writer(log.clone())
            .finish();
        Self { log, _guard: tracing::subscriber::set_default(subscriber) }
    }

    /// Whether something was told of this message or page with these words.
    pub(crate) fn says(&self, of: &Cid, words: &str) -> bool {
        self.lines().lines().any(|line| line.contains(&of.to_string()) && line.contains(words))
    }

    pub(crate) fn lines(&self) -> String {
        String::from_utf8_lossy(&self.log.0.lock().expect("lock")).into_owned()
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("lock").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
