//! The spellings of NULL, numbers and flags.

use crate::csv::Field;
use crate::note::{Note, Notes};
use crate::table::ColumnType;

/// How the original files write NULL.
pub(super) const NULL: &[u8] = b"null";

/// Returns whether a field is NULL in the usual spellings: unquoted, and empty, `null` in any case or `\N`.
pub(super) fn is_null(field: &Field<'_>) -> bool {
    let usual = |first: &u8| !matches!(first, b'n' | b'N' | b'\\') && !first.is_ascii_whitespace();
    if field.quoted || field.raw.first().is_some_and(usual) {
        return false; // decided early
    }
    match field.raw.trim_ascii() {
        b"" | b"\\N" => true,
        text => text.eq_ignore_ascii_case(b"null"),
    }
}

/// Returns the digits of a number without what other programs write around them: blanks, a `$` before a price, `.00` after
/// a whole number. A negative stock becomes 0.
pub(super) fn number_of<'a>(kind: ColumnType, raw: &'a [u8], notes: &mut Notes) -> &'a [u8] {
    let mut digits = raw.trim_ascii();
    if digits.len() != raw.len() {
        *notes = notes.with(Note::Blanks);
    }
    if let (ColumnType::Price | ColumnType::OptionalPrice, [b'$', amount @ ..]) = (kind, digits) {
        *notes = notes.with(Note::DollarSign);
        digits = amount.trim_ascii_start();
    }
    if let Some(point) = digits.iter().position(|&byte| byte == b'.') {
        let (whole, fraction) = (&digits[..point], &digits[point + 1..]);
        if !fraction.is_empty() && fraction.iter().all(|&digit| digit == b'0') {
            *notes = notes.with(Note::Decimal);
            digits = whole;
        }
    }
    match (kind, digits) {
        (ColumnType::Count, [b'-', amount @ ..]) if parse_u31(amount).is_some() => {
            *notes = notes.with(Note::NegativeStock);
            b"0"
        }
        _ => digits,
    }
}

pub(super) fn flag(text: &[u8], notes: &mut Notes) -> Result<bool, &'static str> {
    let is = |spelling: &str| text.eq_ignore_ascii_case(spelling.as_bytes());
    let value = match text {
        b"0" => return Ok(false),
        b"1" => return Ok(true),
        _ if is("t") || is("true") => true,
        _ if is("f") || is("false") => false,
        _ => return Err("not 0 or 1, nor true or false"),
    };
    *notes = notes.with(Note::Boolean);
    Ok(value)
}

/// Parses a whole number from 0 to 2147483647: digits only, no sign.
pub(crate) fn parse_u31(digits: &[u8]) -> Option<i32> {
    if digits.is_empty() || digits.len() > 10 {
        return None;
    }
    let mut number = 0_i64;
    for &digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        number = number * 10 + i64::from(digit - b'0');
    }
    i32::try_from(number).ok()
}
