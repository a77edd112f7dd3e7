//! The handshake: each end signs what the other one chose, so each knows whose key is at the far end.
//!
//! ```text
//! dialler                              acceptor
//! Hello { network, key, nonce } ─────►
//!                               ◄───── Hello { network, key, nonce }
//!                               ◄───── Proof(signature)
//! Proof(signature)              ─────►
//!                               ◄───── Welcome
//! ```
//!
//! In place of any of them, `Bye` says why not. The proof holds for the moment of the handshake: nothing binds what
//! follows to it. Who sits in the middle of the wire can let two ends shake hands and then speak for both. Only
//! encryption helps against that, as TLS or Noise has it.

use carrick_core::{Bytes, Host, PeerId, PublicKey};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::wire::{End, Frame, read_frame};

/// What one end says before it proves anything.
struct Hello {
    key: PublicKey,
    nonce: [u8; 32],
}

/// Proves us to who was dialled, after it proved itself and is wanted. The caller waits for the welcome.
pub(crate) async fn greet(
    host: &Host,
    stream: &mut TcpStream,
    expected: Option<PeerId>,
) -> Result<PeerId, End> {
    let ours = send_hello(host, stream).await?;
    let theirs = read_hello(host, stream).await?;
    let peer = theirs.key.to_peer_id();
    match expected {
        _ if peer == host.me() => return Err(End::Oneself),
        Some(expected) if expected != peer => return Err(End::AnotherKey),
        _ if !host.admits(&peer) => return Err(End::NotAdmitted),
        _ => {}
    }
    check_proof(host, stream, &theirs, &statement(host, b"acceptor", &ours, &theirs)).await?;
    send_proof(host, stream, &statement(host, b"dialler ", &ours, &theirs)).await?;
    Ok(peer)
}

/// Waits for the last word of who was dialled.
pub(crate) async fn until_welcome(host: &Host, stream: &mut TcpStream) -> Result<(), End> {
    match Frame::decode(&next(host, stream).await?)? {
        Frame::Welcome => Ok(()),
        other => Err(out_of_turn(other)),
    }
}

/// Proves us to who dialled, and asks whether it is wanted. The caller says `Welcome` or `Bye`.
pub(crate) async fn answer(host: &Host, stream: &mut TcpStream) -> Result<PeerId, End> {
    let theirs = read_hello(host, stream).await?;
    let ours = send_hello(host, stream).await?;
    send_proof(host, stream, &statement(host, b"acceptor", &theirs, &ours)).await?;
    check_proof(host, stream, &theirs, &statement(host, b"dialler ", &theirs, &ours)).await?;
    let peer = theirs.key.to_peer_id();
    if host.admits(&peer) { Ok(peer) } else { Err(End::NotAdmitted) }
}

/// What one end signs: all that makes this handshake another one than any before.
fn statement(host: &Host, by: &[u8; 8], dialler: &Hello, acceptor: &Hello) -> Vec<u8> {
    let [first, second] = [dialler, acceptor].map(|hello| hello.key.to_peer_id().to_bytes());
    let network = host.network().as_str().as_bytes();
    [b"carrick tcp 1 ", &by[..], &dialler.nonce, &acceptor.nonce, &first, &second, network].concat()
}

async fn send_hello(host: &Host, stream: &mut TcpStream) -> Result<Hello, End> {
    // Not from `Host::random`, which a seeded run repeats: then an old signature would hold again.
    let hello = Hello { key: host.keypair().public(), nonce: rand::random() };
    let (network, key) = (host.network().as_str(), hello.key.encode_protobuf());
    stream.write_all(&Frame::Hello { network, key: &key, nonce: hello.nonce }.encode(&[])).await?;
    Ok(hello)
}

async fn read_hello(host: &Host, stream: &mut TcpStream) -> Result<Hello, End> {
    match Frame::decode(&next(host, stream).await?)? {
        Frame::Hello { network, .. } if network != host.network().as_str() => Err(End::Network),
        Frame::Hello { key, nonce, .. } => {
            let key = PublicKey::try_decode_protobuf(key).map_err(|_| End::Broken)?;
            Ok(Hello { key, nonce })
        }
        other => Err(out_of_turn(other)),
    }
}

async fn send_proof(host: &Host, stream: &mut TcpStream, statement: &[u8]) -> Result<(), End> {
    let signature = host.keypair().sign(statement).map_err(|_| End::Goodbye)?;
    Ok(stream.write_all(&Frame::Proof(&signature).encode(&[])).await?)
}

async fn check_proof(host: &Host, stream: &mut TcpStream, of: &Hello, statement: &[u8]) -> Result<(), End> {
    match Frame::decode(&next(host, stream).await?)? {
        Frame::Proof(signature) if of.key.verify(statement, signature) => Ok(()),
        other => Err(out_of_turn(other)),
    }
}

async fn next(host: &Host, stream: &mut TcpStream) -> Result<Bytes, End> {
    read_frame(stream, host.limits().handshake).await
}

fn out_of_turn(frame: Frame<'_>) -> End {
    if let Frame::Bye(end) = frame { end } else { End::Broken }
}
