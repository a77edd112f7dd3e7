//! A validator that does what messages say.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use cid::Cid;
use tokio::sync::watch;

use crate::{Block, Context, Error, ErrorKind, Message, MessageId, Need, Result, Validator, Verdict};

/// Judges a message by the first word of its payload; what it does not know it accepts.
///
/// `reject` and `ignore` are refused, `once` is ignored when it comes first; `hold` waits for [`release`](Judge::release);
/// `block CID` and `message CID` are deferred until they are there; `panic`, `hang` and `fail` break the validator.
#[derive(Debug, Default)]
pub(super) struct Judge {
    /// How many messages were held, and whether any are now.
    held: watch::Sender<Held>,
    met: Mutex<BTreeSet<MessageId>>,
    taken: Mutex<BTreeSet<MessageId>>,
}

#[derive(Debug, Default)]
struct Held {
    count: usize,
    released: bool,
}

impl Judge {
    pub(super) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Accepts what is held, and holds nothing any more.
    pub(super) fn release(&self) {
        self.held.send_modify(|held| held.released = true);
    }

    /// Waits until so many messages are held.
    pub(super) async fn holds(&self, count: usize) {
        let mut held = self.held.subscribe();
        held.wait_for(|held| held.count >= count).await.expect("it is told here");
    }

    async fn hold(&self) -> Verdict {
        let mut held = self.held.subscribe();
        self.held.send_modify(|held| held.count += 1);
        held.wait_for(|held| held.released).await.expect("it is told here");
        Verdict::Accept
    }
}

#[async_trait]
impl Validator for Judge {
    async fn message(&self, cx: &Context<'_>, message: &Message) -> Verdict {
        let said = String::from_utf8_lossy(message.payload());
        let mut words = said.split_whitespace();
        let first = words.next().unwrap_or_default();
        let cid = || words.clone().next().and_then(|cid| cid.parse::<Cid>().ok()).expect("a CID");
        match first {
            "reject" => Verdict::Reject("it says so".into()),
            "ignore" => Verdict::Ignore("it says so".into()),
            "once" if self.met.lock().expect("lock").insert(*message.id()) => {
                Verdict::Ignore("it is the first time".into())
            }
            "hold" => self.hold().await,
            "block" if !cx.store.has(&cid()).await.expect("a store") => {
                Verdict::Defer(vec![Need::Block(cid())])
            }
            "message" if !self.taken.lock().expect("lock").contains(&MessageId::from_cid(cid())) => {
                Verdict::Defer(vec![Need::Message(cid())])
            }
            "panic" => panic!("it says so"),
            "hang" => std::future::pending().await,
            _ => Verdict::Accept,
        }
    }

    async fn block(&self, _: &Context<'_>, _: &Block) -> Verdict {
        Verdict::Accept
    }

    async fn accepted(&self, _: &Context<'_>, message: &Message) -> Result<()> {
        if message.payload().starts_with(b"fail") {
            return Err(Error::new(ErrorKind::Full, "accepted", "it says so"));
        }
        self.taken.lock().expect("lock").insert(*message.id());
        Ok(())
    }
}
