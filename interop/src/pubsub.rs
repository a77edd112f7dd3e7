//! What a Kubo daemon hears and says, over its RPC.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use crate::{Daemon, Message, Result};

/// How long the RPC may take to take a subscription, and to name a peer on a topic.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often [`Daemon::until_on_topic`] looks.
const LOOK: Duration = Duration::from_millis(20);
/// Messages that may wait to be asked for; then the daemon waits.
const WAITING: usize = 65_536;

/// A subscription at a daemon. Dropping it ends it.
#[derive(Debug)]
pub struct Listener {
    stream: TcpStream,
    messages: Receiver<Result<Message>>,
}

/// A message as the RPC tells it.
#[derive(Deserialize)]
struct Told {
    from: String,
    data: String,
    seqno: String,
}

#[derive(Deserialize)]
struct OnTopic {
    #[serde(rename = "Strings")]
    strings: Option<Vec<String>>,
}

impl Daemon {
    /// Subscribes to a topic. Its own messages are heard as well; those of others once they know of it, which
    /// [`Peer::until_on_topic`](crate::Peer::until_on_topic) waits for.
    ///
    /// # Errors
    /// The daemon does not take it.
    pub fn subscribe(&self, topic: &str) -> Result<Listener> {
        let host = self.api.trim_start_matches("http://");
        let told = |e: std::io::Error| format!("pubsub/sub at {host}: {e}");
        let mut stream = TcpStream::connect(host).map_err(told)?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(told)?;
        // Of the old version there is no answer in chunks.
        let head =
            format!("POST /api/v0/pubsub/sub?arg={} HTTP/1.0\r\nHost: {host}\r\n\r\n", multibase(topic));
        stream.write_all(head.as_bytes()).map_err(told)?;
        let mut answer = BufReader::new(stream.try_clone().map_err(told)?);
        let mut line = String::new();
        while !line.ends_with("\r\n\r\n") {
            if answer.read_line(&mut line).map_err(told)? == 0 {
                return Err(format!("pubsub/sub at {host}: {line}"));
            }
        }
        if line.split(' ').nth(1) != Some("200") {
            return Err(format!("pubsub/sub at {host}: {line}"));
        }
        stream.set_read_timeout(None).map_err(told)?;
        let (tell, messages) = sync_channel(WAITING);
        thread::spawn(move || read(answer, &tell));
        Ok(Listener { stream, messages })
    }

    /// Publishes on a topic.
    ///
    /// # Errors
    /// The daemon does not take it.
    pub fn publish(&self, topic: &str, data: &[u8]) -> Result<()> {
        self.post(&format!("pubsub/pub?arg={}", multibase(topic)), Some(data)).map(drop)
    }

    /// Waits until the daemon knows that a peer is subscribed.
    ///
    /// # Errors
    /// It does not within 60 s.
    pub fn until_on_topic(&self, topic: &str, id: &str) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        loop {
            let answer = self.post(&format!("pubsub/peers?arg={}", multibase(topic)), None)?;
            let on: OnTopic = serde_json::from_slice(&answer).map_err(|e| format!("pubsub/peers: {e}"))?;
            if on.strings.is_some_and(|peers| peers.iter().any(|peer| peer == id)) {
                return Ok(());
            }
            if Instant::now() > end {
                return Err(format!("{} is not told that {id} is on {topic}", self.id));
            }
            thread::sleep(LOOK);
        }
    }
}

impl Listener {
    /// The next message, or `None` where there is none within the time.
    ///
    /// # Errors
    /// The daemon is gone, or says what cannot be read.
    pub fn next(&mut self, within: Duration) -> Result<Option<Message>> {
        match self.messages.recv_timeout(within) {
            Ok(message) => message.map(Some),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err("the daemon ended the subscription".into()),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // The daemon may be gone.
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

fn read(answer: BufReader<TcpStream>, tell: &SyncSender<Result<Message>>) {
    for line in answer.lines() {
        let message = line.map_err(|e| e.to_string()).and_then(|line| message(&line));
        let failed = message.is_err();
        if tell.send(message).is_err() || failed {
            return;
        }
    }
}

fn message(line: &str) -> Result<Message> {
    let told: Told = serde_json::from_str(line).map_err(|e| format!("{line:.300}: {e}"))?;
    let number = decoded(&told.seqno)?;
    let number = number.try_into().map_err(|number| format!("sequence number {number:?}"))?;
    let seqno = u64::from_be_bytes(number);
    Ok(Message { from: told.from, seqno, data: decoded(&told.data)?, lost: 0 })
}

fn multibase(bytes: &str) -> String {
    format!("u{}", URL_SAFE_NO_PAD.encode(bytes))
}

fn decoded(multibase: &str) -> Result<Vec<u8>> {
    let base64 = multibase.strip_prefix('u').ok_or_else(|| format!("{multibase:.100}: not base64url"))?;
    URL_SAFE_NO_PAD.decode(base64).map_err(|e| format!("{multibase:.100}: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kubo;

    #[test]
    fn what_one_daemon_publishes_the_other_hears_with_rising_numbers() {
        let kubo = Kubo::run(2, &["--connect"]).expect("two daemons");
        let [one, other] = kubo.daemons() else { panic!("two") };
        let mut listener = other.subscribe("talk").expect("subscribes");
        one.until_on_topic("talk", &other.id).expect("known");
        one.publish("talk", &[0, 255]).expect("publishes");
        one.publish("talk", b"").expect("publishes");
        let heard = [(); 2].map(|()| listener.next(PATIENCE).expect("heard").expect("a message"));
        let [first, second] = &heard;
        assert_eq!((&first.from, &first.data[..]), (&one.id, &[0, 255][..]));
        assert!(second.data.is_empty() && second.seqno > first.seqno, "{heard:?}");
        assert_eq!(listener.next(Duration::ZERO), Ok(None));
    }
}
