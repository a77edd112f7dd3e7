//! Telling our own messages from those of others.

use std::collections::VecDeque;

use carrick_core::{MessageId, Topic};

/// How many of our own messages are remembered until they come back.
const MAX_ECHOES: usize = 1024;

/// Our own messages that the daemon will bring back to us, the oldest first; one that is sent twice comes back twice. Each is
/// known by its bytes: a bare payload has its id only once the daemon has given it a number.
#[derive(Default)]
pub(crate) struct Echoes(VecDeque<(Topic, MessageId)>);

impl Echoes {
    pub(super) fn note(&mut self, topic: &Topic, id: MessageId) {
        if self.0.len() == MAX_ECHOES {
            self.0.pop_front();
        }
        self.0.push_back((topic.clone(), id));
    }

    /// Whether it is one; each comes back once.
    pub(super) fn take(&mut self, topic: &Topic, id: &MessageId) -> bool {
        let at = self.0.iter().position(|(on, expected)| expected == id && on == topic);
        at.is_some_and(|at| self.0.remove(at).is_some())
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
}
