#![doc = include_str!("config.md")]

use shared::config::{self, Log};
use shared::database::Address;

use super::LoadOptions;
use crate::load::{DEFAULT_WORKERS, RejectLimit, RejectsPlace, WHOLE_FILES};
use crate::progress::Progress;
use crate::s3::{S3, Url};

/// What this module's documentation says of each variable, for `--help`.
pub const VARIABLES: &str = include_str!("config.md");

/// What the keys of datasets begin with, if nothing else is said.
pub const INCOMING_PREFIX: &str = "incoming/";

/// How many bytes of a file are committed at a time, if nothing else is said.
const COMMIT_BYTES: u64 = 256 << 20;

/// Everything that can be set for the function.
#[derive(Clone, Debug)]
pub struct Config {
    /// `DATABASE_URL` and its like.
    pub database: Address,
    /// `REJECTS_URL`.
    pub rejects: Url,
    /// `INCOMING_PREFIX`.
    pub incoming: String,
    /// `MAX_REJECTS`.
    pub limit: RejectLimit,
    /// `COMMIT_BYTES`.
    pub commit_bytes: u64,
    /// `RANGE_BYTES`.
    pub range_bytes: u64,
    /// `WORKERS`.
    pub workers: usize,
    /// `LOG`.
    pub log: Log,
}

/// What keeps the function from starting.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A variable that the other programs read too.
    #[error(transparent)]
    Shared(#[from] config::Error),
    /// One of its own is not set.
    #[error("{variable} is not set: expected {expected}")]
    Missing {
        /// The variable's name.
        variable: &'static str,
        /// What it should hold.
        expected: &'static str,
    },
    /// One of its own holds what it may not.
    #[error("{variable}={value}: expected {expected}")]
    Wrong {
        /// The variable's name.
        variable: &'static str,
        /// What it holds.
        value: String,
        /// What it should hold.
        expected: &'static str,
    },
}

impl Config {
    /// Reads the environment of this process.
    ///
    /// # Errors
    /// The first variable that is wrong or missing.
    pub fn from_environment() -> Result<Self, ConfigError> {
        Self::from_lookup(&|name| std::env::var(name).ok())
    }

    /// Reads variables through `lookup`, which answers with the value of the variable it is given the name of.
    ///
    /// # Errors
    /// The first variable that is wrong or missing.
    pub fn from_lookup(lookup: &dyn Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let own = Own { lookup };
        let database = config::address_from_lookup(lookup)?;
        let place = "s3://bucket/prefix/, of which no event comes here";
        let rejects = own.parsed("REJECTS_URL", place, |text| text.parse::<Url>().ok())?;
        let rejects = rejects.ok_or(ConfigError::Missing { variable: "REJECTS_URL", expected: place })?;
        let prefix = |text: &str| (text.ends_with('/') && !text.starts_with('/')).then(|| text.to_owned());
        let incoming = own.parsed("INCOMING_PREFIX", "a prefix of keys, a slash at its end", prefix)?;
        let incoming = incoming.unwrap_or_else(|| INCOMING_PREFIX.to_owned());
        if rejects.join("").key.starts_with(&incoming) {
            let expected = "a place that is not under INCOMING_PREFIX";
            return Err(ConfigError::Wrong { variable: "REJECTS_URL", value: rejects.to_string(), expected });
        }
        let limit =
            own.parsed("MAX_REJECTS", "a number of rows, or a percentage", |text| text.parse().ok())?;
        let bytes = |text: &str| text.parse().ok().filter(|bytes| *bytes > 0);
        let workers = |text: &str| text.parse().ok().filter(|workers| (1..=64).contains(workers));
        Ok(Self {
            database,
            rejects,
            incoming,
            limit: limit.unwrap_or_default(),
            commit_bytes: own.parsed("COMMIT_BYTES", "a number of bytes", bytes)?.unwrap_or(COMMIT_BYTES),
            range_bytes: own.parsed("RANGE_BYTES", "a number of bytes", bytes)?.unwrap_or(WHOLE_FILES),
            workers: own
                .parsed("WORKERS", "a number from 1 to 64", workers)?
                .unwrap_or(DEFAULT_WORKERS.into()),
            log: Log::from_lookup(lookup)?,
        })
    }

    pub(super) fn load_options(&self, s3: &S3) -> LoadOptions {
        LoadOptions {
            limit: self.limit,
            workers: self.workers,
            commit_bytes: self.commit_bytes,
            range_bytes: self.range_bytes,
            ..LoadOptions::new(RejectsPlace::S3(s3.clone(), self.rejects.clone()), Progress::Log)
        }
    }
}

/// Reads the variables of this program alone.
struct Own<'a> {
    lookup: &'a dyn Fn(&str) -> Option<String>,
}

impl Own<'_> {
    fn parsed<T>(
        &self,
        variable: &'static str,
        expected: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, ConfigError> {
        let Some(value) = (self.lookup)(variable).filter(|value| !value.is_empty()) else { return Ok(None) };
        match parse(&value) {
            Some(parsed) => Ok(Some(parsed)),
            None => Err(ConfigError::Wrong { variable, value, expected }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(variables: &[(&str, &str)]) -> Result<Config, String> {
        let known = [("DATABASE_URL", "postgres://etl@localhost/atelier"), ("REJECTS_URL", "s3://rejects/")];
        let lookup = |name: &str| {
            let all = variables.iter().chain(&known);
            all.into_iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        Config::from_lookup(&lookup).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_not_set_has_its_default() {
        let config = config(&[]).unwrap();
        assert_eq!((config.incoming.as_str(), config.commit_bytes), (INCOMING_PREFIX, 268_435_456));
        assert_eq!((config.workers, config.range_bytes), (2, WHOLE_FILES));
    }

    #[test]
    fn what_is_wrong_is_named_with_what_was_expected() {
        for (variable, value, expected) in [
            ("REJECTS_URL", "rejects/", "s3://bucket/prefix/"),
            ("INCOMING_PREFIX", "incoming", "a slash at its end"),
            ("COMMIT_BYTES", "0", "a number of bytes"),
            ("WORKERS", "65", "from 1 to 64"),
            ("MAX_REJECTS", "many", "percentage"),
            ("LOG", "loud", "LOG"),
        ] {
            let error = config(&[(variable, value)]).unwrap_err();
            assert!(error.contains(variable) && error.contains(expected), "{error}");
        }
        assert!(config(&[("REJECTS_URL", "")]).unwrap_err().contains("REJECTS_URL is not set"));
    }

    #[test]
    fn rejects_are_not_written_where_they_would_be_taken_for_a_dataset() {
        let error = config(&[("REJECTS_URL", "s3://datasets/incoming/rejects/")]).unwrap_err();
        assert!(error.contains("not under INCOMING_PREFIX"), "{error}");
    }
}
