//! A clock that jumps: what is dated wrong is not heard, and nothing stands still.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use carrick_core::{Clock, Delivery, NetworkId, Node, Subscription, SystemClock, Time};
use carrick_interop::Kubo;
use carrick_transport_ipfs_http::IpfsHttp;
use futures::StreamExt as _;
use tokio::time::timeout;

use super::{config, open, soon, topic};

/// The system's clock, so many milliseconds off.
#[derive(Clone, Debug, Default)]
struct Off(Arc<AtomicI64>);

impl Clock for Off {
    fn now(&self) -> Time {
        Time(SystemClock.now().as_millis().saturating_add_signed(self.0.load(Ordering::Relaxed)))
    }
}

/// Publishes until something is heard, which a daemon may lose.
async fn heard(from: &Node, payload: &str, by: &mut Subscription) -> String {
    loop {
        from.publish(&topic(), payload.to_owned()).await.expect("publishes");
        let next = async {
            loop {
                if let Some(Delivery::Message(message)) = by.next().await {
                    return String::from_utf8_lossy(message.payload()).into_owned();
                }
            }
        };
        if let Ok(text) = timeout(Duration::from_millis(500), next).await {
            return text;
        }
    }
}

#[tokio::test]
async fn messages_flow_again_once_the_clock_is_right() {
    let kubo = Kubo::run(1, &[]).expect("a daemon");
    let (clock, config_of_one) = (Off::default(), config(&kubo.daemons()[0]));
    let one = Node::builder()
        .network(NetworkId::new("daemons").expect("a network"))
        .clock(clock.clone())
        .mount("ipfs-http", move |host| IpfsHttp::open(config_of_one, host))
        .open()
        .await
        .expect("opens");
    let (other, _) = open(config(&kubo.daemons()[0])).await.expect("opens");
    let mut subscription = other.subscribe(&topic()).await.expect("subscribes");
    assert_eq!(soon("a message", heard(&one, "right", &mut subscription)).await, "right");
    for hours in [1, -1] {
        clock.0.store(hours * 3_600_000, Ordering::Relaxed);
        one.publish(&topic(), "wrong").await.expect("publishes");
        clock.0.store(0, Ordering::Relaxed);
        loop {
            match soon("a message", heard(&one, "right again", &mut subscription)).await.as_str() {
                "right again" => break,
                // Of those that were sent before.
                text => assert_eq!(text, "right"),
            }
        }
    }
}
