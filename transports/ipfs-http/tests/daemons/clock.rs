//! A clock that jumps: what is dated wrong is not heard, and nothing stands still.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use carrick_core::{Clock, SystemClock, Time};
use carrick_interop::Kubo;

use super::{builder, config, heard, node, open, soon, topic};

/// The system's clock, so many milliseconds off.
#[derive(Clone, Debug, Default)]
struct Off(Arc<AtomicI64>);

impl Clock for Off {
    fn now(&self) -> Time {
        Time(SystemClock.now().as_millis().saturating_add_signed(self.0.load(Ordering::Relaxed)))
    }
}

#[tokio::test]
async fn messages_flow_again_once_the_clock_is_right() {
    let kubo = Kubo::run(1, &[]).expect("a daemon");
    let clock = Off::default();
    let config = config(&kubo.daemons()[0]);
    let (one, _) = node::over(builder().clock(clock.clone()), config.clone()).await.expect("opens");
    let (other, _) = open(config).await.expect("opens");
    let mut subscription = other.subscribe(&topic()).await.expect("subscribes");
    let mut hears =
        async |payload| soon("a message", heard(&one, &topic(), payload, &mut subscription)).await;
    assert_eq!(hears("right").await, "right");
    for hours in [1, -1] {
        clock.0.store(hours * 3_600_000, Ordering::Relaxed);
        one.publish(&topic(), "wrong").await.expect("publishes");
        clock.0.store(0, Ordering::Relaxed);
        loop {
            match hears("right again").await.as_str() {
                "right again" => break,
                // Of those that were sent before.
                text => assert_eq!(text, "right"),
            }
        }
    }
}
