//! NGINX as a local S3: a folder's files are the objects of a bucket. The loader needs only GET and HEAD with `Range` and
//! `If-Match`, which NGINX has. It checks no signatures.

use std::process::Command;

use anyhow::{Context, Result};
use local::{free_address, nginx};

use crate::env::{Env, Source};
use crate::server::Server;

/// The configuration. `{root}` is the folder, and `{listen}` is the address.
const CONFIGURATION: &str = "
daemon off; master_process off; pid nginx.pid; error_log stderr warn; events { worker_connections 256; }
http {
    access_log off; sendfile on; client_body_temp_path tmp; default_type text/csv;
    proxy_temp_path tmp; fastcgi_temp_path tmp; uwsgi_temp_path tmp; scgi_temp_path tmp;
    server {
        listen {listen}; root {root};
        location = /readyz { return 200; }
    }
}
";

/// A running S3 with the dataset.
pub(crate) struct S3 {
    server: Server,
}

impl S3 {
    pub(crate) async fn start(env: &Env) -> Result<Self> {
        let prefix = env.folder("s3")?;
        let bucket = env.folder("s3/bench")?;
        std::os::unix::fs::symlink(&env.files, bucket.join("set")).context("cannot link the dataset")?;
        let listen = free_address()?;
        let configuration = CONFIGURATION
            .replace("{root}", &prefix.display().to_string())
            .replace("{listen}", &listen.to_string());
        std::fs::write(prefix.join("nginx.conf"), configuration).context("cannot configure NGINX")?;
        let mut command = Command::new(nginx()?);
        command.arg("-p").arg(&prefix).args(["-e", "stderr", "-c", "nginx.conf"]);
        Ok(Self { server: Server::start_at(listen, &command).await? })
    }

    /// Returns the dataset there as a source.
    pub(crate) fn source(&self) -> Source {
        let variables = conformance::s3::variables(self.server.listen);
        Source { location: "s3://bench/set/".into(), variables: variables.into() }
    }

    pub(crate) async fn stop(self) -> Result<()> {
        self.server.stop().await
    }
}
