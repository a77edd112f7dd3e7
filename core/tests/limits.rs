//! The limits are what `docs/configuration.md` says: each name, default and range.

use std::collections::BTreeMap;

use carrick_core::Limits;
use serde_json::Value;

/// A row of the table: the key, its default, and the range in words.
type Row = (String, f64, String);

fn rows() -> Vec<Row> {
    let page = include_str!("../../docs/configuration.md");
    let table = page.split("## `[node.limits]`").nth(1).and_then(|rest| rest.split("###").next());
    let cells = table.expect("the page has the table").lines().filter(|line| line.starts_with("| `"));
    cells
        .map(|line| {
            let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
            let [key, _, default, range] = cells[..] else { panic!("four cells: {line}") };
            (key.trim_matches('`').to_owned(), number(default), range.to_owned())
        })
        .collect()
}

fn number(text: &str) -> f64 {
    match text {
        "one envelope" => Limits::default().envelope_bytes() as f64,
        "one block" => Limits::default().block_bytes as f64,
        digits => digits.replace(',', "").parse().unwrap_or_else(|_| panic!("{text} is no number")),
    }
}

fn defaults() -> BTreeMap<String, Value> {
    let limits = serde_json::to_value(Limits::default()).expect("limits are a table");
    serde_json::from_value(limits).expect("a table")
}

/// The limits with one of them changed; all others of the network's own are set so that they allow it.
fn allowed(key: &str, value: f64) -> bool {
    let mut limits = defaults();
    let whole = limits[key].is_u64();
    limits.insert(key.into(), if whole { Value::from(value as u64) } else { Value::from(value) });
    for roomy in ["send_queue_bytes", "subscriber_bytes", "serving_bytes"] {
        if key != roomy {
            limits.insert(roomy.into(), Value::from(1_u64 << 30));
        }
    }
    let limits: Limits = serde_json::from_value(Value::from_iter(limits)).expect("limits");
    limits.check().is_ok()
}

#[test]
fn the_page_names_every_limit_and_its_default() {
    let page: BTreeMap<String, f64> = rows().into_iter().map(|(key, default, _)| (key, default)).collect();
    let code: BTreeMap<String, f64> =
        defaults().into_iter().map(|(key, value)| (key, value.as_f64().expect("a number"))).collect();
    assert_eq!(page, code);
}

#[test]
fn the_page_names_the_range_that_is_kept() {
    for (key, _, range) in rows() {
        if range == "any" {
            assert!(allowed(&key, 0.0) && allowed(&key, u32::MAX.into()), "{key}");
            continue;
        }
        let (low, high) = range.split_once(" to ").unwrap_or_else(|| panic!("{key}: {range}"));
        let (low, high) = (number(low), number(high));
        assert!(allowed(&key, low) && allowed(&key, high), "{key}: {low} to {high} is allowed");
        let step = if defaults()[&key].is_u64() { 1.0 } else { 0.000_1 };
        assert!(low == 0.0 || !allowed(&key, low - step), "{key}: below {low}");
        assert!(!allowed(&key, high + step), "{key}: above {high}");
    }
}
