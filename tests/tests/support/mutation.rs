//! Damaged events: a valid event with parts replaced, repeated, removed and renamed.

use fastrand::Rng;
use serde_json::{Map, Value, json};

/// Makes one to five changes anywhere in an event.
pub fn mutate(event: &Value, rng: &mut Rng) -> Value {
    let mut event = event.clone();
    for _ in 0..rng.usize(1..=5) {
        let places = count(&event);
        change(&mut event, &mut rng.usize(0..places), rng);
    }
    event
}

fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(count).sum(),
        Value::Object(members) => members.values().map(count).sum(),
        _ => 0,
    }
}

/// Changes the value at this place, in preorder; returns whether the place exists.
fn change(value: &mut Value, place: &mut usize, rng: &mut Rng) -> bool {
    if *place == 0 {
        change_this(value, rng);
        return true;
    }
    *place -= 1;
    match value {
        Value::Array(items) => items.iter_mut().any(|item| change(item, place, rng)),
        Value::Object(members) => members.values_mut().any(|member| change(member, place, rng)),
        _ => false,
    }
}

fn change_this(value: &mut Value, rng: &mut Rng) {
    match (rng.u8(0..4), value) {
        (0 | 1, Value::String(text)) => change_text(text, rng),
        (0, Value::Object(members)) => {
            let names: Vec<String> = members.keys().cloned().collect();
            if let Some(name) = rng.choice(names) {
                let member = members.remove(&name).unwrap_or_default();
                if rng.bool() {
                    members.insert(junk_text(rng), member);
                }
            }
        }
        (1, Value::Object(members)) => {
            members.insert(junk_text(rng), junk(rng));
        }
        (_, value) => *value = junk(rng),
    }
}

fn change_text(text: &mut String, rng: &mut Rng) {
    let places: Vec<usize> = text.char_indices().map(|(place, _)| place).chain([text.len()]).collect();
    let place = rng.choice(places).unwrap_or_default();
    match rng.u8(0..3) {
        0 => text.insert_str(place, &junk_text(rng)),
        1 => text.truncate(place),
        _ => *text = text.repeat(rng.usize(1..200)),
    }
}

fn junk(rng: &mut Rng) -> Value {
    match rng.u8(0..9) {
        0 => Value::Null,
        1 => json!(rng.bool()),
        2 => json!(rng.i64(..)),
        3 => json!(rng.f64() * 1e300),
        4 => json!([]),
        5 => Value::Object(Map::new()),
        6 => (0..rng.usize(1..100)).fold(json!("deep"), |inner, _| json!([inner])),
        7 => json!({ junk_text(rng): junk_text(rng) }),
        _ => junk_text(rng).into(),
    }
}

fn junk_text(rng: &mut Rng) -> String {
    const PIECES: [&str; 32] = [
        "",
        " ",
        "<",
        ">",
        "\"",
        "%",
        "%2F",
        "%zz",
        "/",
        "..",
        "/../",
        "//",
        "?",
        "#",
        "@",
        ":",
        "[",
        "\\",
        "\0",
        "\r\n",
        "\u{7f}",
        "é",
        "\u{1f9e5}",
        "{product_id}",
        "ANY /cart",
        "$default",
        "http",
        "=",
        "&",
        "999999999999",
        "GET",
        "HEAD",
    ];
    (0..rng.usize(0..4)).filter_map(|_| rng.choice(PIECES)).collect()
}
