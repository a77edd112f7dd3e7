//! Telling our own messages from those of others.

use std::collections::VecDeque;
use std::time::Duration;

use carrick_core::{MessageId, Topic};
use tokio::time::Instant;

/// How many of our own messages are remembered until they come back, and for how long.
const MAX_ECHOES: usize = 1024;
const LATEST: Duration = Duration::from_secs(30);

/// Our own messages that the daemon will bring back to us, the oldest first; one that is sent twice comes back twice. Each is
/// known by its bytes: a bare payload has its id only once the daemon has given it a number.
#[derive(Default)]
pub(crate) struct Echoes(VecDeque<Echo>);

struct Echo {
    topic: Topic,
    id: MessageId,
    sent: Instant,
    /// False where the daemon may not have taken it: nobody knows whether it comes back.
    due: bool,
}

impl Echoes {
    pub(super) fn note(&mut self, topic: &Topic, id: MessageId) {
        if self.0.len() == MAX_ECHOES {
            self.0.pop_front();
        }
        self.0.push_back(Echo { topic: topic.clone(), id, sent: Instant::now(), due: true });
    }

    /// Whether it is one; each comes back once.
    pub(super) fn take(&mut self, topic: &Topic, id: &MessageId) -> bool {
        let at = self.0.iter().position(|echo| echo.id == *id && echo.topic == *topic);
        at.is_some_and(|at| self.0.remove(at).is_some())
    }

    /// Notes that one may not come back.
    pub(super) fn doubt(&mut self, topic: &Topic, id: &MessageId) {
        if let Some(echo) = self.0.iter_mut().rfind(|echo| echo.id == *id && echo.topic == *topic) {
            echo.due = false;
        }
    }

    /// Forgets those that did not come back in time. The topics of which one was due, and when it was sent: the subscription may
    /// be dead.
    pub(crate) fn overdue(&mut self) -> Vec<(Topic, Instant)> {
        let late = self.0.iter().take_while(|echo| echo.sent.elapsed() > LATEST).count();
        let late = self.0.drain(..late).filter(|echo| echo.due);
        late.map(|echo| (echo.topic, echo.sent)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_echo_is_known_once_for_each_time_it_was_sent() {
        let mut echoes = Echoes::default();
        let (here, there) = (Topic::new("here").expect("a topic"), Topic::new("there").expect("a topic"));
        let (one, other) = (MessageId::of(b"one"), MessageId::of(b"other"));
        echoes.note(&here, one);
        echoes.note(&here, one);
        assert!(echoes.take(&here, &one) && !echoes.take(&there, &one) && echoes.take(&here, &one));
        assert!(!echoes.take(&here, &one) && !echoes.take(&here, &other));
        for _ in 0..2 * MAX_ECHOES {
            echoes.note(&here, one);
            assert!(echoes.take(&here, &one), "however often it was sent before");
        }
        (0..2 * MAX_ECHOES).for_each(|n| echoes.note(&here, MessageId::of(&n.to_be_bytes())));
        assert_eq!(echoes.0.len(), MAX_ECHOES);
    }

    #[tokio::test(start_paused = true)]
    async fn an_echo_that_does_not_come_shows_a_dead_subscription_and_swallows_nothing_later() {
        let (mut echoes, sent) = (Echoes::default(), Instant::now());
        let topics = ["heard", "silent", "doubtful"].map(|name| Topic::new(name).expect("a topic"));
        let id = MessageId::of(b"said");
        topics.iter().for_each(|topic| echoes.note(topic, id));
        echoes.doubt(&topics[2], &id);
        assert!(echoes.take(&topics[0], &id));
        tokio::time::advance(LATEST).await;
        assert_eq!(echoes.overdue(), []);
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(echoes.overdue(), [(topics[1].clone(), sent)]);
        assert!(topics.iter().all(|topic| !echoes.take(topic, &id)));
    }
}
