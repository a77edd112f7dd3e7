//! `carrick publish`: one message, or one a line.

use super::Cx;
use super::args::Publish;
use crate::control::wire::Published;
use crate::fault::Outcome;

pub(super) async fn run(cx: &Cx, args: &Publish) -> Outcome {
    let client = cx.client()?;
    let topic = args.topic.as_str();
    args.message.each("publish", async |message| tell(cx, &client.publish(topic, message).await?)).await
}

fn tell(cx: &Cx, published: &Published) -> Outcome {
    if !cx.term.json {
        let reach = match published.peers {
            _ if published.queued => {
                "nobody is there; it is kept for a while and sent to the first who joins".into()
            }
            Some(1) => "sent to 1 peer".into(),
            Some(peers) => format!("sent to {peers} peers"),
            None => "sent; this network does not tell to how many".to_string(),
        };
        cx.term.note(reach);
        for skipped in &published.skipped {
            cx.term.note(format!(
                "left out {}: {}",
                skipped.count,
                skipped.reason.as_str().unwrap_or_default()
            ));
        }
    }
    cx.term.answer(published, &published.id)
}
