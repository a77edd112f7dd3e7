//! How faults are set, and what the seed decides.

use std::time::Duration;

use carrick::config::Config;
use carrick::conformance::faulty::{Faults, Faulty};
use carrick::{Delivery, ErrorKind, Registry};
use futures::StreamExt as _;
use tokio::time::{Instant, timeout};

use crate::nodes::{counted, link, next, on_memory, publish, reads, topic};

#[test]
fn what_is_out_of_range_is_refused_and_changes_nothing() {
    let faulty = Faulty::new(1);
    let refuses = |told: &str, change: fn(&mut Faults)| {
        let error = faulty.change(change).expect_err("out of range");
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.detail().starts_with(told) && error.hint().is_some(), "{error}");
    };
    refuses("loss is 1.5", |faults| faults.loss = 1.5);
    refuses("corrupt is -0.1", |faults| faults.corrupt = -0.1);
    refuses("duplicate is NaN", |faults| faults.duplicate = f64::NAN);
    refuses("delay is 3601s", |faults| faults.delay = Duration::from_secs(3_601));
    refuses("jitter is 3601s", |faults| faults.jitter = Duration::from_secs(3_601));
    faulty.change(|faults| assert_eq!(*faults, Faults::default())).expect("in range");
}

#[test]
fn a_peers_own_faults_are_its_own() {
    on_memory(async |wire| {
        let faulty = Faulty::new(1);
        let [a, b] = wire.pair(&faulty).await;
        let c = wire.plain(3).await;
        link(&c, &b).await;
        let mut at_b = reads(&b, &[&a, &c]).await;
        faulty.change_from(a.peer_id(), |faults| faults.loss = 0.0).expect("in range");
        faulty.change(|faults| faults.loss = 1.0).expect("in range");
        publish(&c, ["lost"]).await;
        counted(&b, "faulty_lost", 1).await;
        publish(&a, ["heard"]).await;
        assert_eq!(next(&mut at_b).await, "heard");
    });
}

#[test]
fn the_transport_of_a_configuration_is_wrapped_too() {
    on_memory(async |wire| {
        let faulty = Faulty::new(1);
        let a = wire.plain(1).await;
        let folder = tempfile::tempdir().expect("a folder");
        let text = format!(
            "[node]\nnetwork = \"faulty\"\ntransport = \"memory\"\nstore = \"memory\"\ndata_dir = {:?}\n\
             [transport.memory]\nnetwork = \"of the test\"\n",
            folder.path()
        );
        let config = Config::from_toml(&text).expect("a configuration");
        let plan = config.check(&Registry::linked().expect("plugins")).expect("it fits");
        let b = faulty.round(plan.builder().expect("a builder")).open().await.expect("opens");
        faulty.partition(&[&[a.peer_id()]]);
        let dialled = b.connect(&crate::nodes::addr(&a)).await.expect_err("it is parted");
        assert!(dialled.detail().contains("on the other side of a partition"), "{dialled}");
        assert_eq!(dialled.transport(), Some("memory"));
        b.close().await.expect("closes");
    });
}

/// What two nodes hear over a bad wire.
fn trace(seed: u64) -> Vec<String> {
    on_memory(async |wire| {
        let faulty = Faulty::new(seed);
        let [a, b] = wire.pair(&faulty).await;
        let mut heard = [reads(&a, &[]).await, reads(&b, &[&a]).await];
        b.ready(&topic(), 1).await.expect("they are linked");
        let change = faulty.change(|faults| {
            (faults.delay, faults.jitter) = (Duration::from_millis(5), Duration::from_millis(30));
            (faults.loss, faults.duplicate, faults.reorder) = (0.2, 0.2, 0.2);
        });
        change.expect("in range");
        let began = Instant::now();
        for _ in 0..30 {
            publish(&a, ["a"]).await;
            publish(&b, ["b"]).await;
        }
        let mut trace = Vec::new();
        for subscription in &mut heard {
            while let Ok(Some(delivery)) = timeout(Duration::from_secs(2), subscription.next()).await {
                if let Delivery::Message(message) = delivery {
                    trace.push(format!("{:?} {}", began.elapsed(), message.id()));
                }
            }
        }
        trace
    })
}

#[test]
fn one_seed_gives_one_run() {
    let first = trace(7);
    assert!(first.len() < 60, "nothing was lost");
    assert_eq!(trace(7), first);
    assert_ne!(trace(8), first);
}

#[test]
fn what_was_stalled_together_moves_in_one_order() {
    let order = || {
        on_memory(async |wire| {
            let faulty = Faulty::new(1);
            let (b, mut writers) = (wire.faulty(1, &faulty).await, Vec::new());
            for number in 2..14 {
                let writer = wire.plain(number).await;
                link(&writer, &b).await;
                writers.push(writer);
            }
            let mut at_b = reads(&b, &writers.iter().collect::<Vec<_>>()).await;
            faulty.change(|faults| faults.stall = true).expect("in range");
            for (n, writer) in writers.iter().enumerate() {
                publish(writer, [n.to_string().as_str()]).await;
            }
            counted(&b, "faulty_delayed", 12).await;
            faulty.clear();
            let mut heard = Vec::new();
            for _ in &writers {
                heard.push(next(&mut at_b).await);
            }
            heard
        })
    };
    let first = order();
    for _ in 0..4 {
        assert_eq!(order(), first);
    }
}
