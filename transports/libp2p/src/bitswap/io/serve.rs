//! Looking up what peers ask for, whose turn it is.

use std::sync::Arc;

use carrick_core::{PeerId, Remote, Served};

use super::super::limits;
use super::super::message::{Ask, MAX_MESSAGE};
use super::super::server::{Answer, Turn};
use super::Shared;

/// A larger block fits into no message.
const MAX_SENT: usize = MAX_MESSAGE - (64 << 10);

impl Shared {
    /// Looks up what is asked for until it is nobody's turn.
    pub(super) async fn serve(self: Arc<Self>) {
        loop {
            let turn = self.with(|state, _| {
                let turn = state.server.next();
                state.readers -= usize::from(turn.is_none());
                turn
            });
            match turn {
                Some(turn) => self.serve_turn(turn).await,
                None => return,
            }
        }
    }

    async fn serve_turn(self: &Arc<Self>, turn: Turn) {
        let (peer, asker) = (turn.peer, Remote::Peer(turn.peer));
        let mut asks = turn.asks.into_iter().peekable();
        while let Some(ask) = asks.next_if(|ask| self.lock().server.takes(&peer, ask)) {
            let answer = self.look_up(&asker, &ask).await;
            self.with(|state, now| state.server.answer(&peer, &ask, answer, now));
        }
        self.finish(&peer, asks.collect());
    }

    fn finish(self: &Arc<Self>, peer: &PeerId, rest: Vec<Ask>) {
        self.with(|state, _| {
            state.server.finish(peer, rest);
            if let Some(link) = state.links.get(peer) {
                link.room.notify_waiters();
            }
        });
    }

    async fn look_up(self: &Arc<Self>, asker: &Remote, ask: &Ask) -> Answer<Served> {
        if !ask.have {
            return self.read_block(asker, ask).await;
        }
        match self.host.has(asker, &ask.cid).await {
            Ok(false) => return Answer::Absent,
            Ok(true) if self.lock().server.is_large(&ask.cid) => return Answer::Have,
            Ok(true) => {}
            Err(_) => return Answer::Busy,
        }
        match self.read_block(asker, ask).await {
            Answer::Block(block) if block.bytes().len() > limits::SMALL_BLOCK => {
                self.lock().server.remember_large(&ask.cid);
                Answer::Have
            }
            answer => answer,
        }
    }

    async fn read_block(&self, asker: &Remote, ask: &Ask) -> Answer<Served> {
        match self.host.block(asker, &ask.cid).await {
            Ok(Some(block)) if block.bytes().len() <= MAX_SENT => Answer::Block(block),
            Ok(Some(_)) => {
                self.host.count("bitswap_unsendable", 1);
                Answer::Absent
            }
            Ok(None) => Answer::Absent,
            Err(_) => Answer::Busy,
        }
    }
}
