//! Why the database gave no answer.

use std::sync::Arc;

use tokio_postgres::error::SqlState;

/// Why the database gave no answer: a kind, from which everything else follows, and a cause for the log.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{}", .kind.description())]
pub struct Error {
    kind: Kind,
    #[source]
    source: Option<Source>,
}

/// What kind of trouble it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// No connection is up, or the one that was used was lost.
    Unreachable,
    /// The tables are not there: nothing has been published yet.
    NoCatalog,
    /// The database gave up on the statement: it took too long, or it was in another's way.
    Timeout,
    /// As many wait for the database already as may.
    Overloaded,
    /// Anything else: a fault of ours, of a row or of the database's set-up.
    Internal,
}

/// Shared, because one statement may have failed for many.
type Source = Arc<dyn std::error::Error + Send + Sync>;

/// An error and what caused it, on one line.
pub fn error_chain(error: &dyn std::error::Error) -> String {
    // Postgres puts a detail and a hint on lines of their own.
    let text = |error: &dyn std::error::Error| error.to_string().replace('\n', "; ");
    let mut line = text(error);
    let mut source = error.source();
    while let Some(cause) = source {
        let text = text(cause);
        // Some errors say in their own line what caused them.
        if !line.ends_with(&text) {
            line = format!("{line}: {text}");
        }
        source = cause.source();
    }
    line
}

impl Kind {
    fn description(self) -> &'static str {
        match self {
            Self::Unreachable => "no connection to the database",
            Self::NoCatalog => "no catalog has been published yet",
            Self::Timeout => "the database gave up on a statement",
            Self::Overloaded => "too many wait for the database",
            Self::Internal => "the database did what was not foreseen",
        }
    }
}

impl Error {
    /// No connection is up.
    pub(crate) const NOT_CONNECTED: Self = Self { kind: Kind::Unreachable, source: None };

    /// The connection that was used has answered nobody for longer than any statement may take.
    pub(crate) const STALLED: Self = Self { kind: Kind::Unreachable, source: None };

    /// Postgres has neither answered nor given up.
    pub(crate) const TIMED_OUT: Self = Self { kind: Kind::Timeout, source: None };

    /// All places to wait are taken.
    pub(crate) const OVERLOADED: Self = Self { kind: Kind::Overloaded, source: None };

    /// What kind of trouble it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// A row that does not hold what its statement promises.
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
                // A primary that has just become a standby; which is the primary now is soon known.
                | &SqlState::READ_ONLY_SQL_TRANSACTION,
            ) => Kind::Unreachable,
            Some(_) => Kind::Internal,
        };
        Self { kind, source: Some(Arc::new(error)) }
    }
}
