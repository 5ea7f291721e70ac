//! The progress of a load that outlives its failure, so that a load that fails can be described too.

use std::sync::{Arc, Mutex, PoisonError};

use super::FileSummary;
use crate::ledger::Step;

/// A shared record of the latest load.
#[derive(Clone, Debug, Default)]
pub struct Record(Arc<Mutex<Known>>);

/// The known facts of a load.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Its number; none before it begins.
    pub generation: Option<i32>,
    /// The result for each file; empty if the load failed before its rows were counted, or with the database.
    pub files: Vec<FileSummary>,
    /// The seconds of each step that this run finished.
    pub steps: Vec<(Step, f64)>,
}

impl Record {
    /// Returns the present content.
    pub fn known(&self) -> Known {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn update(&self, change: impl FnOnce(&mut Known)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub(super) fn finish_step(&self, step: Step, seconds: f64) {
        self.update(|known| known.steps.push((step, seconds)));
    }
}
