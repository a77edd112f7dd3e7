//! The rule of this ledger: readings are plausible, and a sensor does not jump.

use carrick::ledger::{Entry, Past, Rule};
use carrick::{Verdict, async_trait};

/// What an outdoor sensor may tell, in degrees Celsius.
const POSSIBLE: std::ops::RangeInclusive<f64> = -90.0..=60.0;
/// Degrees by which a reading may differ from the same sensor's previous one.
const JUMP: f64 = 10.0;

#[derive(Debug)]
pub(crate) struct Plausible;

#[async_trait]
impl Rule for Plausible {
    async fn entry(&self, past: &Past<'_>, entry: &Entry) -> Verdict {
        let Some(now) = celsius(entry) else {
            return Verdict::Reject(r#"a reading is {"celsius":NUMBER}"#.into());
        };
        if !POSSIBLE.contains(&now) {
            return Verdict::Reject(format!("{now} °C is not plausible").into());
        }
        // The last entry of the same author, among those that this one follows.
        let before = match past.previous().await {
            Ok(entry) => entry.as_ref().and_then(celsius),
            // This node cannot read now. That is nobody's fault: the entry comes again.
            Err(error) => return Verdict::Ignore(error.to_string().into()),
        };
        match before {
            Some(before) if (now - before).abs() > JUMP => {
                Verdict::Reject(format!("from {before} to {now} °C is a jump of more than {JUMP}").into())
            }
            _ => Verdict::Accept,
        }
    }
}

/// The temperature that an entry tells; `None` where it tells none.
pub(crate) fn celsius(entry: &Entry) -> Option<f64> {
    let reading: serde_json::Value = serde_json::from_slice(entry.payload()).ok()?;
    reading.get("celsius")?.as_f64()
}
