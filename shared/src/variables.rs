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
        /// The largest, in GiB.
        max_gib: u64,
    },
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
    /// It does not start.
    Required,
    /// It does not start under this condition.
    RequiredWith(&'static str),
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
    /// The loader as a function.
    LoaderFunction,
}

/// The max of most timeouts.
pub const MINUTE: Duration = Duration::from_secs(60);

/// The max of durations for which a connection may be idle or drain.
pub const TEN_MINUTES: Duration = Duration::from_secs(600);

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
        /// The expected values.
        expected: String,
    },
    /// A variable has an invalid value.
    #[error("{variable}={value}: expected {expected}")]
    Invalid {
        /// The variable's name.
        variable: &'static str,
        /// Its value.
        value: String,
        /// The expected values.
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

    /// Returns a variable's value, if it is set. An empty value counts as set, except for the loader function, whose
    /// deployment may set all of them.
    #[must_use]
    pub fn value(&self, variable: &'static Variable) -> Option<String> {
        self.named_value(variable).map(|(_, value)| value)
    }

    /// Returns a variable's value and the name under which it is set.
    fn named_value(&self, variable: &'static Variable) -> Option<(&'static str, String)> {
        let is_set = |value: &String| variable.read_by != ReadBy::LoaderFunction || !value.is_empty();
        if let Some(value) = (self.lookup)(variable.name).filter(is_set) {
            return Some((variable.name, value));
        }
        let former_name = variable.former_name?;
        let value = (self.lookup)(former_name).filter(is_set)?;
        self.former_names.borrow_mut().push(variable);
        Some((former_name, value))
    }

    /// Returns the value of a required variable, which may not be empty.
    ///
    /// # Errors
    /// [`Error::Missing`] if it is not set.
    pub fn required(&self, variable: &'static Variable) -> Result<String, Error> {
        self.value(variable).filter(|value| !value.is_empty()).ok_or_else(|| variable.missing())
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
        let default = match variable.default {
            Default::Value(value) => Some((variable.name, value.to_owned())),
            _ => None,
        };
        let (name, value) = self.named_value(variable).or(default).ok_or_else(|| variable.missing())?;
        variable.parse(name, value, parse)
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
        let value = self.named_value(variable);
        value.map(|(name, value)| variable.parse(name, value, parse)).transpose()
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

impl Variable {
    fn missing(&self) -> Error {
        Error::Missing { variable: self.name, expected: self.kind.to_string() }
    }

    /// Parses a value, which was set under `name`.
    fn parse<T>(
        &self,
        name: &'static str,
        value: String,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, Error> {
        match parse(&value) {
            Some(parsed) => Ok(parsed),
            None => Err(Error::Invalid { variable: name, value, expected: self.kind.to_string() }),
        }
    }
}

/// A choice of `on` and `off`, for [`Reader::switch`].
pub const ON_OR_OFF: Kind = Kind::Choice(&["on", "off"]);

/// Writes the expected values, for an error.
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
            Self::Bytes { max_gib } => {
                write!(f, "a number of bytes, such as 268435456 or 256MiB, up to {max_gib}GiB")
            }
            Self::Choice(words) => {
                let (last, others) = words.split_last().unwrap_or((&"", &[]));
                write!(f, "{} or {last}", others.join(", "))
            }
            Self::Text(form) => f.write_str(form),
        }
    }
}
