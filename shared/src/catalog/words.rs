//! The words of products' names: as the loader stores them, and as a search looks them up.

/// The min number of characters of a word in the catalog. Shorter ones are left out.
pub const MIN_WORD: usize = 3;

/// The max number of characters of a word in the catalog. Of longer ones, the first characters are kept.
pub const MAX_WORD: usize = 64;

/// Returns the words of a text in lower case: its runs of letters and digits, of any length.
///
/// Each character has its lower case alone, whatever follows it, and a final sigma (ς) is a sigma. So the words of a prefix are
/// prefixes of the text's words.
pub fn words(text: &str) -> impl Iterator<Item = String> {
    let words = text.split(|character: char| !character.is_alphanumeric()).filter(|word| !word.is_empty());
    words.map(|word| match word.is_ascii() {
        true => word.to_ascii_lowercase(),
        false => {
            let lower = word.chars().flat_map(char::to_lowercase);
            lower.map(|character| if character == 'ς' { 'σ' } else { character }).collect()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_words(text: &str, expected: &[&str]) {
        assert_eq!(words(text).collect::<Vec<_>>(), expected, "{text:?}");
    }

    #[test]
    fn words_are_runs_of_letters_and_digits_in_lower_case() {
        assert_words("Half-Past  Harbour T-Shirt, 501", &["half", "past", "harbour", "t", "shirt", "501"]);
        assert_words("O'Hara's \"Plain\"\tCap", &["o", "hara", "s", "plain", "cap"]);
        assert_words("snake_case", &["snake", "case"]);
        assert_words("twice Twice", &["twice", "twice"]);
        assert_words("", &[]);
        assert_words(" -- 🧦", &[]);
    }

    #[test]
    fn letters_of_all_scripts_have_their_lower_case() {
        assert_words("Größe ŁÓDŹ ÉTÉ", &["größe", "łódź", "été"]);
        assert_words("Сапоги 靴下 ٣٤", &["сапоги", "靴下", "٣٤"]);
    }

    /// In a whole text, the last letter would become a ς.
    #[test]
    fn the_word_of_a_prefix_is_a_prefix_of_the_word() {
        assert_words("ΟΔΟΣ οδος οδοσ", &["οδοσ"; 3]);
        for text in ["ΟΔΟΣΑ", "οδος", "İSTANBUL", "STRASSE"] {
            let whole = words(text).next().unwrap();
            for (end, _) in text.char_indices().skip(1) {
                let prefix = words(&text[..end]).next().unwrap();
                assert!(whole.starts_with(&prefix), "{prefix} {whole}");
            }
        }
    }
}
