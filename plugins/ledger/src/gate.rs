//! What the ledger lets through the gate.

use carrick_core::{
    Block, Bytes, Cause, Context, Error, ErrorKind, Message, Need, Path, Result, Store, Validator, Verdict,
    async_trait,
};

use crate::index::Record;
use crate::inner::{Inner, lock};
use crate::place::digest;
use crate::{Entry, Past};

impl Inner {
    fn follows_a_refused_one(&self, message: &Message) -> bool {
        let mut refused = lock(&self.refused);
        message.parents().iter().filter_map(digest).any(|parent| refused.get(&parent).is_some())
    }

    fn refuse(&self, message: &Message) {
        if let Some(digest) = digest(message.id().cid()) {
            lock(&self.refused).put(digest, ());
        }
    }

    /// Judges an entry whose parents are there; what follows it may be judged then.
    async fn judge(&self, store: &dyn Store, message: &Message, record: &Record, path: Path) -> Verdict {
        let Some(entry) = Entry::new(record.place.clock(), message.clone()) else {
            return Verdict::Reject("nobody signed it".into());
        };
        for rule in &self.rules {
            let verdict = rule.entry(&Past::new(self, &entry), &entry).await;
            if !verdict.is_accept() {
                return verdict;
            }
        }
        if let Err(error) = self.note_number(store, &entry, record.place).await {
            return Verdict::Ignore(Cause::Owned(error.to_string()));
        }
        if path != Path::Own {
            lock(&self.under_way).begin(record, entry);
            return Verdict::Accept;
        }
        let begun = self.with_index(|index| lock(&self.under_way).begin_own(record, entry, &index.heads));
        if let Some(judged) = lock(&self.judged).take() {
            // Whoever appended may have given up.
            let _ = judged.send(());
        }
        begun.map_or_else(|error| Verdict::Ignore(error.to_string().into()), |()| Verdict::Accept)
    }

    /// The record of an entry that was judged.
    async fn judged_record(&self, message: &Message) -> Result<Record> {
        let cid = message.id().cid();
        if let Some(record) = digest(cid).and_then(|digest| lock(&self.under_way).record(&digest)) {
            return Ok(record);
        }
        self.record(cid, message.parents())
            .await?
            .map_err(|_| Error::new(ErrorKind::Unexpected, "ledger", "a parent is no entry any more"))
    }
}

#[async_trait]
impl Validator for Inner {
    async fn message(&self, cx: &Context<'_>, message: &Message) -> Verdict {
        if *message.topic() != self.topic {
            return Verdict::Accept;
        }
        if self.follows_a_refused_one(message) {
            self.refuse(message);
            return Verdict::Ignore("it follows a refused entry".into());
        }
        match self.record(message.id().cid(), message.parents()).await {
            Ok(Ok(record)) => {
                let verdict = self.judge(cx.store, message, &record, cx.path).await;
                if matches!(verdict, Verdict::Reject(_)) {
                    self.refuse(message);
                }
                verdict
            }
            // All of them are on their way: each live entry would have its ancestors fetched apart.
            Ok(Err(_)) if cx.path == Path::Live && self.sync.is_far_behind() => {
                Verdict::Ignore("what it follows is being fetched".into())
            }
            Ok(Err(missing)) => Verdict::Defer(missing.into_iter().map(Need::Message).collect()),
            Err(error) => Verdict::Ignore(Cause::Owned(error.to_string())),
        }
    }

    async fn block(&self, _: &Context<'_>, _: &Block) -> Verdict {
        Verdict::Accept
    }

    async fn noted(&self, cx: &Context<'_>, message: &Message) -> Result<Vec<(String, Bytes)>> {
        if *message.topic() != self.topic {
            return Ok(vec![]);
        }
        let record = self.judged_record(message).await?;
        // What stands behind all entries is none, and need not be looked up.
        let behind_all = record.place.clock() > self.with_index(|index| index.last_clock())?;
        if !behind_all && self.place(message.id().cid()).await?.is_some() {
            // It came again: it is written already, and is an entry meanwhile.
            return Ok(vec![]);
        }
        let mut keys = self.number_keys(cx.store, &signed(message, &record)?, record.place).await?;
        keys.extend(self.note(&record)?);
        Ok(keys)
    }

    async fn accepted(&self, _: &Context<'_>, message: &Message) -> Result<()> {
        if *message.topic() != self.topic {
            return Ok(());
        }
        let record = self.judged_record(message).await?;
        let entry = signed(message, &record)?;
        self.insert(&entry, &record).await
    }
}

fn signed(message: &Message, record: &Record) -> Result<Entry> {
    let entry = Entry::new(record.place.clock(), message.clone());
    entry.ok_or_else(|| Error::new(ErrorKind::Rejected, "ledger", "nobody signed it"))
}
