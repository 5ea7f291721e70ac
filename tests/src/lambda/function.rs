//! A function's binary at work.

use std::ffi::OsString;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use super::{Outcome, RuntimeApi};

/// How long a function of the template has for an invocation.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A function's process and the Runtime API that it polls. Both end when this is dropped.
#[derive(Debug)]
pub struct Function {
    api: RuntimeApi,
    process: Child,
    /// What it writes to standard output, if that is looked at.
    log: Option<Lines<BufReader<ChildStdout>>>,
}

impl Function {
    /// Starts `program` with Lambda's variables, these, and no others. `log` says whether its log is read; if not, it
    /// goes nowhere.
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

    /// What it polls.
    pub fn api(&self) -> &RuntimeApi {
        &self.api
    }

    /// The id of its process.
    pub fn pid(&self) -> u32 {
        self.process.id().expect("the function has ended")
    }

    /// Has it answer an event, as long as a function of the template may take.
    pub async fn invoke(&self, event: impl Into<Bytes>) -> Outcome {
        self.api.invoke(event, TIMEOUT).await
    }

    /// The reply to an event; there must be one.
    pub async fn reply(&self, event: impl Into<Bytes>) -> Bytes {
        let event = event.into();
        match self.invoke(event.clone()).await {
            Outcome::Reply(reply) => reply,
            other => panic!("{other:?} to {}", String::from_utf8_lossy(&event)),
        }
    }

    /// The next line of its log.
    pub async fn line(&mut self) -> String {
        let log = self.log.as_mut().expect("the log is not read");
        log.next_line().await.unwrap().expect("the function's log has ended")
    }

    /// How it has ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.process.try_wait().unwrap()
    }

    /// Has it take an event that it does not outlive; answers with how it has ended. It must not have answered by then.
    pub async fn dies_of(&mut self, event: impl Into<Bytes>, time: Duration) -> ExitStatus {
        tokio::select! {
            outcome = self.api.invoke(event, time) => panic!("it is still there: {outcome:?}"),
            ended = self.process.wait() => ended.unwrap(),
        }
    }

    /// Ends it at once, and waits until it is gone.
    pub async fn kill(mut self) {
        self.process.kill().await.unwrap();
    }

    /// Waits until it has ended.
    pub async fn end(&mut self) -> ExitStatus {
        self.process.wait().await.unwrap()
    }
}
