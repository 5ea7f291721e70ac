//! Standbys: clusters that follow another one, as replicas do in a deployment.

use std::path::Path;
use std::process::Command;

use crate::cluster::{Cluster, SUPERUSER, run};
use crate::{Binaries, Error};

impl Cluster {
    /// Makes and starts a standby of this cluster, which follows it, can be read, and leaves nothing behind. This one's
    /// settings have to allow it: [`Settings::followed`](crate::Settings::followed).
    ///
    /// # Errors
    /// Whatever keeps it from being copied or from starting.
    pub async fn start_standby(&self) -> Result<Self, Error> {
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
