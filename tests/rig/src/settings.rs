//! Settings of temporary clusters.

use std::fmt;
use std::path::Path;

use local::{Account, Error};

/// Settings of a temporary cluster.
#[derive(Clone, Debug)]
pub struct Settings {
    server: local::Settings,
    /// Settings that name a file, each with the content of that file.
    files: Vec<(&'static str, String)>,
    /// The name of a directory with its own filesystem, and its size in bytes.
    pub(crate) disk: Option<(&'static str, u64)>,
}

impl From<local::Settings> for Settings {
    fn from(server: local::Settings) -> Self {
        Self { server, files: Vec::new(), disk: None }
    }
}

impl Settings {
    /// Returns the settings of `make run`, for benchmarks and tests of crashes. None of them trades durability for speed.
    pub fn durable() -> Self {
        local::Settings::durable().into()
    }

    /// Returns settings for disposable databases: a crash of the machine may lose their data.
    pub fn disposable() -> Self {
        let further = [
            ("fsync", "off"),
            ("full_page_writes", "off"),
            ("synchronous_commit", "off"),
            ("shared_buffers", "128MB"),
            ("maintenance_work_mem", "64MB"),
            ("max_wal_size", "2GB"),
            ("max_connections", "300"), // tests run in parallel, each with several connections
        ];
        local::Settings::with(&further.map(|(name, value)| (name, value.to_owned()))).into()
    }

    /// Allows replicas ([`Cluster::start_replica`](crate::Cluster::start_replica)).
    #[must_use]
    pub fn with_replication(self) -> Self {
        self.and("wal_level", "replica").and("max_wal_senders", "4")
    }

    /// Adds a setting.
    #[must_use]
    pub fn and(self, name: &'static str, value: impl Into<String>) -> Self {
        Self { server: self.server.and(name, value), ..self }
    }

    /// Adds a setting that names a file with this content. The file is in the cluster's directory, and only the server
    /// can read it.
    #[must_use]
    pub fn and_file(mut self, name: &'static str, content: impl Into<String>) -> Self {
        self.files.push((name, content.into()));
        self
    }

    /// Adds a small filesystem of `bytes` in memory, for a tablespace that fills its disk. It is mounted on the
    /// directory of this name in the cluster's directory ([`Cluster::directory`](crate::Cluster::directory)); on `data` it
    /// has all data and the WAL. Only the server sees its files, and it ends with the server. It needs Linux, and root or
    /// a user namespace.
    #[must_use]
    pub fn and_disk(mut self, name: &'static str, bytes: u64) -> Self {
        self.disk = Some((name, bytes));
        self
    }

    /// Writes the files to `root`, and returns the server's settings with their paths.
    pub(crate) fn for_server_in(&self, root: &Path, account: Account) -> Result<local::Settings, Error> {
        let mut settings = self.server.clone();
        for (name, content) in &self.files {
            let path = root.join(name);
            account.private_file(&path, content)?;
            settings = settings.and(name, path.display().to_string());
        }
        Ok(settings)
    }
}

/// One line of `name=value` pairs, for reports.
impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.server.fmt(f)
    }
}
