//! What the daemon is and can, found out by asking, never by comparing versions.

use carrick_core::{ErrorKind, Host, PeerId, Result};

use crate::IpfsHttpConfig;
use crate::rpc::calls::{Id, Identity, PubsubLs, PubsubPeers, Version, VersionOf, short};
use crate::rpc::fault::{PUBSUB_OFF, clean};
use crate::rpc::{Fault, Payload, Rpc};
use crate::shared::Shared;

/// Parts of the RPC by their path, each with a command of it.
const BLOCK: (&str, &str) = ("block", "/block/get");
const IMPORT: (&str, &str) = ("dag/import", "/dag/import");
const PIN: (&str, &str) = ("pin", "/pin/add");
const ROUTING: (&str, &str) = ("routing", "/routing/findprovs");

/// Asks who the daemon is, and whether it can what the transport wants of it. Each answer is a fact that `status` shows.
pub(crate) async fn probe(rpc: &Rpc, host: &Host, config: &IpfsHttpConfig) -> Result<Identity> {
    let found = async {
        let identity = ask(rpc, host).await?;
        can(rpc, host, config).await?;
        Ok::<_, Fault>(identity)
    };
    let identity = found.await.map_err(|fault| fault.into_error("open"))?;
    if config.pubsub {
        tracing::warn!(
            "a daemon passes messages on before this node has judged them: what is refused here reaches others all \
             the same; `relay = \"after-verdict\"` under [node.require] refuses to start instead"
        );
    }
    Ok(identity)
}

/// Asks a daemon that is back what it is and can now: it may have been given another configuration, or be another one.
pub(crate) async fn again(shared: &Shared) {
    let (rpc, host) = (&shared.rpc, &shared.host);
    match version(rpc).await {
        Ok(version) => host.fact("version", &version),
        Err(fault) => tracing::debug!(%fault, "its version is not known"),
    }
    if let Err(fault) = can(rpc, host, &shared.config).await {
        tracing::warn!(%fault, mend = fault.hint(), "the daemon no longer offers all that is wanted of it");
    }
}

/// Asks for each part of the RPC whether it is there, and has `status` show it.
///
/// # Errors
/// The first that is not, and that the transport cannot do without.
async fn can(rpc: &Rpc, host: &Host, config: &IpfsHttpConfig) -> Result<(), Fault> {
    let mut lacks = None;
    if config.pubsub {
        lacks = note(host, "pubsub", carries_messages(rpc).await)?;
    }
    for part in [BLOCK, IMPORT, PIN, ROUTING] {
        let lacking = note(host, part.0, rpc.offers(part.1).await)?;
        let lacking = match part {
            ROUTING => None,
            PIN if !config.pin => None,
            PIN => lacking.map(|fault| fault.or("`pin = false` under the transport does without")),
            _ => lacking,
        };
        lacks = lacks.or(lacking);
    }
    lacks.map_or(Ok(()), Err)
}

/// Has `status` show whether a part is there; what it answers if not.
fn note(host: &Host, part: &'static str, answer: Result<(), Fault>) -> Result<Option<Fault>, Fault> {
    match &answer {
        Ok(()) => host.fact(part, "on"),
        Err(fault) => match fault.kind {
            ErrorKind::Config | ErrorKind::Unsupported => host.fact(part, "off"),
            ErrorKind::Unauthorized => {
                host.fact(part, &format!("closed: the secret must open /api/v0/{part}"));
            }
            // That it does not answer says nothing of what it can.
            _ => return answer.map(|()| None),
        },
    }
    Ok(answer.err())
}

/// Whether a daemon can hold blocks.
///
/// # Errors
/// What it lacks for that.
pub(crate) async fn holds(rpc: &Rpc) -> Result<(), Fault> {
    for (_, command) in [BLOCK, IMPORT, PIN] {
        rpc.offers(command).await?;
    }
    Ok(())
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
