//! Messages that no node would make.

use carrick_core::conformance::forged::Forged;
use carrick_core::{Bytes, Cid, Time, Topic};

use super::{NOW, key, network};

/// What a message says.
#[derive(Clone, Debug)]
pub(crate) struct Envelope {
    pub(crate) author: u8,
    pub(crate) topic: Topic,
    pub(crate) seqno: u64,
    /// Milliseconds after [`NOW`].
    pub(crate) time: u64,
    pub(crate) parents: Vec<Cid>,
    pub(crate) payload: Vec<u8>,
}

impl Envelope {
    fn forged(&self) -> Forged {
        let (author, time) = (key(self.author), Time(NOW + self.time));
        let forged = Forged::good(&network(), &self.topic, &author, time, &*self.payload);
        forged.after(self.parents.iter().copied()).with(|forged| forged.number = self.seqno)
    }

    pub(crate) fn encode(&self) -> Bytes {
        self.forged().encode()
    }

    pub(crate) fn cid(&self) -> Cid {
        self.forged().cid()
    }
}
