//! Errors a person can act on: the source, the table, the key, what was found, what is allowed.

use figment::Figment;
use figment::error::{Actual, Kind};
use figment::value::Value;
use serde::de;

use crate::registry::closest;
use crate::{Error, ErrorKind};

/// The tables a configuration may have.
pub(super) const TABLES: [&str; 8] =
    ["node", "transport", "store", "service", "ledger", "validator", "topic", "profile"];

/// Parts an error's detail from its mend in the one text that serde passes on.
const MEND: &str = "\nmend: ";
/// Ends the text of an error that must not show what was found.
const UNSEEN: &str = "\nunseen";

/// An error of a `Deserialize`, with its mend: for plugins that check a value where they read it. Most need only
/// [`checked!`](crate::checked).
pub fn refuse<E: de::Error>(error: &Error) -> E {
    match error.hint() {
        Some(hint) => E::custom(format!("{}{MEND}{hint}", error.detail())),
        None => E::custom(error.detail()),
    }
}

/// Makes a function for `deserialize_with` that reads a value and checks it at once, so that a bad one stops the start before
/// anything is opened. Errors keep their mend. The calling crate needs `serde`.
///
/// ```
/// use carrick_core::{Error, ErrorKind, Result};
/// use serde::Deserialize;
///
/// #[derive(Deserialize)]
/// struct Section {
///     #[serde(deserialize_with = "checked_rate")]
///     rate: u32,
/// }
///
/// fn check_rate(rate: &u32) -> Result<()> {
///     match rate {
///         1..=100 => Ok(()),
///         _ => Err(Error::new(ErrorKind::Config, "configuration", format!("rate is {rate}; allowed is 1 to 100"))),
///     }
/// }
///
/// carrick_core::checked!(checked_rate, u32, check_rate);
///
/// assert_eq!(serde_json::from_str::<Section>(r#"{"rate": 7}"#).expect("allowed").rate, 7);
/// let error = serde_json::from_str::<Section>(r#"{"rate": 0}"#).err().expect("refused");
/// assert!(error.to_string().starts_with("rate is 0; allowed is 1 to 100"));
/// ```
#[macro_export]
macro_rules! checked {
    ($visible:vis $name:ident, $type:ty, $check:path) => {
        $visible fn $name<'de, D: ::serde::Deserializer<'de>>(from: D) -> ::std::result::Result<$type, D::Error> {
            let value = <$type as ::serde::Deserialize>::deserialize(from)?;
            $check(&value).map_err(|error| $crate::config::refuse(&error))?;
            Ok(value)
        }
    };
}

/// The same for a value that may hold a secret: the error does not show what was found.
pub fn refuse_unseen<E: de::Error>(error: &Error) -> E {
    E::custom(format!("{}{UNSEEN}", refuse::<E>(error)))
}

/// A configuration error with one line of detail.
pub(super) fn wrong(detail: impl Into<String>) -> Error {
    Error::new(ErrorKind::Config, "configuration", detail)
}

/// A key at the top that is no table of ours.
pub(super) fn misplaced(origin: &str, key: &str) -> Error {
    let detail = format!("{origin}: unknown table {key:?}; known: {}", TABLES.join(", "));
    let of_node = ["network", "data_dir", "transport", "broadcast", "fetch", "members", "limits", "require"];
    match closest(key, &TABLES) {
        _ if of_node.contains(&key) => wrong(detail).mend(format!("{key} belongs into the table [node]")),
        Some(guess) => wrong(detail).mend(format!("did you mean {guess:?}?")),
        None => wrong(detail),
    }
}

/// Turns figment's error about `section`, the table `table`, into ours. `fallback` is the source to name where figment knows
/// none: a key that is missing has no place of its own.
pub(super) fn explain(error: figment::Error, section: &Figment, table: &str, fallback: &str) -> Error {
    let origin = error.metadata.as_ref().map_or(fallback, |metadata| &metadata.name).to_string();
    let (key, inner) = match (&error.kind, error.path.split_last()) {
        (Kind::MissingField(field), _) => (field.to_string(), error.path.as_slice()),
        (Kind::UnknownField(field, _), Some((last, rest))) if last == field => (field.clone(), rest),
        (Kind::UnknownField(field, _), _) => (field.clone(), error.path.as_slice()),
        (_, Some((last, rest))) => item(last, rest).unwrap_or_else(|| (last.clone(), rest)),
        (_, None) => (String::new(), [].as_slice()),
    };
    let table = inner.iter().fold(table.to_string(), |table, part| format!("{table}.{part}"));
    let (what, mend) = match &error.kind {
        Kind::Message(text) => said(text, value_at(section, &error.path)),
        kind => describe(kind, &key),
    };
    let place = if key.is_empty() { format!("[{table}]") } else { format!("[{table}] {key}") };
    let ours = wrong(format!("{origin}: {place}: {what}"));
    let ours = match mend {
        Some(mend) => ours.mend(mend),
        None => ours,
    };
    ours.from_source(error)
}

/// The key of a list and which item of it; `None` for a key of a table.
fn item<'a>(last: &str, rest: &'a [String]) -> Option<(String, &'a [String])> {
    let place: usize = last.parse().ok()?;
    let (list, rest) = rest.split_last()?;
    Some((format!("{list}, item {}", place + 1), rest))
}

/// A value that is no table or list, as it would be written.
fn value_at(section: &Figment, path: &[String]) -> Option<String> {
    let whole: Value = section.extract().ok()?;
    let value = path.iter().try_fold(&whole, |value, key| match value {
        Value::Dict(_, dict) => dict.get(key),
        Value::Array(_, items) => items.get(key.parse::<usize>().ok()?),
        _ => None,
    })?;
    (!matches!(value, Value::Dict(..) | Value::Array(..))).then(|| shown(&value.to_actual()))
}

/// What a type says of a value it refuses, with the value and the mend.
fn said(text: &str, found: Option<String>) -> (String, Option<String>) {
    let (text, found) = match text.strip_suffix(UNSEEN) {
        Some(text) => (text, None),
        None => (text, found),
    };
    let (detail, mend) = match text.split_once(MEND) {
        Some((detail, mend)) => (detail, Some(mend.to_string())),
        None => (text, None),
    };
    match found {
        Some(found) if !detail.contains(&found) => (format!("found {found}: {detail}"), mend),
        _ => (detail.to_string(), mend),
    }
}

/// What was found and what is allowed; and the mend where it is plain.
fn describe(kind: &Kind, key: &str) -> (String, Option<String>) {
    match kind {
        Kind::UnknownField(field, known) => {
            let guess = closest(field, known).map(|guess| format!("did you mean {guess:?}?"));
            let mend = guess.unwrap_or("leave it out, or write a known one".into());
            (format!("unknown key; known keys: {}", list(known)), Some(mend))
        }
        Kind::UnknownVariant(found, known) => {
            let guess = closest(found, known).map(|guess| format!("did you mean {guess:?}?"));
            (
                format!("found {found:?}; allowed: {}", list(known)),
                guess.or(Some("write one of those".into())),
            )
        }
        Kind::InvalidType(found, expected) | Kind::InvalidValue(found, expected) => (
            format!("found {}; allowed: {}", shown(found), in_words(expected)),
            mend_type(found, expected, key),
        ),
        Kind::InvalidLength(found, expected) => (format!("found {found} items; allowed: {expected}"), None),
        Kind::MissingField(_) => ("is missing".into(), Some(format!("add {key} to the table"))),
        Kind::ISizeOutOfRange(found) => (format!("found {found}, which is out of range"), None),
        Kind::USizeOutOfRange(found) => (format!("found {found}, which is out of range"), None),
        other => (figment::Error::from(other.clone()).to_string(), None),
    }
}

fn mend_type(found: &Actual, expected: &str, key: &str) -> Option<String> {
    match found {
        Actual::Unsigned(_) | Actual::Signed(_) | Actual::Float(_) | Actual::Bool(_)
            if in_words(expected) == "a string" =>
        {
            let bare = shown(found);
            let key = if key.contains(", item ") { String::new() } else { format!("{key} = ") };
            Some(format!("write it in quotes: {key}\"{bare}\""))
        }
        Actual::Str(text) if in_words(expected).starts_with("a list") => {
            Some(format!("write it in brackets: {key} = [{text:?}]"))
        }
        _ => None,
    }
}

fn list(known: &[&str]) -> String {
    if known.is_empty() { "none".into() } else { known.join(", ") }
}

/// A value as it would be written.
fn shown(found: &Actual) -> String {
    match found {
        Actual::Bool(value) => value.to_string(),
        Actual::Unsigned(value) => value.to_string(),
        Actual::Signed(value) => value.to_string(),
        Actual::Float(value) => value.to_string(),
        Actual::Char(value) => format!("{value:?}"),
        Actual::Str(value) => format!("{value:?}"),
        Actual::Seq => "a list".into(),
        Actual::Map => "a table".into(),
        other => other.to_string(),
    }
}

/// Serde's words for types, in a user's.
fn in_words(expected: &str) -> &str {
    match expected {
        "u8" | "u16" | "u32" | "u64" | "u128" | "usize" => "a whole number, not negative",
        "i8" | "i16" | "i32" | "i64" | "i128" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        "a boolean" => "true or false",
        "a sequence" => "a list",
        "a map" => "a table",
        "path string" | "string" => "a string",
        other if other.starts_with("struct ") => "a table",
        other => other,
    }
}
