//! Texts of other people on a terminal: keys of objects, parts of files, messages of servers.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Returns a text in which each control character except a line feed is escaped, so that it cannot command a terminal or
/// reorder what it shows.
pub fn shown(text: &str) -> Cow<'_, str> {
    escape(text, |character| character != '\n')
}

/// Returns a text as one line, escaped as in [`shown`].
pub fn shown_in_line(text: &str) -> Cow<'_, str> {
    escape(text, |_| true)
}

fn escape(text: &str, may_escape: impl Fn(char) -> bool) -> Cow<'_, str> {
    let commands = |character: char| {
        let reorders = matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        (character.is_control() || reorders) && may_escape(character)
    };
    if !text.contains(commands) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if commands(character) {
            let _ = write!(escaped, "{}", character.escape_default()); // writing to a String cannot fail
        } else {
            escaped.push(character);
        }
    }
    Cow::Owned(escaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped_and_other_characters_stay() {
        let plain = "caf\u{e9} \u{1f9e2} \"a\\b\" 50%\n";
        assert_eq!(shown(plain), plain);
        assert_eq!(
            shown("a\u{1b}[31m\r\t\0\u{7f}\u{9b}2J\u{202e}\nb"),
            "a\\u{1b}[31m\\r\\t\\u{0}\\u{7f}\\u{9b}2J\\u{202e}\nb"
        );
        assert_eq!(shown_in_line("a\nb\u{1b}"), "a\\nb\\u{1b}");
    }
}
