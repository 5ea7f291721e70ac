//! `POST /cart`: adds a sku to the caller's cart.

use std::borrow::Cow;
use std::collections::HashMap;

use serde_json::value::RawValue;
use shared::cart::Addition;
use shared::endpoint::{ALLOW_CART, Method};
use shared::{App, Endpoint, Problem, Request, Response};

/// The endpoint.
pub const ENDPOINT: Endpoint = Endpoint {
    name: "add-to-cart",
    method: Method::Post,
    path: "/cart",
    query: &[],
    allow: ALLOW_CART,
    handler: |app, request| Box::pin(add_to_cart(app, request)),
};

const NO_JSON: Problem = Problem::bad_request("The body must be JSON such as {\"sku_id\":1,\"count\":1}.");
const NO_SKU_ID: Problem =
    Problem::bad_request("sku_id is a whole number, or a string of one such as \"1\".");
const NO_COUNT: Problem =
    Problem::bad_request("count is a whole number from 1 to 99, or a string of one such as \"1\".");
const UNKNOWN_SKU: Problem = Problem::unprocessable("There is no sku with this id.");

async fn add_to_cart(app: &App, request: &Request) -> Result<Response, Problem> {
    let (sku_id, count) = sku_id_and_count(request)?;
    let (owner, cookie) = app.carts.owner_or_new(request).await?;
    match request.timing.database(app.carts.add(&owner, sku_id, count)).await? {
        Addition::Added => Ok(Response::created().with_cookie(cookie)),
        Addition::UnknownSku => Err(UNKNOWN_SKU),
        Addition::TooManyLines => Err(Problem::unprocessable("A cart holds at most 1000 different skus.")),
        Addition::TooManyOfSku => Err(Problem::unprocessable("A cart holds at most 9999 of a sku.")),
    }
}

/// Returns the members `sku_id` and `count` of the body. Ignores all others.
fn sku_id_and_count(request: &Request) -> Result<(i32, i32), Problem> {
    if !request.has_json() {
        return Err(Problem::unsupported_media_type("The body must be application/json."));
    }
    // A map, because serde also reads a struct from an array. Raw values, because a number may be too large for any
    // type.
    let members: HashMap<String, &RawValue> = serde_json::from_slice(&request.body).map_err(|_| NO_JSON)?;
    let sku_id = members.get("sku_id").and_then(|sku_id| integer(sku_id)).ok_or(NO_SKU_ID)?;
    let count = match members.get("count") {
        Some(count) if count.get() != "null" => integer(count).ok_or(NO_COUNT)?,
        _ => 1.0,
    };
    let count = in_range(count, 1..=99).ok_or(NO_COUNT)?;
    Ok((in_range(sku_id, 1..=i32::MAX).ok_or(UNKNOWN_SKU)?, count))
}

/// Returns the integer in a JSON number, or in a string of one: front ends send the keys of `skus`, which are strings.
/// As in JavaScript, 33.0 is an integer, and digits beyond the precision of a double are ignored. A number above the
/// range of a double is infinite.
fn integer(value: &RawValue) -> Option<f64> {
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
fn in_range(number: f64, range: std::ops::RangeInclusive<i32>) -> Option<i32> {
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
