//! The configuration of the loader function.

use shared::config::{LOG_VARIABLES, log_level};
use shared::database::{self, ConnectOptions};
use shared::log::LogLevel;
use shared::variables::Default::{Required, Value};
use shared::variables::Kind::{Number, Text};
use shared::variables::ReadBy::{All, Daemons, LoaderFunction};
use shared::variables::{Error, Lookup, Variable};

use super::LoadOptions;
use crate::load::{self, DATABASE_DISK_BYTES, OutputTarget, RejectLimit};
use crate::progress::Progress;
use crate::s3::{S3, S3Url};

/// The default prefix of dataset keys.
pub const INCOMING_PREFIX: &str = "incoming/";

/// The configuration of the loader function.
#[derive(Clone, Debug)]
pub struct Config {
    /// `DATABASE_URL`, `DATABASE_CA_FILE` and `DATABASE_AUTH`.
    pub database: ConnectOptions,
    /// `REJECTS_URL`.
    pub rejects: S3Url,
    /// `INCOMING_PREFIX`.
    pub incoming: String,
    /// `MAX_REJECTS`.
    pub limit: RejectLimit,
    /// `WORKERS`.
    pub workers: usize,
    /// `DATABASE_DISK_BYTES`.
    pub disk_bytes: Option<u64>,
    /// `LOG`.
    pub log_level: LogLevel,
}

static REJECTS_URL: Variable = Variable::new(
    "REJECTS_URL",
    Text("s3://bucket/prefix/, outside INCOMING_PREFIX"),
    Required("required"),
    LoaderFunction,
)
.summary("where rejected rows are written: s3://bucket/prefix/, a prefix that sends no events here");

static INCOMING: Variable = Variable::new(
    "INCOMING_PREFIX",
    Text("a prefix of keys, a slash at its end"),
    Value(INCOMING_PREFIX),
    LoaderFunction,
)
.summary("the prefix of the keys of datasets, with a slash at its end");

static MAX_REJECTS: Variable =
    Variable::new("MAX_REJECTS", Text("a number of rows, or a percentage"), Value("0.1%"), LoaderFunction)
        .summary("the max number of rejected rows per file, or a percentage, which always allows 10")
        .details("A load with more of them fails, and the current catalog stays.");

static WORKERS: Variable = Variable::new("WORKERS", Number(1, 64), Value("2"), LoaderFunction)
    .summary("the max number of parallel tasks")
    .details("Set it to the number of processors that the database can spare.");

/// The variables of the loader function that no endpoint reads.
pub static OWN_VARIABLES: [&Variable; 5] =
    [&REJECTS_URL, &INCOMING, &MAX_REJECTS, &WORKERS, &DATABASE_DISK_BYTES];

/// Variables of the release before, which have no effect: a load resumes by file.
pub const FORMER_VARIABLES: [&str; 2] = ["COMMIT_BYTES", "RANGE_BYTES"];

/// Returns the variables of the loader function.
pub fn variables() -> Vec<&'static Variable> {
    let common = database::VARIABLES.into_iter().chain(LOG_VARIABLES);
    common.filter(|variable| matches!(variable.read_by, All | Daemons)).chain(OWN_VARIABLES).collect()
}

impl Config {
    /// Reads the variables that `lookup` returns by name.
    ///
    /// # Errors
    /// The first variable that is invalid or missing.
    pub fn from_lookup(lookup: Lookup<'_>) -> Result<Self, Error> {
        let database = ConnectOptions::from_lookup(lookup)?;
        let rejects: S3Url = REJECTS_URL.parsed(lookup, |text| text.parse().ok())?;
        let is_prefix = |text: &str| text.ends_with('/') && !text.starts_with('/');
        let incoming = INCOMING.parsed(lookup, |text| is_prefix(text).then(|| text.to_owned()))?;
        if rejects.join("").key.starts_with(&incoming) {
            let expected = "a URL that is not under INCOMING_PREFIX";
            return Err(REJECTS_URL.invalid(rejects.to_string(), expected));
        }
        Ok(Self {
            database,
            rejects,
            incoming,
            limit: MAX_REJECTS.parsed(lookup, |text| text.parse().ok())?,
            workers: WORKERS.number(lookup)?,
            disk_bytes: load::disk_bytes(lookup)?,
            log_level: log_level(lookup)?,
        })
    }

    pub(super) fn load_options(&self, s3: &S3) -> LoadOptions {
        LoadOptions {
            limit: self.limit,
            workers: self.workers,
            disk_bytes: self.disk_bytes,
            ..LoadOptions::new(OutputTarget::S3(s3.clone(), self.rejects.clone()), Progress::Log)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::DEFAULT_WORKERS;

    fn config(variables: &[(&str, &str)]) -> Result<Config, String> {
        let known = [("DATABASE_URL", "postgres://etl@localhost/atelier"), ("REJECTS_URL", "s3://rejects/")];
        let lookup = |name: &str| {
            let all = variables.iter().chain(&known);
            all.into_iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        Config::from_lookup(&lookup).map_err(|error| error.to_string())
    }

    #[test]
    fn an_unset_variable_has_its_default() {
        let config = config(&[]).unwrap();
        assert_eq!((config.incoming.as_str(), config.workers), (INCOMING_PREFIX, DEFAULT_WORKERS.into()));
        assert_eq!(config.limit, RejectLimit::default());
    }

    #[test]
    fn an_error_names_the_variable_and_the_expected_value() {
        for (variable, value, expected) in [
            ("REJECTS_URL", "rejects/", "s3://bucket/prefix/"),
            ("INCOMING_PREFIX", "incoming", "a slash at its end"),
            ("WORKERS", "65", "a whole number from 1 to 64"),
            ("MAX_REJECTS", "many", "percentage"),
            ("LOG", "loud", "LOG"),
        ] {
            let error = config(&[(variable, value)]).unwrap_err();
            assert!(error.contains(variable) && error.contains(expected), "{error}");
        }
        assert!(config(&[("REJECTS_URL", "")]).unwrap_err().contains("REJECTS_URL is not set"));
    }

    #[test]
    fn the_rejects_url_must_not_be_below_the_incoming_prefix() {
        let error = config(&[("REJECTS_URL", "s3://datasets/incoming/rejects/")]).unwrap_err();
        assert!(error.contains("not under INCOMING_PREFIX"), "{error}");
    }
}
