//! A validator plugin: on its topics a message must be a JSON object with a plausible temperature.

use carrick::{
    Block, Cause, Context, Error, ErrorKind, Message, Result, Site, TopicPattern, Validator, Verdict,
    async_trait,
};
use serde::Deserialize;

/// The table of the plugin.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReadingsConfig {
    /// The topics it judges; it accepts everything on others. Default all.
    pub topics: Vec<TopicPattern>,
    /// The lowest temperature taken, in degrees Celsius. Default −90.
    pub min_celsius: f64,
    /// The highest temperature taken, in degrees Celsius. Default 60.
    pub max_celsius: f64,
}

impl Default for ReadingsConfig {
    fn default() -> Self {
        Self { topics: vec![], min_celsius: -90.0, max_celsius: 60.0 }
    }
}

/// What a sensor publishes. Other fields are allowed.
#[derive(Debug, Deserialize)]
struct Reading {
    celsius: f64,
}

/// Judges sensor readings.
#[derive(Debug)]
pub struct Readings {
    config: ReadingsConfig,
}

impl Readings {
    /// Checks the configuration; called once for each `[[validator]]` of this kind.
    ///
    /// # Errors
    /// `Config` when no temperature could pass.
    pub async fn open(config: ReadingsConfig, _: Site) -> Result<Self> {
        let ReadingsConfig { min_celsius, max_celsius, .. } = config;
        // Empty also when one of them is not a number.
        if (min_celsius..=max_celsius).is_empty() {
            let detail = format!("min_celsius {min_celsius} is above max_celsius {max_celsius}");
            // The node adds which file and table this is about.
            return Err(Error::new(ErrorKind::Config, "configuration", detail).mend("exchange the two"));
        }
        Ok(Self { config })
    }

    /// Whether a payload is a plausible reading; the reason if not.
    fn judge(&self, payload: &[u8]) -> Result<(), Cause> {
        let reading: Reading =
            serde_json::from_slice(payload).map_err(|error| format!("no reading: {error}"))?;
        if (self.config.min_celsius..=self.config.max_celsius).contains(&reading.celsius) {
            Ok(())
        } else {
            Err(format!("{} °C is not plausible", reading.celsius).into())
        }
    }
}

#[async_trait]
impl Validator for Readings {
    /// `Reject`, because a bad reading is bad for ever and everywhere: whoever passed it on did not look at it. What
    /// depends on the moment or on our own state would be `Ignore`.
    async fn message(&self, _: &Context<'_>, message: &Message) -> Verdict {
        let topics = &self.config.topics;
        if !topics.is_empty() && !topics.iter().any(|topic| topic.matches(message.topic())) {
            return Verdict::Accept;
        }
        match self.judge(message.payload()) {
            Ok(()) => Verdict::Accept,
            Err(cause) => Verdict::Reject(cause),
        }
    }

    /// Content is not ours to judge.
    async fn block(&self, _: &Context<'_>, _: &Block) -> Verdict {
        Verdict::Accept
    }

    /// A ledger would apply the message here. We keep nothing.
    async fn accepted(&self, _: &Context<'_>, _: &Message) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(payload: &str) -> Result<(), String> {
        let readings = Readings { config: ReadingsConfig::default() };
        readings.judge(payload.as_bytes()).map_err(Cause::into_owned)
    }

    #[test]
    fn a_reading_may_carry_more_than_its_temperature() {
        assert_eq!(judge(r#"{"celsius": 21.5, "sensor": "roof"}"#), Ok(()));
    }

    #[test]
    fn the_bounds_are_plausible_and_nothing_beyond() {
        for celsius in ["-90", "60"] {
            assert_eq!(judge(&format!(r#"{{"celsius":{celsius}}}"#)), Ok(()));
        }
        assert_eq!(judge(r#"{"celsius":60.5}"#), Err("60.5 °C is not plausible".into()));
        assert_eq!(judge(r#"{"celsius":-400}"#), Err("-400 °C is not plausible".into()));
    }

    #[test]
    fn what_is_no_reading_is_refused_with_the_reason() {
        for payload in ["", "hot", "21.5", r#"{"fahrenheit":70}"#, r#"{"celsius":"21.5"}"#] {
            let cause = judge(payload).expect_err(payload);
            assert!(cause.starts_with("no reading: "), "{cause}");
        }
    }
}
