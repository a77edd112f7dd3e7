//! The transport `ipfs-http` against the same Kubo daemons driven without it.

mod blocks;
mod get;
mod latency;
mod plain;

use std::sync::Arc;

use carrick_core::{NetworkId, Node, NodeBuilder, Transport};
use carrick_interop::{Daemon, Kubo};
use carrick_transport_ipfs_http::{IpfsHttp, IpfsHttpConfig};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use crate::Result;
use crate::table::Row;

pub(crate) use self::get::{add, complete, fetch, with_program};
pub(crate) use self::plain::Plain;

/// All rows. The get is of a quarter of `size_mib`, the one of which the memory is told of all of it.
pub(crate) fn run(runtime: &Runtime, size_mib: u64, pairs: u32) -> Result<Vec<Row>> {
    let mut rows = {
        let kubo = kubo(&[])?;
        runtime.block_on(async {
            let mut rows = blocks::run(&kubo.daemons()[0], pairs).await?;
            rows.push(latency::run(kubo.daemons(), pairs).await?);
            Result::<_>::Ok(rows)
        })?
    };
    rows.extend(get::run(runtime, size_mib, pairs)?);
    Ok(rows)
}

/// Two connected daemons.
pub(crate) fn kubo(options: &[&str]) -> Result<Kubo> {
    let started = Kubo::run(2, &[&["--connect"], options].concat());
    started.map_err(|error| format!("there is no Kubo ({error}); interop/install.sh kubo gets it").into())
}

/// A node over a daemon, and its transport.
async fn open(api: &str, builder: NodeBuilder) -> Result<(Node, Arc<dyn Transport>)> {
    let mut config = IpfsHttpConfig::default();
    config.api = api.parse()?;
    let (tell, told) = oneshot::channel();
    let mount = async move |host| {
        let transport: Arc<dyn Transport> = Arc::new(IpfsHttp::open(config, host).await?);
        // The receiver waits below.
        let _ = tell.send(Arc::clone(&transport));
        Ok(transport)
    };
    let node = builder.network(NetworkId::new("bench")?).mount_dyn("ipfs-http", mount).open().await?;
    Ok((node, told.await?))
}

/// Where a multiaddr is wanted.
fn multiaddr(daemon: &Daemon) -> String {
    let port = daemon.api.rsplit(':').next().unwrap_or_default();
    format!("/ip4/127.0.0.1/tcp/{port}")
}
