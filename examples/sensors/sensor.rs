//! One sensor: each line of its standard input is a temperature, and becomes an entry of the ledger.

use std::sync::Arc;

use carrick::config::Config;
use carrick::ledger::Ledger;
use carrick::{Node, Registry, Result};
use tokio::io::{AsyncBufReadExt as _, BufReader, stdin};

use crate::plausible::Plausible;
use crate::summary::Summary;

/// The node that a configuration describes, with a ledger that has our rule.
pub(crate) async fn open(config: &Config) -> Result<(Node, Ledger)> {
    let ledger = Ledger::new("sensors", vec![Arc::new(Plausible)])?;
    let node = config.check(&Registry::linked()?)?.builder()?;
    Ok((ledger.mount(node).open().await?, ledger))
}

/// Takes readings until its input ends, and tells after each what all sensors say.
pub(crate) async fn run() -> Result<(), Box<dyn std::error::Error>> {
    let (node, ledger) = open(&Config::from_file("carrick.toml")?).await?;
    let summary = ledger.fold(Summary)?;
    let mut lines = BufReader::new(stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        if let Err(error) = ledger.append(format!(r#"{{"celsius":{line}}}"#)).await {
            println!("{}", error.detail());
        }
        for (peer, sensor) in summary.current().await?.state {
            println!("{peer} {:5.1} °C, mean {:5.1}", sensor.latest, sensor.mean());
        }
    }
    Ok(node.close().await?)
}
