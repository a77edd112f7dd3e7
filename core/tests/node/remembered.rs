//! What a transport saves through its host, and finds again after a restart.

use carrick_core::{Bytes, ErrorKind, Host};
use futures::TryStreamExt as _;

use crate::support::{Shared, Wire, on, on_wires};

fn entry(key: &str, value: &str) -> (String, Option<Bytes>) {
    (key.to_owned(), Some(value.to_owned().into()))
}

async fn recalled(host: &Host, prefix: &str) -> Vec<(String, String)> {
    let entries: Vec<(String, Bytes)> = host.recall(prefix).try_collect().await.expect("reads");
    entries.into_iter().map(|(key, value)| (key, String::from_utf8_lossy(&value).into_owned())).collect()
}

fn pair(key: &str, value: &str) -> (String, String) {
    (key.to_owned(), value.to_owned())
}

#[tokio::test(start_paused = true)]
async fn what_a_transport_saves_is_there_after_a_restart_in_the_order_of_its_keys() {
    let store = Shared::default();
    let wire = Wire::new();
    let node = on(&wire).store(store.arc()).open().await.expect("opens");
    let host = wire.host();
    host.save(&[entry("peers/b", "2"), entry("peers/a", "1"), entry("roots/a", "3")]).await.expect("saves");
    host.save(&[("peers/b".to_owned(), None), entry("peers/c", "4")]).await.expect("saves");
    node.close().await.expect("closes");

    let wire = Wire::new();
    let _node = on(&wire).store(store.arc()).open().await.expect("opens");
    let host = wire.host();
    assert_eq!(recalled(&host, "peers/").await, [pair("peers/a", "1"), pair("peers/c", "4")]);
    assert_eq!(recalled(&host, "").await.len(), 3);
    assert_eq!(recalled(&host, "nothing").await, []);
}

#[tokio::test(start_paused = true)]
async fn no_instance_sees_what_another_saves() {
    let wires = [Wire::new(), Wire::new(), Wire::new()];
    let names = ["a", "ab", "a/b"];
    let mounted: Vec<_> = names.into_iter().zip(&wires).collect();
    let _node = on_wires(&mounted).open().await.expect("opens");
    for (name, wire) in &mounted {
        wire.host().save(&[entry("key", name), entry("b/key", name)]).await.expect("saves");
    }
    for (name, wire) in mounted {
        assert_eq!(recalled(&wire.host(), "").await, [pair("b/key", name), pair("key", name)], "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn more_than_a_transport_may_save_at_once_is_refused_whole() {
    let wire = Wire::new();
    let _node = on(&wire).open().await.expect("opens");
    let host = wire.host();
    let many = |n: usize| (0..n).map(|i| entry(&format!("{i}"), "")).collect::<Vec<_>>();
    let sized = |key: usize, value: usize| [entry("small", ""), entry(&"k".repeat(key), &"v".repeat(value))];
    host.save(&many(256)).await.expect("at the bound");
    host.save(&sized(256, 4096)).await.expect("at the bound");
    let before = recalled(&host, "").await.len();
    for refused in [many(257), sized(257, 0).to_vec(), sized(1, 4097).to_vec()] {
        let refused: Vec<_> = refused.into_iter().map(|(key, value)| (format!("x{key}"), value)).collect();
        let error = host.save(&refused).await.expect_err("above the bound");
        assert_eq!((error.kind(), error.transport()), (ErrorKind::TooLarge, Some("wire")), "{error}");
    }
    assert_eq!(recalled(&host, "").await.len(), before, "nothing of it is written");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_says_so() {
    let store = Shared::default();
    let wire = Wire::new();
    let _node = on(&wire).store(store.arc()).open().await.expect("opens");
    store.fill(true);
    let error = wire.host().save(&[entry("key", "value")]).await.expect_err("full");
    assert_eq!(error.kind(), ErrorKind::Full, "{error}");
}
