//! A verified fetch between two processes against raw quinn, in turns.

use crate::process::{Fetched, Role, Usage};
use crate::stats::median;
use crate::table::{Good, Row};
use crate::{Result, content};

/// One run of one side.
#[derive(Clone, Copy, Debug)]
struct Run {
    mib_a_second: f64,
    /// Of both ends.
    cpu_a_gib: f64,
    client_peak_mib: f64,
    server_peak_mib: f64,
}

/// A server that goes on between the runs, and the role of its clients.
struct Side {
    server: Role,
    address: String,
    client: &'static str,
    size_mib: u64,
}

impl Side {
    async fn start(server: &str, client: &'static str, size_mib: u64) -> Result<Self> {
        let mut server = Role::start(&["--role", server, "--size-mib", &size_mib.to_string()])?;
        let address = server.line().await?;
        Ok(Self { server, address, client, size_mib })
    }

    async fn run(&mut self) -> Result<Run> {
        let before = self.server.usage().await?;
        let mut client = Role::start(&["--role", self.client, "--server", &self.address])?;
        let fetched: Fetched = client.line().await?;
        client.end().await?;
        let after = self.server.usage().await?;
        let expected = self.size_mib * content::BLOCK as u64;
        if fetched.bytes != expected {
            return Err(format!(
                "{} brought {} bytes of {expected}; the run is void",
                self.client, fetched.bytes
            )
            .into());
        }
        let gib = self.size_mib as f64 / 1024.0;
        Ok(Run {
            mib_a_second: self.size_mib as f64 / fetched.seconds,
            cpu_a_gib: (fetched.usage.cpu_seconds + after.since(&before).cpu_seconds) / gib,
            client_peak_mib: fetched.usage.peak_mib,
            // The content itself lies in the server's memory.
            server_peak_mib: after.peak_mib - self.size_mib as f64,
        })
    }
}

/// All pairs, in the order ABBA, after one run of each that does not count.
pub(crate) async fn run(size_mib: u64, pairs: u32) -> Result<Vec<Row>> {
    let mut raw = Side::start("raw-server", "raw-client", size_mib).await?;
    let mut node = Side::start("node-server", "node-client", size_mib).await?;
    let (mut raws, mut nodes) = (Vec::new(), Vec::new());
    raw.run().await?;
    node.run().await?;
    for pair in 0..pairs {
        if pair % 2 == 0 {
            raws.push(raw.run().await?);
            nodes.push(node.run().await?);
        } else {
            nodes.push(node.run().await?);
            raws.push(raw.run().await?);
        }
        eprintln!(
            "pair {}: raw {:.0} MiB/s, verified {:.0} MiB/s",
            pair + 1,
            raws.last().map_or(0.0, |r| r.mib_a_second),
            nodes.last().map_or(0.0, |r| r.mib_a_second)
        );
    }
    let mut hashing = Role::start(&["--role", "hash", "--size-mib", &size_mib.to_string()])?;
    let hash: Usage = hashing.line().await?;
    hashing.end().await?;
    raw.server.end().await?;
    node.server.end().await?;
    Ok(rows(&raws, &nodes, hash.cpu_seconds * 1024.0 / size_mib as f64))
}

fn rows(raws: &[Run], nodes: &[Run], hash_a_gib: f64) -> Vec<Row> {
    let pairs = || raws.iter().zip(nodes);
    let of = |runs: &[Run], value: fn(&Run) -> f64| median(runs.iter().map(value).collect());
    let speed: Vec<f64> = pairs().map(|(raw, node)| node.mib_a_second / raw.mib_a_second).collect();
    let cpu: Vec<f64> = pairs().map(|(raw, node)| node.cpu_a_gib / (raw.cpu_a_gib + hash_a_gib)).collect();
    let (raw_speed, node_speed) = (of(raws, |r| r.mib_a_second), of(nodes, |r| r.mib_a_second));
    let (raw_cpu, node_cpu) = (of(raws, |r| r.cpu_a_gib), of(nodes, |r| r.cpu_a_gib));
    let peaks = |value: fn(&Run) -> f64| nodes.iter().map(value).collect::<Vec<_>>();
    vec![
        Row::new("verified fetch, speed of raw quinn", "×", &speed, Good::AtLeast, 0.60, 0.80)
            .detail(format!("{node_speed:.0} MiB/s, raw {raw_speed:.0} MiB/s")),
        Row::new("its CPU, of raw quinn and hashing", "×", &cpu, Good::AtMost, 1.4, 1.1)
            .detail(format!("{node_cpu:.2} s/GiB, raw {raw_cpu:.2} s/GiB, hashing {hash_a_gib:.2} s/GiB")),
        Row::new(
            "resident memory of the fetching node",
            " MiB",
            &peaks(|r| r.client_peak_mib),
            Good::AtMost,
            96.0,
            64.0,
        ),
        Row::new(
            "resident memory of the serving node",
            " MiB",
            &peaks(|r| r.server_peak_mib),
            Good::AtMost,
            96.0,
            64.0,
        )
        .detail("without the content, which it keeps in memory".into()),
    ]
}
