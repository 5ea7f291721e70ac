//! Replicas: clusters that follow a primary, as in a deployment.

use std::path::Path;
use std::process::Command;

use crate::cluster::{Cluster, SUPERUSER, run};
use crate::{Binaries, Error};

impl Cluster {
    /// Creates and starts a temporary read replica of this cluster. The cluster's settings must allow replication:
    /// [`Settings::with_replication`](crate::Settings::with_replication).
    ///
    /// # Errors
    /// The reason why the copy or the start fails.
    pub async fn start_replica(&self) -> Result<Self, Error> {
        let base = self.root().parent().unwrap_or(Path::new("/tmp"));
        Self::start_temporary_with(
            base,
            self.settings(),
            async |binaries: &Binaries, account, data: &Path| {
                let program = binaries.program("pg_basebackup");
                let mut copy = Command::new(&program);
                copy.arg("--pgdata").arg(data).arg("--host").arg(self.address().sockets());
                copy.args(["--port", &self.address().port().to_string(), "--username", SUPERUSER]);
                copy.args(["--write-recovery-conf", "--checkpoint", "fast", "--no-sync", "--no-password"]);
                run(account, copy, data).await
            },
        )
        .await
    }
}
