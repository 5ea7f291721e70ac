//! Environment variables: how each is described, parsed and documented.
//!
//! A [`Variable`] is one constant. The parser, the default, `--help` and docs/configuration.md all come from it.
//! Values come from a [`Lookup`], so a test need not change the environment of its process.

use std::fmt::{self, Write as _};
use std::time;

/// An environment variable.
#[derive(Debug, Clone, Copy)]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// Its name in the previous release, which is still read.
    pub former_name: Option<&'static str>,
    /// The kind of its value.
    pub kind: Kind,
    /// The behaviour without it.
    pub default: Default,
    /// The programs that read it.
    pub read_by: ReadBy,
    /// Its meaning, in one sentence without a full stop.
    pub summary: &'static str,
    /// The effects of values that are too low or too high, and further notes.
    pub details: &'static str,
}

/// The kind of a variable's value.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// A whole number from this min to this max.
    Number(u64, u64),
    /// A whole number and its unit, from 10 ms to this max in seconds.
    Duration(u64),
    /// A number of bytes, alone or with `KiB`, `MiB` or `GiB`, up to this max in GiB.
    Bytes(u64),
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Text of the form that this describes.
    Text(&'static str),
}

/// The behaviour of a program without a variable.
#[derive(Debug, Clone, Copy)]
pub enum Default {
    /// It uses this value.
    Value(&'static str),
    /// It does what this describes.
    Described(&'static str),
    /// It does not start, always or under the condition that this describes.
    Required(&'static str),
}

/// The programs that read a variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadBy {
    /// The host, every function and the loader, on the command line too.
    All,
    /// The host and every function, that of the loader included.
    Daemons,
    /// The host and the endpoints' functions.
    Service,
    /// The host.
    Host,
    /// The loader, on the command line too.
    Loader,
    /// The loader as a function.
    LoaderFunction,
}

/// Why the program cannot start. Its message never contains a value that may be a secret.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A required variable is not set: its name and the expected values.
    #[error("{0} is not set: expected {1}")]
    Missing(&'static str, String),
    /// A variable has an invalid value: its name, the value and the expected values.
    #[error("{0}={1}: expected {2}")]
    Invalid(&'static str, String, String),
}

/// A function that returns the value of a variable by its name, if it is set.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The shortest duration that a variable can hold, in milliseconds.
const MIN_DURATION_MS: u64 = 10;

/// The max width of the text of `--help`.
const HELP_COLUMNS: usize = 100;

/// Returns the value of a variable of this process.
pub fn environment(name: &str) -> Option<String> {
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}

impl Variable {
    /// Creates a variable, which needs a summary.
    pub const fn new(name: &'static str, kind: Kind, default: Default, read_by: ReadBy) -> Self {
        Self { name, former_name: None, kind, default, read_by, summary: "", details: "" }
    }

    /// Sets its meaning.
    pub const fn summary(self, summary: &'static str) -> Self {
        Self { summary, ..self }
    }

    /// Adds details.
    pub const fn details(self, details: &'static str) -> Self {
        Self { details, ..self }
    }

    /// Sets its name in the previous release.
    pub(crate) const fn formerly(self, name: &'static str) -> Self {
        Self { former_name: Some(name), ..self }
    }

    /// Returns its value or its default, if it has one. An empty value counts as set, except for the loader, whose
    /// deployment may set all variables.
    pub(crate) fn value(&self, lookup: Lookup<'_>) -> Option<String> {
        self.named_value(lookup).map(|(_, value)| value)
    }

    /// Returns its value and the name under which it is set.
    fn named_value(&self, lookup: Lookup<'_>) -> Option<(&'static str, String)> {
        let may_be_empty = !matches!(self.read_by, ReadBy::Loader | ReadBy::LoaderFunction);
        let is_set = |value: &String| may_be_empty || !value.is_empty();
        let mut names = [Some(self.name), self.former_name].into_iter().flatten();
        let set = names.find_map(|name| Some((name, lookup(name).filter(is_set)?)));
        let Default::Value(default) = self.default else { return set };
        set.or_else(|| Some((self.name, default.to_owned())))
    }

    /// Returns whether it is set under its former name only.
    pub(crate) fn has_former_name(&self, lookup: Lookup<'_>) -> bool {
        self.named_value(lookup).is_some_and(|(name, _)| name != self.name)
    }

    /// Returns the value of a required variable, which may not be empty.
    pub(crate) fn required(&self, lookup: Lookup<'_>) -> Result<String, Error> {
        self.value(lookup).filter(|value| !value.is_empty()).ok_or_else(|| self.missing())
    }

    /// Parses its value or its default, if it has one.
    ///
    /// # Errors
    /// [`Error::Invalid`] if `parse` returns `None`.
    pub fn optional<T>(
        &self,
        lookup: Lookup<'_>,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        let Some((name, value)) = self.named_value(lookup) else { return Ok(None) };
        match parse(&value) {
            Some(parsed) => Ok(Some(parsed)),
            None => Err(Error::Invalid(name, value, self.kind.to_string())),
        }
    }

    /// Parses its value or its default.
    ///
    /// # Errors
    /// [`Error::Missing`] if it has neither, [`Error::Invalid`] if `parse` returns `None`. The methods below fail in
    /// the same cases.
    pub fn parsed<T>(&self, lookup: Lookup<'_>, parse: impl FnOnce(&str) -> Option<T>) -> Result<T, Error> {
        self.optional(lookup, parse)?.ok_or_else(|| self.missing())
    }

    /// Parses a [`Kind::Number`] or [`Kind::Bytes`].
    pub fn number<T: TryFrom<u64>>(&self, lookup: Lookup<'_>) -> Result<T, Error> {
        self.parsed(lookup, |value| self.kind.number(value))
    }

    /// Parses a [`Kind::Duration`].
    pub(crate) fn duration(&self, lookup: Lookup<'_>) -> Result<time::Duration, Error> {
        self.number(lookup).map(time::Duration::from_millis)
    }

    /// Returns the word of a [`Kind::Choice`].
    pub(crate) fn word(&self, lookup: Lookup<'_>) -> Result<String, Error> {
        self.parsed(lookup, |value| match self.kind {
            Kind::Choice(words) if words.contains(&value) => Some(value.to_owned()),
            _ => None,
        })
    }

    fn missing(&self) -> Error {
        Error::Missing(self.name, self.kind.to_string())
    }

    /// Returns the error of a value that does not go with those of other variables, or that must not be shown.
    pub fn invalid(&self, value: impl Into<String>, expected: impl Into<String>) -> Error {
        Error::Invalid(self.name, value.into(), expected.into())
    }
}

impl Kind {
    /// Parses a number of this kind. A duration is in milliseconds.
    pub fn number<T: TryFrom<u64>>(self, value: &str) -> Option<T> {
        let (number, min, max) = match self {
            Self::Number(min, max) => (value.parse().ok()?, min, max),
            Self::Duration(max) => (quantity(value, &[("ms", 1), ("s", 1000)])?, MIN_DURATION_MS, max * 1000),
            Self::Bytes(max) => {
                let units = [("", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];
                (quantity(value, &units)?, 0, max << 30)
            }
            Self::Choice(_) | Self::Text(_) => return None,
        };
        if (min..=max).contains(&number) { number.try_into().ok() } else { None }
    }

    /// Returns the bounds or the words, for the documentation; none for text, which the summary describes.
    pub fn bounds(self) -> Option<String> {
        match self {
            Self::Number(min, max) => Some(format!("{min} to {max}")),
            Self::Duration(max) => Some(format!("{MIN_DURATION_MS}ms to {max}s")),
            Self::Bytes(max) => Some(format!("up to {max}GiB")),
            Self::Choice(words) => Some(words.join(", ")),
            Self::Text(_) => None,
        }
    }
}

/// Parses a whole number and one of these units.
fn quantity(value: &str, units: &[(&str, u64)]) -> Option<u64> {
    let (number, unit) = value.split_at(value.bytes().take_while(u8::is_ascii_digit).count());
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

/// Writes the expected values, for an error.
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bounds = self.bounds().unwrap_or_default();
        match self {
            Self::Number(..) => write!(f, "a whole number from {bounds}"),
            Self::Duration(_) => {
                write!(f, "a whole number with its unit, such as 500ms or 2s, from {bounds}")
            }
            Self::Bytes(_) => write!(f, "a number of bytes, such as 268435456 or 256MiB, {bounds}"),
            Self::Choice(words) => {
                let (last, others) = words.split_last().unwrap_or((&"", &[]));
                write!(f, "{} or {last}", others.join(", "))
            }
            Self::Text(form) => f.write_str(form),
        }
    }
}

/// Returns the text of `--help` for these variables.
pub fn help(variables: &[&Variable]) -> String {
    let mut text =
        String::from("Environment variables (a duration is a whole number with its unit: 1500ms, 2s):");
    for variable in variables {
        let mut conditions = vec![match variable.default {
            Default::Value(text) | Default::Described(text) => format!("default: {text}"),
            Default::Required(text) => text.to_owned(),
        }];
        conditions.extend(variable.kind.bounds());
        conditions.extend((variable.read_by == ReadBy::Host).then(|| "host only".to_owned()));
        conditions.extend(variable.former_name.map(|name| format!("formerly {name}")));
        let _ = write!(text, "\n\n  {} [{}]", variable.name, conditions.join("; "));

        let mut column = HELP_COLUMNS; // the first word starts a line
        for word in format!("{}. {}", variable.summary, variable.details).split_whitespace() {
            column += 1 + word.len();
            if column > HELP_COLUMNS {
                text.push_str("\n     ");
                column = 6 + word.len();
            }
            let _ = write!(text, " {word}");
        }
    }
    text + "\n"
}
