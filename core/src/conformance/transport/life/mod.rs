//! Links: who may have one, how it ends, what is left of it.

mod bridging;
mod closing;
mod dialling;
mod losing;
mod raw;
mod telling;

pub(super) use self::bridging::*;
pub(super) use self::closing::*;
pub(super) use self::dialling::*;
pub(super) use self::losing::*;
pub(super) use self::raw::*;
pub(super) use self::telling::*;
use super::kit::refusal;
use super::{Kit, Member, Outcome};
use crate::{Event, Identity, Remote};

fn is_up(event: &Event) -> bool {
    matches!(event, Event::Up { .. })
}

fn is_down(event: &Event) -> bool {
    matches!(event, Event::Down { .. })
}

/// Whether links prove whose they are. Where they do not, none of them may be named as if it did.
async fn proves(member: &Member) -> bool {
    if member.caps().identity == Identity::Peer {
        return true;
    }
    let peers = member.transport.peers().await.expect("peers");
    let named = peers.iter().any(|info| matches!(info.remote, Remote::Peer(_)));
    assert!(
        !named || member.caps().identity == Identity::Mixed,
        "a link that proves no key is named as a peer"
    );
    false
}
