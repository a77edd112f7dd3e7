//! What the daemon is and can, found out by asking, never by comparing versions.

use carrick_core::{ErrorKind, Host, PeerId, Result};

use crate::rpc::calls::{Id, Identity, PubsubLs, PubsubPeers, Version, VersionOf, short};
use crate::rpc::fault::{PUBSUB_OFF, clean};
use crate::rpc::{Fault, Payload, Rpc};

/// Asks who the daemon is, and whether it can what a transport wants of it. Each answer is a fact that `status` shows.
pub(crate) async fn probe(rpc: &Rpc, host: &Host, pubsub: bool) -> Result<Identity> {
    let identity = ask(rpc, host).await.map_err(|fault| fault.into_error("open"))?;
    if pubsub {
        carries_messages(rpc).await.map_err(|fault| fault.into_error("open"))?;
        host.fact("pubsub", "on");
        tracing::warn!(
            "a daemon passes messages on before this node has judged them: what is refused here reaches others all \
             the same; `relay = \"after-verdict\"` under [node.require] refuses to start instead"
        );
    }
    Ok(identity)
}

/// Asks who the daemon is, and how old, and has `status` show it.
async fn ask(rpc: &Rpc, host: &Host) -> Result<Identity, Fault> {
    let (identity, version) = find(rpc).await?;
    for (what, value) in
        [("daemon", &identity.id), ("version", &version), ("api", &rpc.endpoint().to_string())]
    {
        host.fact(what, value);
    }
    Ok(identity)
}

/// Asks who the daemon is, and how old.
pub(crate) async fn find(rpc: &Rpc) -> Result<(Identity, String), Fault> {
    let (identity, version) = (who(rpc).await?, version(rpc).await?);
    tracing::info!(at = %rpc.endpoint(), daemon = identity.id, version, "found a daemon");
    Ok((identity, version))
}

/// Asks who the daemon is.
pub(crate) async fn who(rpc: &Rpc) -> Result<Identity, Fault> {
    let identity: Identity = rpc.json(Id {}, Payload::Nothing).await?;
    match short::<PeerId>(&identity.id) {
        Some(_) => Ok(identity),
        None => Err(Fault::junk("an id that is none").of("id", rpc.endpoint())),
    }
}

/// Asks how old the daemon is.
pub(crate) async fn version(rpc: &Rpc) -> Result<String, Fault> {
    let version: Version = rpc.json(VersionOf {}, Payload::Nothing).await?;
    Ok(clean(&version.version))
}

/// Whether pubsub is on, and refuses a topic in plain words, as it does where topics travel in multibase.
async fn carries_messages(rpc: &Rpc) -> Result<(), Fault> {
    if let Err(fault) = rpc.bytes(PubsubLs {}, Payload::Nothing).await {
        if fault.kind != ErrorKind::Unsupported {
            return Err(fault);
        }
        let off = Fault::new(ErrorKind::Config, "the daemon's pubsub is off");
        return Err(off.of("pubsub/ls", rpc.endpoint()).mend(PUBSUB_OFF));
    }
    match rpc.bytes(PubsubPeers { arg: "carrick".into() }, Payload::Nothing).await {
        Err(fault) if fault.says("multibase") => Ok(()),
        Err(fault) => Err(fault),
        Ok(_) => Err(Fault::new(ErrorKind::Unsupported, "the daemon's pubsub is that of a Kubo before 0.11")
            .of("pubsub/peers", rpc.endpoint())
            .mend("run a newer Kubo")),
    }
}
