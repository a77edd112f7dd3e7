//! The daemons that ours is connected with, as far as is known.

use std::collections::BTreeMap;

use carrick_core::{PeerInfo, Remote};
use tokio::time::Instant;

/// What the daemon said last, and what was dialled or ended since. What was asked before that is old news, however late the
/// answer comes: it changes nothing.
#[derive(Default)]
pub(crate) struct Links {
    known: BTreeMap<Remote, PeerInfo>,
    /// From when on an answer must have been asked for.
    as_of: Option<Instant>,
}

/// What an answer changed.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    pub(crate) gone: Vec<Remote>,
    pub(crate) new: Vec<PeerInfo>,
}

impl Links {
    pub(crate) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    pub(crate) fn contains_key(&self, remote: &Remote) -> bool {
        self.known.contains_key(remote)
    }

    /// Whether there is no such link for certain: of more than `most` not all are known.
    pub(crate) fn lacks(&self, remote: &Remote, most: usize) -> bool {
        self.known.len() < most && !self.contains_key(remote)
    }

    /// Notes a link that was made just now; answers whether it is new.
    pub(crate) fn made(&mut self, info: PeerInfo) -> bool {
        self.as_of = Some(Instant::now());
        self.known.insert(info.remote.clone(), info).is_none()
    }

    /// Notes that a link was ended just now. Whether it is gone the daemon says, asked from here on.
    pub(crate) fn ended(&mut self) {
        self.as_of = Some(Instant::now());
    }

    /// Takes over what the daemon says, if it was asked after all that is known.
    pub(crate) fn replace(&mut self, asked: Instant, found: &BTreeMap<Remote, PeerInfo>) -> Changes {
        if self.as_of.is_some_and(|as_of| asked < as_of) {
            return Changes::default();
        }
        self.as_of = Some(asked);
        let before = std::mem::replace(&mut self.known, found.clone());
        let new = found.values().filter(|info| !before.contains_key(&info.remote)).cloned().collect();
        Changes { gone: before.into_keys().filter(|remote| !found.contains_key(remote)).collect(), new }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::advance;

    use super::*;

    fn info(name: &str) -> PeerInfo {
        PeerInfo::new(Remote::Foreign(name.into()))
    }

    fn all(names: &[&str]) -> BTreeMap<Remote, PeerInfo> {
        names.iter().map(|name| (info(name).remote, info(name))).collect()
    }

    fn nothing(changes: &Changes) -> bool {
        changes.gone.is_empty() && changes.new.is_empty()
    }

    async fn later() -> Instant {
        advance(Duration::from_millis(1)).await;
        Instant::now()
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_was_asked_for_before_a_dial_ended_takes_no_link_away() {
        let (mut links, asked) = (Links::default(), Instant::now());
        later().await;
        assert!(links.made(info("dialled")));
        assert!(nothing(&links.replace(asked, &all(&[]))));
        assert!(links.contains_key(&info("dialled").remote));
        let changes = links.replace(later().await, &all(&[]));
        assert_eq!(changes.gone, [info("dialled").remote]);
        assert!(links.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_was_asked_for_before_a_link_was_ended_brings_none_back() {
        let mut links = Links::default();
        assert_eq!(links.replace(Instant::now(), &all(&["ended"])).new[0].remote, info("ended").remote);
        let asked = later().await;
        later().await;
        links.ended();
        assert_eq!(links.replace(later().await, &all(&[])).gone, [info("ended").remote]);
        assert!(nothing(&links.replace(asked, &all(&["ended"]))));
        assert!(links.is_empty());
    }
}
