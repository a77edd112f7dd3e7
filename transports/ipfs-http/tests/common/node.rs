//! A node over a daemon, with its transport at hand.

use std::sync::Arc;
use std::time::Duration;

use carrick_core::{Node, NodeBuilder, Result, Transport};
use carrick_transport_ipfs_http::{IpfsHttp, IpfsHttpConfig};
use tokio::sync::oneshot;
use tokio::time::sleep;

/// Between two looks at what tells nobody that it changes.
const BETWEEN: Duration = Duration::from_millis(10);

/// Looks until it is so. Everything else goes on in between, also where a look itself never waits.
pub(crate) async fn until(mut so: impl AsyncFnMut() -> bool) {
    while !so().await {
        sleep(BETWEEN).await;
    }
}

pub(crate) async fn over(builder: NodeBuilder, config: IpfsHttpConfig) -> Result<(Node, Arc<dyn Transport>)> {
    let (tell, told) = oneshot::channel();
    let mount = move |host| async move {
        let transport: Arc<dyn Transport> = Arc::new(IpfsHttp::open(config, host).await?);
        let _ = tell.send(Arc::clone(&transport));
        Ok(transport)
    };
    let node = builder.mount_dyn("ipfs-http", mount).open().await?;
    Ok((node, told.await.expect("it was mounted")))
}
