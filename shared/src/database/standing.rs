//! Which catalog each server has, and which of them takes writes: asked over each connection once a second.
//!
//! One statement is health check, turnover of what readers keep, and choice of a server. A server that lags behind is
//! told by the catalog that was published last: it is not read from until it has that too.

use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio_postgres::Row;

use super::{Error, Sql};

/// One row, whether or not anything was published. By the primary key of `etl.publication`, from its end.
pub(crate) const STANDING: Sql = Sql {
    slot: 7,
    text: "select pg_is_in_recovery(), latest.id, latest.generation from (select) as one left join \
           (select id, generation from etl.publication order by id desc limit 1) as latest on true",
};

/// How often it is asked: a new catalog is noticed within this time.
pub(super) const ASK_EVERY: Duration = Duration::from_secs(1);

/// Which servers a connection may be to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Any that answers. Servers are not asked how they stand, and those of an address take each other's place as
    /// libpq has it: the first that can be reached, in their order.
    Any,
    /// Any that has the catalog that was published last.
    Current,
    /// The primary.
    Primary,
}

/// What a server said when it was last asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Standing {
    pub(crate) is_standby: bool,
    /// Nothing was published: `None`.
    pub(crate) published: Option<Published>,
}

/// Which catalog is served since the publication with this number. A rollback is a publication too: generations go
/// back, numbers do not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Published {
    number: i64,
    pub(crate) generation: i32,
}

impl Standing {
    /// Of the rows of [`STANDING`].
    pub(crate) fn of(rows: &[Row]) -> Result<Self, Error> {
        let Some(row) = rows.first() else { return Ok(Self::default()) };
        let (number, generation): (Option<i64>, Option<i32>) = (row.try_get(1)?, row.try_get(2)?);
        let published = number.zip(generation).map(|(number, generation)| Published { number, generation });
        Ok(Self { is_standby: row.try_get(0)?, published })
    }

    fn number(self) -> i64 {
        self.published.map_or(0, |published| published.number)
    }
}

/// What all connections have been told, put together. What is read for every request takes no lock.
#[derive(Debug)]
pub(super) struct Standings {
    need: Need,
    /// By connection; `None` for one that is down.
    told: Mutex<Vec<Option<Standing>>>,
    /// The latest publication that a connection that is up knows of, or the last that one knew of. Those who ask each
    /// second ask at once when it changes.
    latest: watch::Sender<i64>,
    generation: AtomicI32,
    /// When that was last heard, in milliseconds after `began`.
    confirmed: AtomicU64,
    began: Instant,
}

impl Standings {
    pub(super) fn new(need: Need, connections: usize) -> Self {
        let (generation, confirmed) = Default::default();
        let told = Mutex::new(vec![None; connections]);
        Self { need, told, latest: watch::Sender::new(0), generation, confirmed, began: Instant::now() }
    }

    /// Whether servers are asked at all.
    pub(super) fn are_asked_for(&self) -> bool {
        self.need != Need::Any
    }

    /// Takes down what a connection was told, or that it is down.
    pub(super) fn take_down(&self, connection: usize, standing: Option<Standing>) {
        let mut told = self.told();
        if let Some(place) = told.get_mut(connection) {
            *place = standing;
        }
        let Some(latest) = told.iter().flatten().max_by_key(|standing| standing.number()) else { return };
        self.generation
            .store(latest.published.map_or(0, |published| published.generation), Ordering::Relaxed);
        let elapsed = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.confirmed.store(elapsed, Ordering::Relaxed);
        self.latest.send_if_modified(|number| std::mem::replace(number, latest.number()) != latest.number());
    }

    /// Changes when a connection has heard of another publication than the latest up to now.
    pub(super) fn latest(&self) -> watch::Receiver<i64> {
        self.latest.subscribe()
    }

    /// Whether a connection may be used, by what it was told last.
    pub(super) fn suits(&self, connection: usize) -> bool {
        let suits = |standing: &Standing| match self.need {
            Need::Any => true,
            Need::Current => standing.number() >= *self.latest.borrow(),
            Need::Primary => !standing.is_standby,
        };
        !self.are_asked_for() || self.told().get(connection).and_then(Option::as_ref).is_some_and(suits)
    }

    fn told(&self) -> MutexGuard<'_, Vec<Option<Standing>>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The generation that is served, as last heard; `None` before anything was published or heard.
    pub(super) fn generation(&self) -> Option<i32> {
        let generation = self.generation.load(Ordering::Relaxed);
        (generation != 0).then_some(generation)
    }

    /// How long ago that was last heard.
    pub(super) fn age(&self) -> Duration {
        let confirmed = Duration::from_millis(self.confirmed.load(Ordering::Relaxed));
        self.began.elapsed().saturating_sub(confirmed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(number: i64, generation: i32) -> Standing {
        Standing { is_standby: false, published: Some(Published { number, generation }) }
    }

    #[test]
    fn a_server_that_lags_behind_is_not_used_until_it_has_the_latest_catalog_or_no_other_is_up() {
        let standings = Standings::new(Need::Current, 2);
        assert_eq!(standings.generation(), None);
        let (old, new) = (standing(7, 3), standing(8, 4));
        standings.take_down(0, Some(old));
        assert!(standings.suits(0));
        standings.take_down(1, Some(new));
        assert_eq!(standings.generation(), Some(4));
        assert!(standings.suits(1) && !standings.suits(0));
        standings.take_down(1, None);
        assert_eq!(standings.generation(), Some(3));
        assert!(standings.suits(0));
        standings.take_down(0, None);
        assert_eq!(standings.generation(), Some(3), "what was last heard is kept");
    }

    #[test]
    fn a_rollback_is_later_than_what_it_takes_back_though_its_generation_is_lower() {
        let standings = Standings::new(Need::Current, 2);
        let heard = standings.latest();
        standings.take_down(0, Some(standing(8, 4)));
        standings.take_down(1, Some(standing(9, 3)));
        assert_eq!(standings.generation(), Some(3));
        assert!(heard.has_changed().unwrap());
    }

    #[test]
    fn writes_go_to_the_primary_whatever_catalog_it_has() {
        let standings = Standings::new(Need::Primary, 2);
        let standby = Standing { is_standby: true, ..standing(8, 4) };
        standings.take_down(0, Some(standby));
        standings.take_down(1, Some(standing(7, 3)));
        assert!(standings.suits(1) && !standings.suits(0));
    }
}
