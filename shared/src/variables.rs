//! Environment variables: how each is described, parsed and documented.
//!
//! A [`Variable`] is one constant. The parser, the default, `--help` and docs/configuration.md all come from it.
//! Values come from a lookup function, so a test need not change the environment of its process.

mod document;
mod parse;

use std::cell::RefCell;
use std::fmt;
use std::time::Duration;

pub use document::{help, markdown};

/// An environment variable.
#[derive(Debug)]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// Its name in the previous release, which is still read.
    pub former_name: Option<&'static str>,
    /// What it holds.
    pub kind: Kind,
    /// What a program does without it.
    pub default: Default,
    /// The programs that read it.
    pub read_by: ReadBy,
    /// What it sets, in one sentence without a full stop.
    pub summary: &'static str,
    /// The effect of values that are too low or too high, and what else there is to know.
    pub details: &'static str,
}

/// What a variable holds.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// A whole number from `min` to `max`.
    Number {
        /// The smallest.
        min: u64,
        /// The largest.
        max: u64,
    },
    /// A whole number and its unit, from [`MIN_DURATION`] to `max`.
    Duration {
        /// The longest.
        max: Duration,
    },
    /// A number of bytes, alone or with `KiB`, `MiB` or `GiB`.
    Bytes {
        /// The smallest number of bytes.
        min: u64,
        /// The largest, in GiB.
        max_gib: u64,
    },
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Text of the form that this describes.
    Text(&'static str),
}

/// What a program does without a variable.
#[derive(Debug, Clone, Copy)]
pub enum Default {
    /// It uses this value.
    Value(&'static str),
    /// It does what this describes.
    Described(&'static str),
    /// It does not start.
    Required,
    /// It does not start under this condition.
    RequiredWith(&'static str),
}

/// The programs that read a variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadBy {
    /// The host, every function and the loader.
    All,
    /// The host and the endpoints' functions.
    Service,
    /// The host.
    Host,
    /// The loader as a function.
    LoaderFunction,
}

/// The shortest duration that a variable can hold.
pub const MIN_DURATION: Duration = Duration::from_millis(10);

/// Why the program cannot start. Its message never contains a value that may be a secret.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A required variable is not set.
    #[error("{variable} is not set: expected {expected}")]
    Missing {
        /// The variable's name.
        variable: &'static str,
        /// What it should hold.
        expected: String,
    },
    /// A variable has an invalid value.
    #[error("{variable}={value}: expected {expected}")]
    Invalid {
        /// The variable's name.
        variable: &'static str,
        /// Its value.
        value: String,
        /// What it should hold.
        expected: String,
    },
}

/// Reads variables through a lookup function and notes which still have their former names.
pub struct Reader<'a> {
    lookup: &'a dyn Fn(&str) -> Option<String>,
    former_names: RefCell<Vec<&'static Variable>>,
}

/// Returns the value of a variable of this process.
#[must_use]
pub fn environment(name: &str) -> Option<String> {
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}

impl<'a> Reader<'a> {
    /// Creates a reader of the variables that `lookup` returns by name.
    #[must_use]
    pub fn new(lookup: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self { lookup, former_names: RefCell::default() }
    }

    /// Returns the variables that were read under their former names.
    #[must_use]
    pub fn into_former_names(self) -> Vec<&'static Variable> {
        self.former_names.into_inner()
    }

    /// Returns a variable's value, if it is set. An empty value counts as set, but not for a required variable, nor
    /// for the loader function, whose deployment may set all of them.
    #[must_use]
    pub fn value(&self, variable: &'static Variable) -> Option<String> {
        let may_be_empty = !matches!(variable.default, Default::Required | Default::RequiredWith(_))
            && variable.read_by != ReadBy::LoaderFunction;
        let is_set = |value: &String| may_be_empty || !value.is_empty();
        if let Some(value) = (self.lookup)(variable.name).filter(is_set) {
            return Some(value);
        }
        let value = (self.lookup)(variable.former_name?).filter(is_set)?;
        self.former_names.borrow_mut().push(variable);
        Some(value)
    }

    /// Returns the value of a required variable.
    ///
    /// # Errors
    /// [`Error::Missing`] if it is not set.
    pub fn required(&self, variable: &'static Variable) -> Result<String, Error> {
        let missing = || Error::Missing { variable: variable.name, expected: variable.kind.to_string() };
        self.value(variable).ok_or_else(missing)
    }

    /// Parses a variable's value, or its default.
    ///
    /// # Errors
    /// [`Error::Missing`] if it has no value and no default, [`Error::Invalid`] if `parse` returns `None`.
    pub fn parsed<T>(
        &self,
        variable: &'static Variable,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, Error> {
        let expected = || variable.kind.to_string();
        let value = match (self.value(variable), variable.default) {
            (Some(value), _) => value,
            (None, Default::Value(value)) => value.to_owned(),
            (None, _) => return Err(Error::Missing { variable: variable.name, expected: expected() }),
        };
        match parse(&value) {
            Some(parsed) => Ok(parsed),
            None => Err(Error::Invalid { variable: variable.name, value, expected: expected() }),
        }
    }

    /// Parses a variable's value if it is set.
    ///
    /// # Errors
    /// [`Error::Invalid`] if `parse` returns `None`.
    pub fn optional<T>(
        &self,
        variable: &'static Variable,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        if self.value(variable).is_none() { Ok(None) } else { self.parsed(variable, parse).map(Some) }
    }

    /// Parses a [`Kind::Number`].
    ///
    /// # Errors
    /// As [`Self::parsed`]. The other parsers fail in the same cases.
    pub fn number(&self, variable: &'static Variable) -> Result<usize, Error> {
        self.parsed(variable, |value| variable.kind.number(value))
    }

    /// Parses a [`Kind::Number`] if it is set.
    pub fn optional_number(&self, variable: &'static Variable) -> Result<Option<usize>, Error> {
        self.optional(variable, |value| variable.kind.number(value))
    }

    /// Parses a [`Kind::Bytes`].
    pub fn bytes(&self, variable: &'static Variable) -> Result<u64, Error> {
        self.parsed(variable, |value| variable.kind.bytes(value))
    }

    /// Parses a [`Kind::Duration`].
    pub fn duration(&self, variable: &'static Variable) -> Result<Duration, Error> {
        self.parsed(variable, |value| variable.kind.duration(value))
    }

    /// Parses a [`Kind::Choice`] into the position of its word.
    pub fn choice(&self, variable: &'static Variable) -> Result<usize, Error> {
        self.parsed(variable, |value| variable.kind.choice(value))
    }

    /// Parses a [`Kind::Choice`] of `on` and `off`.
    pub fn switch(&self, variable: &'static Variable) -> Result<bool, Error> {
        self.choice(variable).map(|choice| choice == 0)
    }
}

/// A choice of `on` and `off`, for [`Reader::switch`].
pub const ON_OR_OFF: Kind = Kind::Choice(&["on", "off"]);

/// What an error says it expected.
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number { min, max } => write!(f, "a whole number from {min} to {max}"),
            Self::Duration { max } => write!(
                f,
                "a whole number with its unit, such as 500ms or 2s, from {}ms to {}s",
                MIN_DURATION.as_millis(),
                max.as_secs()
            ),
            Self::Bytes { min, max_gib } => {
                let from = if *min > 0 { format!(" from {min}") } else { String::new() };
                write!(f, "a number of bytes, such as 268435456 or 256MiB,{from} up to {max_gib}GiB")
            }
            Self::Choice(words) => {
                let (last, others) = words.split_last().unwrap_or((&"", &[]));
                write!(f, "{} or {last}", others.join(", "))
            }
            Self::Text(form) => f.write_str(form),
        }
    }
}
