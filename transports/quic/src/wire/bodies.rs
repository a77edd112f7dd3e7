//! Topics and messages.

use bytes::{BufMut, Bytes};
use carrick_core::Topic;
use carrick_core::links::frames::start;

use super::{Broken, Kind};

/// The topic of a [`Kind::Join`] or [`Kind::Leave`].
pub(crate) fn read_topic(kind: Kind, body: &[u8]) -> Result<Topic, Broken> {
    let name = std::str::from_utf8(body).map_err(|_| Broken::body(kind, "a topic that is no text"))?;
    Topic::from_wire(name).map_err(|_| Broken::body(kind, "no topic"))
}

/// Everything of a message frame but the message itself.
pub(crate) fn message_head(topic: &Topic, message_bytes: usize) -> Bytes {
    let name = topic.as_str().as_bytes();
    let mut head = start(Kind::Message, 2 + name.len() + message_bytes, 2 + name.len());
    head.put_u16(u16::try_from(name.len()).unwrap_or(u16::MAX));
    head.put_slice(name);
    head.freeze()
}

/// Splits the body of a message frame.
pub(crate) fn read_message(mut body: Bytes) -> Result<(Topic, Bytes), Broken> {
    let short = Broken::body(Kind::Message, "too short");
    if body.len() < 2 {
        return Err(short);
    }
    let name_bytes = usize::from(u16::from_be_bytes([body[0], body[1]]));
    let _ = body.split_to(2);
    if body.len() < name_bytes {
        return Err(short);
    }
    let topic = read_topic(Kind::Message, &body.split_to(name_bytes))?;
    Ok((topic, body))
}
