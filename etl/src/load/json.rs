//! A JSON writer for documents: compact, UTF-8, with the escapes of serde_json.

use super::LoadError;

/// Appends a text as a JSON string.
pub(super) fn string(out: &mut Vec<u8>, text: &[u8]) -> Result<(), LoadError> {
    // Most texts need no escape. A check without branches compiles to SIMD.
    let is_special = |&byte: &u8| (byte < 0x20) | (byte == b'"') | (byte == b'\\');
    if text.iter().fold(false, |any, byte| any | is_special(byte)) {
        let invalid = |_| LoadError::Bug("a text in the database is not UTF-8".to_owned());
        let text = std::str::from_utf8(text).map_err(invalid)?;
        let failed = |_| LoadError::Bug("a text could not be written as JSON".to_owned());
        return serde_json::to_writer(out, text).map_err(failed);
    }
    out.push(b'"');
    out.extend_from_slice(text);
    out.push(b'"');
    Ok(())
}

/// Appends a text as a JSON string, or `null`.
pub(super) fn optional_string(out: &mut Vec<u8>, text: Option<&[u8]>) -> Result<(), LoadError> {
    match text {
        Some(text) => string(out, text),
        None => {
            out.extend_from_slice(b"null");
            Ok(())
        }
    }
}

/// Appends a whole number.
pub(super) fn integer(out: &mut Vec<u8>, number: i32) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Appends a price, which the HTTP API returns as a string, or `null`.
pub(super) fn price(out: &mut Vec<u8>, price: Option<i32>) {
    match price {
        Some(price) => {
            out.push(b'"');
            integer(out, price);
            out.push(b'"');
        }
        None => out.extend_from_slice(b"null"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_escaped_like_serde_json() {
        for text in ["", "plain", "a \"b\" \\ c", "tab\tline\u{1}", "äöü 日本 😀", "\u{7f}/&<>"] {
            let mut written = Vec::new();
            string(&mut written, text.as_bytes()).unwrap();
            assert_eq!(written, serde_json::to_vec(text).unwrap());
        }
    }
}
