//! Parsers of values.

use std::time::Duration;

use super::{Kind, MIN_DURATION};

impl Kind {
    pub(super) fn number(self, value: &str) -> Option<usize> {
        let Self::Number { min, max } = self else { return None };
        let number: u64 = value.parse().ok()?;
        if (min..=max).contains(&number) { number.try_into().ok() } else { None }
    }

    pub(super) fn bytes(self, value: &str) -> Option<u64> {
        let Self::Bytes { max_gib } = self else { return None };
        let (number, unit) = split_unit(value)?;
        let unit = match unit {
            "" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            _ => return None,
        };
        number.checked_mul(unit).filter(|bytes| *bytes <= max_gib << 30)
    }

    pub(super) fn duration(self, value: &str) -> Option<Duration> {
        let Self::Duration { max } = self else { return None };
        let (number, unit) = split_unit(value)?;
        let duration = match unit {
            "ms" => Duration::from_millis(number),
            "s" => Duration::from_secs(number),
            _ => return None,
        };
        (MIN_DURATION..=max).contains(&duration).then_some(duration)
    }

    pub(super) fn choice(self, value: &str) -> Option<usize> {
        let Self::Choice(words) = self else { return None };
        words.iter().position(|word| *word == value)
    }
}

fn split_unit(value: &str) -> Option<(u64, &str)> {
    let digits = value.bytes().take_while(u8::is_ascii_digit).count();
    Some((value.get(..digits)?.parse().ok()?, value.get(digits..)?))
}
