//! A function's binary, run with a local Runtime API.

use std::ffi::OsString;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use super::{Outcome, RuntimeApi};

/// The timeout of the functions in template.yaml.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A function's process and the Runtime API that it polls. Dropping this stops both.
#[derive(Debug)]
pub struct Function {
    api: RuntimeApi,
    process: Child,
    /// Standard output, if the test reads it.
    log: Option<Lines<BufReader<ChildStdout>>>,
}

impl Function {
    /// Starts `program` with Lambda's variables and `variables`, and without the variables of this process. If `log` is
    /// false, the log is discarded.
    pub async fn start(program: &Path, variables: &[(&str, OsString)], log: bool) -> Self {
        let api = RuntimeApi::start().await;
        let mut command = Command::new(program);
        command.env_clear().envs(variables.iter().map(|(name, value)| (name, value)));
        command.env("AWS_LAMBDA_RUNTIME_API", api.address().to_string());
        command.env("AWS_LAMBDA_FUNCTION_NAME", program.file_name().unwrap_or_default());
        command.env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256").env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST");
        command
            .stdin(Stdio::null())
            .stdout(if log { Stdio::piped() } else { Stdio::null() })
            .kill_on_drop(true);
        let mut process = command.spawn().unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        let log = process.stdout.take().map(|output| BufReader::new(output).lines());
        Self { api, process, log }
    }

    /// Returns the Runtime API that the process polls.
    pub fn api(&self) -> &RuntimeApi {
        &self.api
    }

    /// Returns the process id.
    pub fn pid(&self) -> u32 {
        self.process.id().expect("the function has exited")
    }

    /// Sends an event, and waits for the outcome until the timeout of the functions in template.yaml.
    pub async fn invoke(&self, event: impl Into<Bytes>) -> Outcome {
        self.api.invoke(event, TIMEOUT).await
    }

    /// Sends an event and returns the reply. Panics if there is none.
    pub async fn reply(&self, event: impl Into<Bytes>) -> Bytes {
        let event = event.into();
        match self.invoke(event.clone()).await {
            Outcome::Reply(reply) => reply,
            other => panic!("{other:?} to {}", String::from_utf8_lossy(&event)),
        }
    }

    /// Returns the next line of the log.
    pub async fn next_line(&mut self) -> String {
        let log = self.log.as_mut().expect("the log is not read");
        log.next_line().await.unwrap().expect("the function's log ended")
    }

    /// Returns the exit status if the process has exited.
    pub fn exit_status(&mut self) -> Option<ExitStatus> {
        self.process.try_wait().unwrap()
    }

    /// Sends an event that crashes the process, and returns the exit status. Panics if there is an outcome before.
    pub async fn crashes_on(&mut self, event: impl Into<Bytes>, time: Duration) -> ExitStatus {
        tokio::select! {
            outcome = self.api.invoke(event, time) => panic!("the function did not crash: {outcome:?}"),
            ended = self.process.wait() => ended.unwrap(),
        }
    }

    /// Kills the process and waits until it has exited.
    pub async fn kill(mut self) {
        self.process.kill().await.unwrap();
    }

    /// Waits until the process has exited.
    pub async fn wait(&mut self) -> ExitStatus {
        self.process.wait().await.unwrap()
    }
}
