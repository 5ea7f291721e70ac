//! The JSON bodies of requests.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::RangeInclusive;

use serde_json::value::RawValue;

use super::{Problem, Request};

/// Returns the members of the JSON object in the body.
///
/// # Errors
/// 415 if `Content-Type` is not JSON, and `no_object` if the body is no JSON object.
pub fn members(request: &Request, no_object: Problem) -> Result<HashMap<String, &RawValue>, Problem> {
    if !request.has_json() {
        return Err(Problem::unsupported_media_type("The body must be application/json."));
    }
    // A map, because serde also reads a struct from an array. Raw values, because a number may be too large for any
    // type.
    serde_json::from_slice(&request.body).map_err(|_| no_object)
}

/// Returns the integer in a JSON number, or in a string of one: front ends send the keys of `skus`, which are strings.
/// As in JavaScript, 33.0 is an integer, and digits beyond the precision of a double are ignored. A number above the
/// range of a double is infinite.
#[must_use]
pub fn integer(value: &RawValue) -> Option<f64> {
    let text = value.get();
    let text: Cow<'_, str> =
        if text.starts_with('"') { serde_json::from_str(text).ok()? } else { text.into() };
    let number: &RawValue = serde_json::from_str(&text).ok()?;
    let is_number =
        number.get() == text && text.starts_with(|first: char| first == '-' || first.is_ascii_digit());
    let number: f64 = text.parse().ok().filter(|_| is_number)?;
    (number.is_infinite() || number.fract() == 0.0).then_some(number)
}

/// Returns a number as an `i32` if it is within the range.
#[must_use]
pub fn in_range(number: f64, range: RangeInclusive<i32>) -> Option<i32> {
    let is_within = f64::from(*range.start()) <= number && number <= f64::from(*range.end());
    #[expect(clippy::cast_possible_truncation, reason = "it is an integer within the range of one")]
    is_within.then_some(number as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn integer_in(json: &str) -> Option<f64> {
        integer(serde_json::from_str(json).unwrap())
    }

    #[test]
    fn an_integer_is_a_number_without_a_fraction_or_a_string_of_one() {
        for (json, expected) in [
            ("37", 37.0),
            ("33.0", 33.0),
            ("1e2", 100.0),
            ("-1", -1.0),
            ("0", 0.0),
            (r#""37""#, 37.0),
            (r#""33.0""#, 33.0),
            (r#""\u0033""#, 3.0),
            ("1e999", f64::INFINITY),
        ] {
            assert_eq!(integer_in(json), Some(expected), "{json}");
        }
        let long = "9".repeat(900);
        assert_eq!(integer_in(&long), Some(f64::INFINITY));
        assert_eq!(integer_in(&format!("\"{long}\"")), Some(f64::INFINITY));
    }

    #[test]
    fn every_other_value_is_not_an_integer() {
        for json in [
            "1.5",
            "null",
            "true",
            "[1]",
            "{}",
            r#""""#,
            r#"" 3""#,
            r#""3 ""#,
            r#""03""#,
            r#""3.5""#,
            r#""+3""#,
            r#""0x3""#,
            r#""NaN""#,
            r#""inf""#,
            r#""Infinity""#,
            r#""null""#,
            r#""3\n""#,
            r#""\"3\"""#,
            r#""３""#,
        ] {
            assert_eq!(integer_in(json), None, "{json}");
        }
    }

    #[test]
    fn a_number_outside_the_range_is_rejected() {
        assert_eq!(in_range(2_147_483_647.0, 1..=i32::MAX), Some(i32::MAX));
        for number in [0.0, -0.0, -1.0, 2_147_483_648.0, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(in_range(number, 1..=i32::MAX), None, "{number}");
        }
    }
}
