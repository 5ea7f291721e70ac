//! Settings of Postgres, each with its reason. They go on the command line, so no file is edited.

use std::{fmt, fs};

const MIB_PER_GIB: u64 = 1024;

/// Settings of a private cluster.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Names and values. The last value of a name applies.
    values: Vec<(&'static str, String)>,
}

impl Settings {
    /// Returns settings for data that is kept: `make run` and the benchmarks. None of them trades durability for speed.
    pub fn durable() -> Self {
        let memory = memory_mib().unwrap_or(MIB_PER_GIB);
        // Two GiB hold the documents of a million products. Reads by primary key from there are a third faster.
        let buffers = (memory / 4).clamp(128, 2 * MIB_PER_GIB);
        let sorting = (memory / 16).clamp(64, MIB_PER_GIB / 2);
        Self::with(&[
            ("shared_buffers", format!("{buffers}MB")),
            ("maintenance_work_mem", format!("{sorting}MB")), // sort memory of an index build
            // A load writes gigabytes in a minute. Checkpoints by size would write the same pages repeatedly.
            ("max_wal_size", "8GB".to_owned()),
            ("checkpoint_timeout", "15min".to_owned()),
        ])
    }

    /// Adds a setting.
    #[must_use]
    pub fn and(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.values.push((name, value.into()));
        self
    }

    /// Returns the common settings and `further`. All other settings have the defaults of Postgres.
    pub fn with(further: &[(&'static str, String)]) -> Self {
        let mut all = vec![
            ("listen_addresses", String::new()), // only the socket: no port that could collide or be reached
            ("port", "5432".to_owned()),         // part of the socket's name; PGPORT would change it
            ("unix_socket_permissions", "0700".to_owned()),
            // Without replicas, a table that is created and filled in one transaction writes no WAL for its rows.
            ("wal_level", "minimal".to_owned()),
            ("max_wal_senders", "0".to_owned()),
        ];
        all.extend_from_slice(further);
        Self { values: all }
    }

    /// Returns the value of a setting.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.values.iter().rev().find(|(set, _)| *set == name).map(|(_, value)| value.as_str())
    }

    /// Returns the settings as arguments for `postgres`.
    pub(crate) fn arguments(&self) -> impl Iterator<Item = String> + '_ {
        self.values.iter().flat_map(|(name, value)| ["-c".to_owned(), format!("{name}={value}")])
    }
}

/// One line of `name=value` pairs, for reports.
impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<String> = self.values.iter().map(|(name, value)| format!("{name}={value}")).collect();
        f.write_str(&all.join(" "))
    }
}

/// Returns the machine's memory in MiB, if `/proc` has it.
fn memory_mib() -> Option<u64> {
    let report = fs::read_to_string("/proc/meminfo").ok()?;
    let total = report.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    Some(total.split_whitespace().next()?.parse::<u64>().ok()? / 1024)
}
