//! Errors of the database.

use std::sync::Arc;

use tokio_postgres::error::SqlState;

/// An error of the database: a kind, which decides the response, and a cause for the log.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{}", .kind.description())]
pub struct Error {
    kind: Kind,
    #[source]
    source: Option<Source>,
}

/// The kind of an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// No connection is up, or the connection was lost during the statement.
    Unreachable,
    /// The tables do not exist: no catalog has been published yet.
    NoCatalog,
    /// The current catalog lacks a table, a column or a right, because an earlier release loaded it.
    EarlierRelease,
    /// Two statements of a response read different catalogs.
    Changed,
    /// The statement took too long, or Postgres cancelled it because of a lock, a deadlock or a conflict.
    Timeout,
    /// The queue limit is reached, or the budget for large responses is exhausted.
    Overloaded,
    /// Anything else: a bug, an unexpected row, or wrong database settings.
    Internal,
}

/// The oldest major version of Postgres that `make test-postgres` tests.
const OLDEST_POSTGRES: u32 = 14;

/// The cause, shared by all requests whose ids were in one statement.
type Source = Arc<dyn std::error::Error + Send + Sync>;

/// Returns an error and its causes on one line.
pub fn error_chain(error: &dyn std::error::Error) -> String {
    // Postgres puts a detail and a hint on lines of their own.
    let text = |error: &dyn std::error::Error| error.to_string().replace('\n', "; ");
    let mut line = text(error);
    let mut source = error.source();
    while let Some(cause) = source {
        let text = text(cause);
        // Some errors repeat their cause in their own message.
        if !line.ends_with(&text) {
            line = format!("{line}: {text}");
        }
        source = cause.source();
    }
    line
}

/// Returns why the service does not support a server, from its settings `server_version` and `server_encoding`, and what
/// to do.
#[must_use]
pub fn unsupported(version: &str, encoding: &str) -> Option<String> {
    let digits = version.split(|character: char| !character.is_ascii_digit()).next().unwrap_or_default();
    if digits.parse::<u32>().is_ok_and(|major| major < OLDEST_POSTGRES) {
        return Some(format!("Postgres {version} is older than {OLDEST_POSTGRES}: upgrade the server"));
    }
    (encoding != "UTF8").then(|| {
        format!(
            "the encoding of the database is {encoding} and not UTF8: create another one with \
             `create database NAME encoding 'UTF8' template template0`"
        )
    })
}

impl Kind {
    fn description(self) -> &'static str {
        match self {
            Self::Unreachable => "no connection to the database",
            Self::NoCatalog => "no catalog has been published yet",
            Self::EarlierRelease => "an earlier release loaded the catalog",
            Self::Changed => "the catalog changed during the request",
            Self::Timeout => "the statement timed out",
            Self::Overloaded => "too many requests",
            Self::Internal => "unexpected database error",
        }
    }
}

impl Error {
    /// No connection is up.
    pub(crate) const NOT_CONNECTED: Self = Self { kind: Kind::Unreachable, source: None };

    /// The server has responded to no statement on this connection for longer than any statement may take.
    pub(crate) const STALLED: Self = Self { kind: Kind::Unreachable, source: None };

    /// Postgres has neither responded to the statement nor cancelled it in time.
    pub(crate) const TIMED_OUT: Self = Self { kind: Kind::Timeout, source: None };

    /// The current catalog lacks what this release added to catalogs.
    pub(crate) const EARLIER_RELEASE: Self = Self { kind: Kind::EarlierRelease, source: None };

    /// Two statements of a response read different catalogs.
    pub(crate) const CHANGED: Self = Self { kind: Kind::Changed, source: None };

    /// The queue limit is reached, or the budget for large responses is exhausted.
    pub(crate) const OVERLOADED: Self = Self { kind: Kind::Overloaded, source: None };

    /// Returns the kind.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Returns the error of a statement for which this release added a table, a column or a right to catalogs.
    pub(crate) fn of_earlier_release(self) -> Self {
        let cause = self.source.as_deref().and_then(|source| source.downcast_ref::<tokio_postgres::Error>());
        let is_missing = matches!(
            cause.and_then(tokio_postgres::Error::code),
            Some(
                &SqlState::UNDEFINED_TABLE | &SqlState::UNDEFINED_COLUMN | &SqlState::INSUFFICIENT_PRIVILEGE
            )
        );
        if is_missing { Self { kind: Kind::EarlierRelease, ..self } } else { self }
    }

    /// Returns an error for a row that does not hold what its statement promises.
    pub(crate) fn internal(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self { kind: Kind::Internal, source: Some(source.into().into()) }
    }
}

impl From<tokio_postgres::Error> for Error {
    fn from(error: tokio_postgres::Error) -> Self {
        let kind = match error.code() {
            None if error.is_closed() => Kind::Unreachable,
            None => Kind::Internal,
            Some(&SqlState::UNDEFINED_TABLE | &SqlState::INVALID_SCHEMA_NAME) => Kind::NoCatalog,
            Some(
                &SqlState::QUERY_CANCELED
                | &SqlState::LOCK_NOT_AVAILABLE
                | &SqlState::T_R_DEADLOCK_DETECTED
                | &SqlState::T_R_SERIALIZATION_FAILURE,
            ) => Kind::Timeout,
            Some(
                &SqlState::ADMIN_SHUTDOWN
                | &SqlState::CRASH_SHUTDOWN
                | &SqlState::CANNOT_CONNECT_NOW
                | &SqlState::IDLE_SESSION_TIMEOUT
                // A primary that has just become a replica. The next status query finds the new primary.
                | &SqlState::READ_ONLY_SQL_TRANSACTION,
            ) => Kind::Unreachable,
            Some(_) => Kind::Internal,
        };
        Self { kind, source: Some(Arc::new(error)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_server_and_another_encoding_are_unsupported() {
        for version in ["14.4", "15.18 (Debian 15.18-0+deb12u1)", "18beta1", "100"] {
            assert_eq!(unsupported(version, "UTF8"), None);
        }
        let old = unsupported("13.9 (Debian)", "UTF8").unwrap();
        assert_eq!(old, "Postgres 13.9 (Debian) is older than 14: upgrade the server");
        assert!(unsupported("15.1", "SQL_ASCII").unwrap().contains("is SQL_ASCII and not UTF8: create "));
    }
}
