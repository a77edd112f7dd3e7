//! What comes out of a table, in our words.

use std::collections::HashSet;

use carrick_core::{Multiaddr, PeerId};
use libp2p::kad::{self, QueryId, QueryResult, QueryStats};

use super::schedule::Outcome;

/// What a table found out.
#[derive(Debug)]
pub(crate) enum Found {
    /// Providers, with their addresses; there may be more.
    Providers {
        /// Which lookup.
        query: QueryId,
        /// Who, and where.
        peers: Vec<(PeerId, Vec<Multiaddr>)>,
    },
    /// A lookup or an announcement ended.
    Done {
        /// Which.
        query: QueryId,
        /// How.
        outcome: Outcome,
        /// Where the peer listens that was looked for.
        addrs: Vec<Multiaddr>,
    },
    /// Who is in the table changed.
    Table,
}

/// The same before it has addresses.
pub(super) enum Ended {
    Found { query: QueryId, providers: HashSet<PeerId> },
    Done { query: QueryId, outcome: Outcome },
    Table(PeerId),
}

/// What an event of the library means; `None` where it is of no interest.
pub(super) fn found(event: kad::Event) -> Option<Ended> {
    let (query, result, stats, last) = match event {
        kad::Event::OutboundQueryProgressed { id, result, stats, step } => (id, result, stats, step.last),
        kad::Event::RoutingUpdated { peer, .. } => return Some(Ended::Table(peer)),
        _ => return None,
    };
    match result {
        QueryResult::GetProviders(Ok(kad::GetProvidersOk::FoundProviders { providers, .. })) => {
            Some(Ended::Found { query, providers })
        }
        // Refreshes nobody asked for.
        QueryResult::Bootstrap(_) => None,
        _ if !last => None,
        result => Some(Ended::Done { query, outcome: outcome(&result, &stats) }),
    }
}

/// The library calls it a success when nobody was there.
fn outcome(result: &QueryResult, stats: &QueryStats) -> Outcome {
    let timeout = matches!(
        result,
        QueryResult::StartProviding(Err(_))
            | QueryResult::GetProviders(Err(_))
            | QueryResult::GetClosestPeers(Err(_))
    );
    match (timeout, stats.num_successes()) {
        (true, _) => Outcome::Timeout,
        (false, 0) => Outcome::NoPeers,
        (false, _) => Outcome::Told,
    }
}
