//! The trace that a request belongs to: the header `traceparent` of W3C Trace Context, for the log and for spans.

use http::{HeaderMap, HeaderName, HeaderValue};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The valid `traceparent` of a request: `00-<trace id>-<span id>-<flags>`, all lower-case hex.
#[derive(Debug, Clone)]
pub struct TraceParent(HeaderValue);

impl TraceParent {
    /// Returns the header if it occurs once and is valid. Other headers are ignored, also those of later versions.
    pub(crate) fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(TRACEPARENT).iter();
        let value = values.next()?;
        (values.next().is_none() && is_valid(value.as_bytes())).then(|| Self(value.clone()))
    }

    /// Returns the id of the trace: 32 hex digits.
    #[must_use]
    pub fn trace_id(&self) -> &str {
        self.part(3..35)
    }

    /// Returns the id of the caller's span: 16 hex digits.
    #[must_use]
    pub fn span_id(&self) -> &str {
        self.part(36..52)
    }

    /// Returns whether the caller records the trace.
    #[must_use]
    pub fn is_sampled(&self) -> bool {
        u8::from_str_radix(self.part(53..55), 16).is_ok_and(|flags| flags & 1 == 1)
    }

    fn part(&self, range: std::ops::Range<usize>) -> &str {
        self.0.to_str().ok().and_then(|text| text.get(range)).unwrap_or_default()
    }
}

/// Returns whether this is a header of version 00 whose ids are not zero.
fn is_valid(value: &[u8]) -> bool {
    let is_hex = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let is_id = |part: &[u8]| part.iter().all(is_hex) && part.iter().any(|byte| *byte != b'0');
    value.len() == 55
        && value.starts_with(b"00-")
        && is_id(&value[3..35])
        && value[35] == b'-'
        && is_id(&value[36..52])
        && value[52] == b'-'
        && value[53..].iter().all(is_hex)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    fn parse(values: &[&str]) -> Option<TraceParent> {
        let values = values.iter().map(|value| (TRACEPARENT, HeaderValue::from_str(value).unwrap()));
        TraceParent::from_headers(&values.collect())
    }

    #[test]
    fn a_valid_header_is_split_into_its_parts() {
        for (flags, is_sampled) in [("01", true), ("00", false), ("03", true), ("fe", false)] {
            let parent = parse(&[&format!("00-{TRACE}-{SPAN}-{flags}")]).unwrap();
            assert_eq!((parent.trace_id(), parent.span_id()), (TRACE, SPAN));
            assert_eq!(parent.is_sampled(), is_sampled);
        }
    }

    #[test]
    fn an_invalid_header_is_ignored() {
        let zeros = |n: usize| "0".repeat(n);
        for invalid in [
            "",
            &format!("01-{TRACE}-{SPAN}-01"),
            &format!("00-{TRACE}-{SPAN}-1"),
            &format!("00-{TRACE}-{SPAN}-011"),
            &format!("00-{TRACE}-{SPAN}-0g"),
            &format!("00-{TRACE}-{SPAN}-01-extra"),
            &format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
            &format!("00-{}-{SPAN}-01", zeros(32)),
            &format!("00-{TRACE}-{}-01", zeros(16)),
            &format!("00_{TRACE}_{SPAN}_01"),
            &format!("00-{TRACE}-{SPAN}\u{20}01"),
            &"é".repeat(27),
        ] {
            assert!(parse(&[invalid]).is_none(), "{invalid}");
        }
        let valid = format!("00-{TRACE}-{SPAN}-01");
        assert!(parse(&[&valid, &valid]).is_none(), "repeated");
        assert!(parse(&[]).is_none());
    }
}
