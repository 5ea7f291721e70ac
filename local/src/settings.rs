//! The server's settings, each with its reason. They are given on the command line: no file is edited.

use std::path::Path;
use std::{fmt, fs};

use crate::{Account, Error};

const MIB_PER_GIB: u64 = 1024;

/// Settings of a private cluster.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Each as name and value; of two with one name the last holds.
    values: Vec<(&'static str, String)>,
    /// Settings that name a file, each with what is in it.
    files: Vec<(&'static str, String)>,
    /// A directory that is a filesystem of its own, and its size in bytes.
    disk: Option<(&'static str, u64)>,
}

impl Settings {
    /// For data that is to be kept: `make run` and the benchmarks. Nothing here trades safety for speed.
    pub fn durable() -> Self {
        let memory = memory_mib().unwrap_or(MIB_PER_GIB);
        // Two GiB hold the documents of a million products, and point reads that find them there are a third faster.
        let buffers = (memory / 4).clamp(128, 2 * MIB_PER_GIB);
        let sorting = (memory / 16).clamp(64, MIB_PER_GIB / 2);
        Self::with(&[
            ("shared_buffers", format!("{buffers}MB")),
            ("maintenance_work_mem", format!("{sorting}MB")), // what an index build sorts in
            // A load writes gigabytes in a minute: checkpoints by size would write the same pages over and over.
            ("max_wal_size", "8GB".to_owned()),
            ("checkpoint_timeout", "15min".to_owned()),
        ])
    }

    /// For databases that nobody will miss: a crash of the machine may lose them all.
    pub fn disposable() -> Self {
        Self::with(&[
            ("fsync", "off".to_owned()),
            ("full_page_writes", "off".to_owned()),
            ("synchronous_commit", "off".to_owned()),
            ("shared_buffers", "128MB".to_owned()),
            ("maintenance_work_mem", "64MB".to_owned()),
            ("max_wal_size", "2GB".to_owned()),
            ("max_connections", "300".to_owned()), // tests run in parallel, and each may run a host with several
        ])
    }

    /// These, for a cluster that others follow ([`Cluster::start_standby`](crate::Cluster::start_standby)).
    #[must_use]
    pub fn followed(self) -> Self {
        self.and("wal_level", "replica").and("max_wal_senders", "4")
    }

    /// These, and one more setting.
    #[must_use]
    pub fn and(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.values.push((name, value.into()));
        self
    }

    /// These, and a setting that names a file with this content. The file lies beside the data, and nobody but the
    /// server can read it.
    #[must_use]
    pub fn and_file(mut self, name: &'static str, content: impl Into<String>) -> Self {
        self.files.push((name, content.into()));
        self
    }

    /// These, and a filesystem of its own of so many bytes, in memory, for the directory of this name beside the data
    /// ([`Cluster::directory`](crate::Cluster::directory)): a disk that is soon full, for a tablespace. Only the server
    /// sees what is on it; it is gone with the server, however that ends. It takes Linux, and root or a user namespace.
    #[must_use]
    pub fn and_disk(mut self, name: &'static str, bytes: u64) -> Self {
        self.disk = Some((name, bytes));
        self
    }

    /// What both have in common. Autovacuum and all that is not named stay as Postgres ships them.
    fn with(further: &[(&'static str, String)]) -> Self {
        let mut all = vec![
            ("listen_addresses", String::new()), // the socket only: no port that could collide or be reached
            ("port", "5432".to_owned()),         // part of the socket's name; PGPORT would change it
            ("unix_socket_permissions", "0700".to_owned()),
            // No replica: a table that is made and filled in one transaction then needs no WAL of its rows.
            ("wal_level", "minimal".to_owned()),
            ("max_wal_senders", "0".to_owned()),
        ];
        all.extend_from_slice(further);
        Self { values: all, files: Vec::new(), disk: None }
    }

    /// What is set under this name.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.values.iter().rev().find(|(set, _)| *set == name).map(|(_, value)| value.as_str())
    }

    /// The directory that is a filesystem of its own, and its size in bytes.
    pub(crate) fn disk(&self) -> Option<(&'static str, u64)> {
        self.disk
    }

    /// Writes the files to `root` and names them in the settings.
    pub(crate) fn with_files_in(&self, root: &Path, account: Account) -> Result<Self, Error> {
        let mut settings = Self { files: Vec::new(), ..self.clone() };
        for (name, content) in &self.files {
            let path = root.join(name);
            account.private_file(&path, content)?;
            settings = settings.and(name, path.display().to_string());
        }
        Ok(settings)
    }

    /// As arguments for `postgres`.
    pub(crate) fn arguments(&self) -> impl Iterator<Item = String> + '_ {
        self.values.iter().flat_map(|(name, value)| ["-c".to_owned(), format!("{name}={value}")])
    }
}

/// As one line of `name=value`, for a report.
impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<String> = self.values.iter().map(|(name, value)| format!("{name}={value}")).collect();
        f.write_str(&all.join(" "))
    }
}

/// The machine's memory, where `/proc` tells it.
fn memory_mib() -> Option<u64> {
    let report = fs::read_to_string("/proc/meminfo").ok()?;
    let total = report.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    Some(total.split_whitespace().next()?.parse::<u64>().ok()? / 1024)
}
