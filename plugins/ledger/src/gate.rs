//! What the ledger lets through the gate.

use carrick_core::{
    Block, Cause, Context, Error, ErrorKind, Message, Need, Result, Validator, Verdict, async_trait,
};

use crate::index::Record;
use crate::ledger::{Inner, lock};
use crate::place::digest;
use crate::{Entry, rule::Past};

/// What stands in the way of a message.
enum Before {
    /// Its parents are there.
    Nothing(Record),
    Missing(Vec<Need>),
}

impl Inner {
    fn before(&self, message: &Message) -> Result<Before> {
        let (entry, parents) = (message.id().cid(), message.parents());
        self.with_index(|index| match index.record(entry, parents) {
            Some(record) => Before::Nothing(record),
            None => Before::Missing(index.missing(parents).into_iter().map(Need::Message).collect()),
        })
    }

    fn follows_a_refused_one(&self, message: &Message) -> bool {
        let mut refused = lock(&self.refused);
        message.parents().iter().filter_map(digest).any(|parent| refused.get(&parent).is_some())
    }

    fn refuse(&self, message: &Message) {
        if let Some(digest) = digest(message.id().cid()) {
            lock(&self.refused).put(digest, ());
        }
    }

    async fn judge(&self, message: &Message, record: &Record) -> Verdict {
        let Some(entry) = Entry::new(record.place.clock(), message.clone()) else {
            return Verdict::Reject("nobody signed it".into());
        };
        for rule in &self.rules {
            let verdict = rule.entry(&Past(self), &entry).await;
            if !verdict.is_accept() {
                return verdict;
            }
        }
        Verdict::Accept
    }
}

#[async_trait]
impl Validator for Inner {
    async fn message(&self, _: &Context<'_>, message: &Message) -> Verdict {
        if *message.topic() != self.topic {
            return Verdict::Accept;
        }
        if self.follows_a_refused_one(message) {
            self.refuse(message);
            return Verdict::Ignore("it follows a refused entry".into());
        }
        match self.before(message) {
            Ok(Before::Nothing(record)) => {
                let verdict = self.judge(message, &record).await;
                if matches!(verdict, Verdict::Reject(_)) {
                    self.refuse(message);
                }
                verdict
            }
            Ok(Before::Missing(needs)) => Verdict::Defer(needs),
            Err(error) => Verdict::Ignore(Cause::Owned(error.to_string())),
        }
    }

    async fn block(&self, _: &Context<'_>, _: &Block) -> Verdict {
        Verdict::Accept
    }

    async fn accepted(&self, cx: &Context<'_>, message: &Message) -> Result<()> {
        if *message.topic() != self.topic {
            return Ok(());
        }
        let Before::Nothing(record) = self.before(message)? else {
            return Err(Error::new(ErrorKind::Unexpected, "ledger", "a parent is no entry any more"));
        };
        let entry = Entry::new(record.place.clock(), message.clone());
        let entry = entry.ok_or_else(|| Error::new(ErrorKind::Rejected, "ledger", "nobody signed it"))?;
        self.add(cx.store, entry, &record).await
    }
}
