//! `carrick peers`: who is connected.

use carrick::{Direction, SystemClock};

use super::Cx;
use crate::control::wire::Peer;
use crate::fault::Outcome;
use crate::terminal::{show, table};

pub(super) async fn run(cx: &Cx) -> Outcome {
    let peers = cx.client()?.peers().await?;
    if cx.term.json {
        return peers.iter().try_for_each(|peer| cx.term.json(peer));
    }
    if peers.is_empty() {
        cx.term.note(
            "nobody is connected; `carrick connect ADDRESS` connects to a node whose `carrick up` printed it",
        );
        return Ok(());
    }
    cx.term.line(show(table_of(&peers)))
}

/// Peers for a person.
pub(super) fn table_of(peers: &[Peer]) -> comfy_table::Table {
    use carrick::Clock;
    let now = SystemClock.now().as_millis();
    let mut table = table(&["peer", "address", "transport", "dialled by", "for", "topics", "reputation"]);
    for peer in peers {
        let direction = match peer.direction {
            Some(Direction::Inbound) => "them",
            Some(Direction::Outbound) => "us",
            None => "",
        };
        table.add_row([
            peer.peer.clone(),
            peer.address.clone().unwrap_or_default(),
            peer.transport.clone(),
            direction.into(),
            peer.since.map(|since| span(now.saturating_sub(since) / 1_000)).unwrap_or_default(),
            peer.topics.join(", "),
            format!("{:.0}", peer.reputation),
        ]);
    }
    table
}

/// Seconds for a person, in the two largest units.
pub(super) fn span(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_span_is_told_in_two_units() {
        let spans = [5, 65, 3_700, 90_000].map(super::span);
        assert_eq!(spans, ["5 s", "1 min 5 s", "1 h 1 min", "1 d 1 h"]);
    }
}
