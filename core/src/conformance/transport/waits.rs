//! Waiting for what must happen, and for what must not.

use std::time::Duration;

use futures::StreamExt as _;
use tokio::time::{sleep, timeout};

use super::Kit;
use super::kit::Overheard;
use super::probe::{Log, Probe};
use crate::{Delivery, Event, Events, Inbound, Message, Subscription};

impl Kit {
    /// What the process has allocated, where that is counted.
    pub(super) fn allocated(&self) -> Option<usize> {
        self.fixture.allocated()
    }

    /// Longer than anything takes that works.
    pub(super) fn patience(&self) -> Duration {
        self.fixture.patience()
    }

    /// How long to watch for what must not come.
    pub(super) fn quiet(&self) -> Duration {
        self.fixture.silence()
    }

    /// Waits for what must happen.
    pub(super) async fn soon<T>(&self, what: &str, happens: impl Future<Output = T>) -> T {
        let patience = self.fixture.patience();
        let Ok(happened) = timeout(patience, happens).await else {
            panic!("waited {patience:?} in vain for {what}");
        };
        happened
    }

    /// The next message of a subscription.
    pub(super) async fn message(&self, subscription: &mut Subscription) -> Message {
        let next = async {
            loop {
                match subscription.next().await {
                    Some(Delivery::Message(message)) => return message,
                    Some(_) => {}
                    None => panic!("the subscription ended"),
                }
            }
        };
        self.soon("a message", next).await
    }

    /// The payload of the next message, as text.
    pub(super) async fn text(&self, subscription: &mut Subscription) -> String {
        String::from_utf8_lossy(self.message(subscription).await.payload()).into_owned()
    }

    /// What is delivered next.
    pub(super) async fn delivery(&self, overheard: &mut Overheard) -> Inbound {
        self.soon("a delivery", overheard.recv()).await.expect("the node is open")
    }

    /// Asserts that nothing is delivered while it could be.
    pub(super) async fn nothing_delivered(&self, overheard: &mut Overheard) {
        if let Ok(inbound) = timeout(self.fixture.silence(), overheard.recv()).await {
            panic!("{inbound:?} was delivered and must not be");
        }
    }

    /// Waits until a probe has seen something.
    pub(super) async fn seen(&self, what: &str, probe: &Probe, is: impl Fn(&Log) -> bool) -> Log {
        self.soon(what, probe.until(is)).await
    }

    /// How many messages come until none does any more.
    pub(super) async fn drain(&self, subscription: &mut Subscription) -> u64 {
        let mut count = 0;
        while let Ok(delivery) = timeout(self.fixture.silence(), subscription.next()).await {
            count += u64::from(matches!(delivery.expect("the node is open"), Delivery::Message(_)));
        }
        count
    }

    /// Waits for an event.
    pub(super) async fn event(&self, what: &str, events: &mut Events, is: impl Fn(&Event) -> bool) -> Event {
        let next = async {
            loop {
                let event = events.next().await.expect("the node is open");
                if is(&event) {
                    return event;
                }
            }
        };
        self.soon(what, next).await
    }

    /// Waits until something holds of which no event tells.
    pub(super) async fn until(&self, what: &str, holds: impl Fn() -> bool) {
        let holding = async {
            while !holds() {
                sleep(Duration::from_millis(1)).await;
            }
        };
        self.soon(what, holding).await;
    }

    /// Asserts that an event does not come while it could.
    pub(super) async fn never(&self, events: &mut Events, is: impl Fn(&Event) -> bool) {
        let told = timeout(self.fixture.silence(), async {
            loop {
                match events.next().await {
                    Some(event) if is(&event) => return event,
                    Some(_) => {}
                    None => std::future::pending().await,
                }
            }
        });
        if let Ok(event) = told.await {
            panic!("{event:?} happened and must not");
        }
    }

    /// Asserts that no message comes while one could.
    pub(super) async fn silence(&self, subscription: &mut Subscription) {
        let heard = timeout(self.fixture.silence(), async {
            loop {
                match subscription.next().await {
                    Some(Delivery::Message(message)) => return message,
                    Some(_) => {}
                    None => std::future::pending().await,
                }
            }
        });
        if let Ok(message) = heard.await {
            panic!("{:?} was handed out and must not be", String::from_utf8_lossy(message.payload()));
        }
    }
}
