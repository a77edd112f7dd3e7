//! Every promise of the contract, on real daemons.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use carrick_core::conformance::transport::{Fixture, Setup};
use carrick_core::{Host, Multiaddr, PeerAddr, Result, Transport, async_trait};
use carrick_interop::{Daemon, Kubo};
use carrick_transport_ipfs_http::{IpfsHttp, IpfsHttpConfig, Seconds};
use serde_json::Value;

/// Daemons that no case uses now; they end with this process.
static IDLE: Mutex<Vec<Kubo>> = Mutex::new(Vec::new());

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A daemon for each node of a case, which go back when it is over.
#[derive(Debug, Default)]
struct Wire(Mutex<Vec<Kubo>>);

impl Wire {
    /// The daemon of a node that listened there, or one more.
    fn daemon(&self, listen: &[Multiaddr]) -> Daemon {
        let mut used = lock(&self.0);
        let before = used.iter().map(|kubo| &kubo.daemons()[0]);
        let mut before = before.filter(|it| listen.iter().any(|addr| addr.to_string().contains(&it.id)));
        if let Some(daemon) = before.next() {
            return daemon.clone();
        }
        let idle = lock(&IDLE).pop();
        let kubo = idle.unwrap_or_else(|| Kubo::run(1, &[]).expect("a daemon"));
        let daemon = kubo.daemons()[0].clone();
        used.push(kubo);
        daemon
    }
}

/// Forgets every block, so that no case sees what another left. Connections stay: daemons find each other in any case, and
/// a link that ends and begins again in one moment is one over which Kubo may forget who is on which topic.
fn clean(daemon: &Daemon) {
    let post = |command: &str| {
        let answer = daemon.post(command, None).unwrap_or_default();
        String::from_utf8_lossy(&answer).into_owned()
    };
    let pins: Value = serde_json::from_str(&post("pin/ls?type=direct")).unwrap_or_default();
    for cid in pins["Keys"].as_object().into_iter().flatten().map(|(cid, _)| cid) {
        post(&format!("pin/rm?recursive=false&arg={cid}"));
    }
    post("repo/gc?quiet=true");
}

fn strings(daemon: &Daemon, command: &str) -> BTreeSet<String> {
    let answer = daemon.post(command, None).expect("the daemon answers");
    let answer: Value = serde_json::from_slice(&answer).expect("JSON");
    let strings = answer["Strings"].as_array().into_iter().flatten();
    strings.filter_map(Value::as_str).map(str::to_owned).collect()
}

/// What a daemon does not know yet of another one that it is connected to: on which topics that one is.
fn ignorance(daemon: &Daemon, all: &[Daemon]) -> Option<String> {
    let swarm = daemon.post("swarm/peers", None).expect("the daemon answers");
    let swarm = String::from_utf8_lossy(&swarm).into_owned();
    for other in all.iter().filter(|other| swarm.contains(&other.id)) {
        let on = strings(other, "pubsub/ls");
        for topic in strings(daemon, "pubsub/ls").union(&on) {
            let known = strings(daemon, &format!("pubsub/peers?arg={topic}")).contains(&other.id);
            if known != on.contains(topic) {
                return Some(format!("{} does not know whether {} is on {topic}", daemon.id, other.id));
            }
        }
    }
    None
}

impl Drop for Wire {
    fn drop(&mut self) {
        for kubo in std::mem::take(&mut *lock(&self.0)) {
            clean(&kubo.daemons()[0]);
            lock(&IDLE).push(kubo);
        }
    }
}

#[async_trait]
impl Fixture for Wire {
    async fn open(&self, host: Host, setup: Setup) -> Result<Arc<dyn Transport>> {
        let mut config = IpfsHttpConfig::default();
        config.api = self.daemon(&setup.listen).api.parse()?;
        config.bootstrap = setup.bootstrap;
        config.poll = Seconds(Duration::from_millis(100));
        Ok(Arc::new(IpfsHttp::open(config, host).await?))
    }

    /// Daemons tell each other of topics in their own time.
    async fn settle(&self) {
        let daemons: Vec<Daemon> = lock(&self.0).iter().map(|kubo| kubo.daemons()[0].clone()).collect();
        let began = Instant::now();
        while let Some(ignorance) = daemons.iter().find_map(|daemon| ignorance(daemon, &daemons)) {
            assert!(began.elapsed() < self.patience(), "{ignorance}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn collect_garbage(&self) {
        lock(&self.0).iter().for_each(|kubo| drop(kubo.daemons()[0].post("repo/gc?quiet=true", None)));
    }

    fn nowhere(&self) -> PeerAddr {
        // A port of loopback that nobody may listen on.
        "/ip4/127.0.0.1/tcp/1/p2p/12D3KooWJWoaqZhDaoEFshF7Rh1bpY9ohihFhzcW6d69Lr2NASuq"
            .parse()
            .expect("an address")
    }
}

async fn wire(_: u64) -> Wire {
    Wire::default()
}

carrick_core::transport_suite!(wire);
