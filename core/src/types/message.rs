//! The envelope: one signed message, one encoding, one id.
//!
//! A message travels as a canonical dag-cbor map `{v, sig, link, time, topic, seqno, author, network, parents, payload}`,
//! which has one of `link` and `payload`. `sig` is the author's ed25519 signature over `carrick/message/1:` followed by the same map without `sig`.
//! The id is the CID (version 1, dag-cbor, sha2-256) of the whole encoding, so a message is a block.
//!
//! The decoder encodes again and compares: one content has one id. Without that a `null` for an absent field would be
//! a second id under a valid signature.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use cid::Cid;
use libp2p_identity::{Keypair, PeerId, PublicKey};
use serde::{Deserialize, Serialize};
use serde_bytes::Bytes as Raw;
use serde_ipld_dagcbor::EncodeError;

use super::block::{Block, CidPolicy, RAW, cid_of};
use super::digest::digest_of;
use super::{NetworkId, Time, Topic, at_most, public_key};
use crate::limits::{MAX_NUMBER, MAX_PARENTS};
use crate::{Error, ErrorKind, Result};

/// The multicodec of dag-cbor, in which envelopes are encoded.
pub const DAG_CBOR: u64 = 0x71;
const VERSION: u64 = 1;
const DOMAIN: &[u8] = b"carrick/message/1:";
const SIGNATURE_BYTES: usize = 64;
/// The first byte of a map, but for how many entries it has; and how many each envelope has.
const MAP: u8 = 0xa0;
const REQUIRED: u8 = 7;
/// `61 76 01`.
const VERSION_ENTRY_BYTES: usize = 3;
/// `63 736967 5840` and the signature.
const SIGNATURE_ENTRY_BYTES: usize = 6 + SIGNATURE_BYTES;

/// Identifies a message everywhere: the CID (v1, dag-cbor, sha2-256) of its canonical envelope.
///
/// Differs from the libp2p pubsub default (source joined with sequence number): the content is bound, and the id can be
/// fetched like any other. On a raw topic it is the CID of the wire's own number and the payload.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(into = "String")]
pub struct MessageId(Cid);

impl MessageId {
    /// The id of an encoded envelope.
    pub fn of(encoded: &[u8]) -> Self {
        Self(cid_of(DAG_CBOR, encoded))
    }

    /// The id of a bare payload: the wire's number, if it has one, binds the payload to one sending of it.
    pub fn of_raw(wire_id: Option<&[u8]>, payload: &[u8]) -> Self {
        let number = wire_id.unwrap_or_default();
        let length = (number.len() as u64).to_be_bytes();
        Self(cid_of(RAW, &[&length, number, payload].concat()))
    }

    /// The id that a CID stands for; whether there is such a message is another matter.
    pub fn from_cid(cid: Cid) -> Self {
        Self(cid)
    }

    /// The id as a CID.
    pub fn cid(&self) -> &Cid {
        &self.0
    }
}

impl From<MessageId> for String {
    fn from(id: MessageId) -> Self {
        id.to_string()
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A message that passed the gate, is being judged by a validator inside it, or was read back from the store for one. Cloning
/// is cheap.
///
/// There is no public way to make one: an unchecked message can be neither stored, relayed nor handed out.
#[derive(Clone)]
pub struct Message(Arc<MessageParts>);

/// What a message is made of.
struct MessageParts {
    id: MessageId,
    topic: Topic,
    author: Option<PeerId>,
    seqno: u64,
    time: Time,
    parents: Vec<Cid>,
    link: Option<Cid>,
    payload: Bytes,
    signature: Bytes,
    encoded: Bytes,
}

/// Why bytes are no message. The words go into logs.
type Malformed = Cow<'static, str>;

/// Why bytes are no message that we can read.
#[derive(Debug)]
pub(crate) enum Unreadable {
    /// They are none at all: whoever passed them on did not look.
    Malformed(Malformed),
    /// They are of a version that was made after us: whoever passed them on may well read it.
    Newer(u64),
}

impl<T: Into<Malformed>> From<T> for Unreadable {
    fn from(why: T) -> Self {
        Self::Malformed(why.into())
    }
}

/// What every version of the envelope has; the other fields are each version's own.
#[derive(Deserialize)]
struct Version {
    v: u64,
}

/// A message before it is signed.
pub(crate) struct Draft<'a> {
    pub(crate) network: &'a NetworkId,
    pub(crate) topic: &'a Topic,
    pub(crate) seqno: u64,
    pub(crate) time: Time,
    pub(crate) parents: Vec<Cid>,
    pub(crate) body: Body,
}

/// The payload itself, or where it is.
pub(crate) enum Body {
    Inline(Bytes),
    Linked(Block),
}

// An unknown field is skipped here and missed where the form is compared: to name it in an error would be to copy it.
#[derive(Deserialize)]
struct Wire<'a> {
    v: u64,
    #[serde(borrow, default)]
    sig: Option<&'a Raw>,
    #[serde(default)]
    link: Option<Cid>,
    time: u64,
    topic: &'a str,
    seqno: u64,
    #[serde(borrow)]
    author: &'a Raw,
    network: &'a str,
    #[serde(deserialize_with = "at_most::<MAX_PARENTS, Cid, _, _>")]
    parents: Cow<'a, [Cid]>,
    #[serde(borrow, default)]
    payload: Option<&'a Raw>,
}

impl Wire<'_> {
    fn encode(&self, prefix: &[u8]) -> Result<Vec<u8>> {
        let mut out = Vec::with_capacity(prefix.len() + 320 + self.payload.map_or(0, |p| p.len()));
        out.extend_from_slice(prefix);
        self.write(&mut out).map_err(|source| {
            Error::new(ErrorKind::Unexpected, "encode", "an envelope could not be encoded")
                .from_source(source)
        })?;
        Ok(out)
    }

    /// Whether these are the bytes of its encoding, which is compared as it is made.
    fn encodes_to(&self, encoded: &[u8]) -> bool {
        let mut rest = Same(encoded);
        self.write(&mut rest).is_ok() && rest.0.is_empty()
    }

    /// Writes each entry where it belongs, the shorter names first; the encoder would keep them all to sort them.
    fn write(&self, out: &mut impl io::Write) -> Result<(), EncodeError<io::Error>> {
        let optional = [self.sig.is_some(), self.link.is_some(), self.payload.is_some()];
        let entries = REQUIRED + optional.into_iter().map(u8::from).sum::<u8>();
        out.write_all(&[MAP | entries])?;
        entry(out, "v", Some(&self.v))?;
        entry(out, "sig", self.sig.as_ref())?;
        entry(out, "link", self.link.as_ref())?;
        entry(out, "time", Some(&self.time))?;
        entry(out, "seqno", Some(&self.seqno))?;
        entry(out, "topic", Some(&self.topic))?;
        entry(out, "author", Some(&self.author))?;
        entry(out, "network", Some(&self.network))?;
        entry(out, "parents", Some(&self.parents))?;
        entry(out, "payload", self.payload.as_ref())
    }
}

/// Writes a name and its value, if there is one.
fn entry<T: Serialize>(
    out: &mut impl io::Write,
    name: &str,
    value: Option<&T>,
) -> Result<(), EncodeError<io::Error>> {
    let Some(value) = value else { return Ok(()) };
    serde_ipld_dagcbor::to_writer(&mut *out, &name)?;
    serde_ipld_dagcbor::to_writer(out, value)
}

/// Takes what is written for as long as it is what it begins with.
struct Same<'a>(&'a [u8]);

impl io::Write for Same<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.strip_prefix(bytes).ok_or(io::ErrorKind::InvalidData)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Draft<'_> {
    /// Signs and encodes.
    pub(crate) fn sign(mut self, key: &Keypair) -> Result<Message> {
        check_numbers(self.seqno, self.time.as_millis()).map_err(|why| {
            Error::new(ErrorKind::Config, "sign", why)
                .mend("set the clock of this machine; a topic whose numbers are used up needs another key")
        })?;
        self.parents.sort_unstable_by_key(Cid::to_bytes);
        self.parents.dedup();
        if self.parents.len() > MAX_PARENTS {
            let detail =
                format!("it follows {} messages; at most {MAX_PARENTS} are allowed", self.parents.len());
            return Err(Error::new(ErrorKind::TooLarge, "sign", detail));
        }
        check_parents(&self.parents).map_err(|why| Error::new(ErrorKind::Rejected, "sign", why))?;
        let author = key.public().to_peer_id();
        let author_bytes = author.to_bytes();
        let (link, payload) = match &self.body {
            Body::Inline(payload) => (None, Some(Raw::new(payload))),
            Body::Linked(block) => (Some(*block.cid()), None),
        };
        let mut wire = Wire {
            v: VERSION,
            sig: None,
            link,
            time: self.time.as_millis(),
            topic: self.topic.as_str(),
            seqno: self.seqno,
            author: Raw::new(&author_bytes),
            network: self.network.as_str(),
            parents: Cow::Borrowed(&self.parents),
            payload,
        };
        let signature = key.sign(&wire.encode(DOMAIN)?).map_err(|source| {
            Error::new(ErrorKind::Unexpected, "sign", "the identity key did not sign").from_source(source)
        })?;
        wire.sig = Some(Raw::new(&signature));
        let encoded = Bytes::from(wire.encode(&[])?);
        let payload = match self.body {
            Body::Inline(payload) => payload,
            Body::Linked(block) => block.into_bytes(),
        };
        Ok(Message(Arc::new(MessageParts {
            id: MessageId::of(&encoded),
            topic: self.topic.clone(),
            author: Some(author),
            seqno: self.seqno,
            time: self.time,
            parents: self.parents,
            link,
            payload,
            signature: signature.into(),
            encoded,
        })))
    }
}

impl Message {
    /// Reads an envelope: form, version, network, canonical encoding. The signature is checked apart, by
    /// [`signature_holds`](Self::signature_holds), because it costs twenty times as much.
    pub(crate) fn decode(
        id: MessageId,
        encoded: Bytes,
        network: &NetworkId,
        payload_limit: usize,
    ) -> Result<Self, Unreadable> {
        let parts = {
            let wire: Wire<'_> = match serde_ipld_dagcbor::from_slice(&encoded) {
                Ok(Wire { v, .. }) if v > VERSION => return Err(Unreadable::Newer(v)),
                Ok(wire) => wire,
                Err(error) => return Err(unread(&encoded, &error)),
            };
            if wire.v != VERSION {
                return Err(format!("version {} never was", wire.v).into());
            }
            if wire.network != network.as_str() {
                return Err("of another network".into());
            }
            check_numbers(wire.seqno, wire.time)?;
            check_parents(&wire.parents)?;
            let payload = match (wire.payload, &wire.link) {
                (Some(payload), None) if payload.len() <= payload_limit => encoded.slice_ref(payload),
                (Some(_), None) => return Err("its payload is above the inline limit".into()),
                (None, Some(link)) => check_link(link)?,
                _ => return Err("it has not one of payload and link".into()),
            };
            let Some(signature) = wire.sig.filter(|sig| sig.len() == SIGNATURE_BYTES) else {
                return Err("its signature is not 64 bytes".into());
            };
            if !wire.encodes_to(&encoded) {
                return Err("not in canonical form".into());
            }
            MessageParts {
                id,
                topic: Topic::from_wire(wire.topic).map_err(|error| error.detail().to_owned())?,
                author: Some(PeerId::from_bytes(wire.author).map_err(|_| "its author is no peer id")?),
                seqno: wire.seqno,
                time: Time(wire.time),
                parents: wire.parents.into_owned(),
                link: wire.link,
                payload,
                signature: encoded.slice_ref(signature),
                encoded: encoded.clone(),
            }
        };
        Ok(Self(Arc::new(parts)))
    }

    /// Reads an envelope and checks its signature, for who has not seen it pass the gate. A linked payload is not at hand.
    pub(crate) fn read_back(
        id: MessageId,
        encoded: Bytes,
        network: &NetworkId,
        payload_limit: usize,
    ) -> Result<Self, Malformed> {
        let message =
            Self::decode(id, encoded, network, payload_limit).map_err(|unreadable| match unreadable {
                Unreadable::Malformed(why) => why,
                Unreadable::Newer(version) => format!("version {version} is not spoken here").into(),
            })?;
        let key = message.author().and_then(public_key);
        match key.is_some_and(|key| message.signature_holds(&key)) {
            true => Ok(message),
            false => Err("its signature does not hold".into()),
        }
    }

    /// A bare payload of a raw topic.
    pub(crate) fn raw(id: MessageId, topic: Topic, payload: Bytes, now: Time) -> Self {
        Self(Arc::new(MessageParts {
            id,
            topic,
            author: None,
            seqno: 0,
            time: now,
            parents: vec![],
            link: None,
            encoded: payload.clone(),
            payload,
            signature: Bytes::new(),
        }))
    }

    /// Whether the author signed exactly this content; `key` is the author's.
    pub(crate) fn signature_holds(&self, key: &PublicKey) -> bool {
        signed_part(&self.0.encoded).is_some_and(|signed| key.verify(&signed, &self.0.signature))
    }

    /// The same message with its linked payload at hand.
    pub(crate) fn with_linked(self, block: Block) -> Self {
        let parts = &*self.0;
        Self(Arc::new(MessageParts {
            id: parts.id,
            topic: parts.topic.clone(),
            author: parts.author,
            seqno: parts.seqno,
            time: parts.time,
            parents: parts.parents.clone(),
            link: parts.link,
            payload: block.into_bytes(),
            signature: parts.signature.clone(),
            encoded: parts.encoded.clone(),
        }))
    }

    /// Its id.
    pub fn id(&self) -> &MessageId {
        &self.0.id
    }

    /// The topic it was published on; the author signed it.
    pub fn topic(&self) -> &Topic {
        &self.0.topic
    }

    /// Who signed it; `None` on a raw topic.
    pub fn author(&self) -> Option<&PeerId> {
        self.0.author.as_ref()
    }

    /// The author's number on this topic: rises, may skip, survives the author's restarts. 0 on a raw topic.
    pub fn seqno(&self) -> u64 {
        self.0.seqno
    }

    /// When the author says it was published; on a raw topic, when it arrived.
    pub fn time(&self) -> Time {
        self.0.time
    }

    /// The messages this one follows, sorted by their bytes: on an ordinary topic the author's previous one, on a
    /// ledger the heads its author knew.
    pub fn parents(&self) -> &[Cid] {
        &self.0.parents
    }

    /// The block its payload travelled in, when it was above the inline limit.
    pub fn link(&self) -> Option<&Cid> {
        self.0.link.as_ref()
    }

    /// What the author wanted to say, fetched already where it travelled as a link.
    pub fn payload(&self) -> &Bytes {
        &self.0.payload
    }

    /// The envelope as it travels; on a raw topic the bare payload.
    pub fn encoded(&self) -> &Bytes {
        &self.0.encoded
    }

    /// How much memory it takes while it is kept: its envelope, and a payload that travelled apart.
    pub(crate) fn held_bytes(&self) -> usize {
        self.0.encoded.len() + if self.0.link.is_some() { self.0.payload.len() } else { 0 }
    }

    /// The envelope as a block, under the message's id.
    pub fn to_block(&self) -> Block {
        Block::hashed(self.0.id.0, self.0.encoded.clone())
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("id", &self.0.id)
            .field("topic", &self.0.topic.as_str())
            .field("author", &self.0.author)
            .field("seqno", &self.0.seqno)
            .field("payload_bytes", &self.0.payload.len())
            .finish()
    }
}

/// What was signed, of a canonical envelope: all but `sig`, which always stands behind `v` and before all the others.
fn signed_part(encoded: &[u8]) -> Option<Vec<u8>> {
    let (entries, rest) = encoded.split_first()?;
    let (version, rest) = rest.split_at_checked(VERSION_ENTRY_BYTES)?;
    let (_, others) = rest.split_at_checked(SIGNATURE_ENTRY_BYTES)?;
    Some([DOMAIN, &[entries.checked_sub(1)?], version, others].concat())
}

/// Another version may have other fields, so what cannot be read is asked for its version alone.
fn unread(encoded: &[u8], error: &impl fmt::Display) -> Unreadable {
    match serde_ipld_dagcbor::from_slice(encoded) {
        Ok(Version { v }) if v > VERSION => Unreadable::Newer(v),
        _ => format!("malformed: {error}").into(),
    }
}

fn check_numbers(seqno: u64, time: u64) -> Result<(), Malformed> {
    if seqno.max(time) > MAX_NUMBER {
        return Err(format!("number {seqno}, time {time}; at most {MAX_NUMBER} is allowed").into());
    }
    Ok(())
}

fn check_parents(parents: &[Cid]) -> Result<(), Malformed> {
    if !parents.is_sorted_by(|a, b| a.to_bytes() < b.to_bytes()) {
        return Err("its parents are not sorted or one stands twice".into());
    }
    // One hash: by another the same message would have a second name.
    if !parents.iter().all(|parent| digest_of(parent).is_some()) {
        return Err("a parent is no message id".into());
    }
    Ok(())
}

fn check_link(link: &Cid) -> Result<Bytes, Malformed> {
    if link.codec() != RAW || CidPolicy::check(link).is_err() {
        return Err("its link is no raw block".into());
    }
    Ok(Bytes::new())
}
