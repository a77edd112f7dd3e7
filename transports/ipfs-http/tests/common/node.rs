//! A node over a daemon, with its transport at hand.

use std::sync::Arc;

use carrick_core::{Node, NodeBuilder, Result, Transport};
use carrick_transport_ipfs_http::{IpfsHttp, IpfsHttpConfig};
use tokio::sync::oneshot;

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
