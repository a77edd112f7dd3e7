//! A validator that does what the test says.

use std::fmt;
use std::sync::{Arc, Mutex};

use carrick_core::{Block, Context, Message, Path, Remote, Result, Validator, Verdict, async_trait};
use futures::future::BoxFuture;

type OnMessage = Box<dyn Fn(Message, Path) -> BoxFuture<'static, Verdict> + Send + Sync>;
type OnBlock = Box<dyn Fn(Block) -> BoxFuture<'static, Verdict> + Send + Sync>;
type OnAccepted = Box<dyn Fn(Message) -> BoxFuture<'static, Result<()>> + Send + Sync>;

/// Accepts everything unless told otherwise, and remembers what it was asked.
pub(crate) struct Judge {
    on_message: Option<OnMessage>,
    on_block: Option<OnBlock>,
    on_accepted: Option<OnAccepted>,
    asked: Mutex<Vec<Asked>>,
}

/// One question, in the order in which they came.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Asked {
    Message { payload: String, path: Path, from: Option<Remote>, transport: Option<String> },
    Block(Vec<u8>),
    Accepted(String),
}

impl Judge {
    pub(crate) fn new() -> Self {
        Self { on_message: None, on_block: None, on_accepted: None, asked: Mutex::default() }
    }

    pub(crate) fn messages<F>(mut self, judge: impl Fn(Message, Path) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Verdict> + Send + 'static,
    {
        self.on_message = Some(Box::new(move |message, path| Box::pin(judge(message, path))));
        self
    }

    pub(crate) fn blocks<F>(mut self, judge: impl Fn(Block) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Verdict> + Send + 'static,
    {
        self.on_block = Some(Box::new(move |block| Box::pin(judge(block))));
        self
    }

    pub(crate) fn accepted<F>(mut self, take: impl Fn(Message) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        self.on_accepted = Some(Box::new(move |message| Box::pin(take(message))));
        self
    }

    pub(crate) fn arc(self) -> Arc<Self> {
        Arc::new(self)
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("lock").clone()
    }

    /// The payloads of the messages it was asked to judge.
    pub(crate) fn judged(&self) -> Vec<String> {
        let payload = |asked| if let Asked::Message { payload, .. } = asked { Some(payload) } else { None };
        self.asked().into_iter().filter_map(payload).collect()
    }

    /// The payloads of the messages it was told of.
    pub(crate) fn took(&self) -> Vec<String> {
        let payload = |asked| if let Asked::Accepted(payload) = asked { Some(payload) } else { None };
        self.asked().into_iter().filter_map(payload).collect()
    }

    fn note(&self, asked: Asked) {
        self.asked.lock().expect("lock").push(asked);
    }
}

impl fmt::Debug for Judge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Judge")
    }
}

fn text(message: &Message) -> String {
    String::from_utf8_lossy(message.payload()).into_owned()
}

#[async_trait]
impl Validator for Judge {
    async fn message(&self, cx: &Context<'_>, message: &Message) -> Verdict {
        self.note(Asked::Message {
            payload: text(message),
            path: cx.path,
            from: cx.from.cloned(),
            transport: cx.transport.map(str::to_owned),
        });
        match &self.on_message {
            Some(judge) => judge(message.clone(), cx.path).await,
            None => Verdict::Accept,
        }
    }

    async fn block(&self, _: &Context<'_>, block: &Block) -> Verdict {
        self.note(Asked::Block(block.bytes().to_vec()));
        match &self.on_block {
            Some(judge) => judge(block.clone()).await,
            None => Verdict::Accept,
        }
    }

    async fn accepted(&self, _: &Context<'_>, message: &Message) -> Result<()> {
        self.note(Asked::Accepted(text(message)));
        match &self.on_accepted {
            Some(take) => take(message.clone()).await,
            None => Ok(()),
        }
    }
}
