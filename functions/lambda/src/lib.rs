//! The Lambda adapter: runs one endpoint as a function, behind an HTTP API of API Gateway or a Function URL.
//!
//! ```text
//! event ──> event ──> request ──> shared::answer ──> response ──> reply ──> answer
//!                                      └─> log: a line, which is a metric too
//! ```
//! It is the only crate that knows Lambda. What an answer says is decided in `shared`.

mod event;
mod log;
mod reply;

use std::convert::Infallible;
use std::env;
use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use lambda_runtime::{Context, LambdaEvent, Runtime, service_fn, spawn_graceful_shutdown_handler};
use serde_json::value::RawValue;
use shared::config::{self, VARIABLES};
use shared::{App, Endpoint};

use crate::log::Invocation;
use crate::reply::Reply;

/// How long before the function's own deadline a request is given up: time for the answer to be sent. At the
/// deadline Lambda ends the process, and the client gets an answer that is none of ours.
const MARGIN: Duration = Duration::from_millis(250);

/// Where Lambda, or what stands in for it, is found by a function.
const RUNTIME_API: &str = "AWS_LAMBDA_RUNTIME_API";

/// How many requests come at once. Only Lambda Managed Instances set it.
const MAX_CONCURRENCY: &str = "AWS_LAMBDA_MAX_CONCURRENCY";

/// A function at work.
struct Function {
    /// What answers; none where every path is one that nothing is at.
    service: Option<Service>,
    /// Whether a line is written for each request.
    access: bool,
    is_warm: AtomicBool,
}

struct Service {
    endpoint: &'static Endpoint,
    app: App,
    request_timeout: Duration,
}

/// Runs an endpoint as a function until Lambda ends it. All of `main`: it answers with the exit code.
#[must_use]
pub fn serve(endpoint: &'static Endpoint) -> ExitCode {
    main(|| {
        let config = config::Function::from_environment()?;
        Ok((config.log.clone(), Some((endpoint, config))))
    })
}

/// Runs a function for the paths that no endpoint has. It reads nothing but `LOG` and `LOG_ACCESS`, and needs no
/// database.
#[must_use]
pub fn serve_without_endpoint() -> ExitCode {
    main(|| Ok((config::Log::from_environment()?, None)))
}

/// What a function is configured with, and the endpoint it serves if there is one.
type Configured = (config::Log, Option<(&'static Endpoint, config::Function)>);

fn main(configure: impl FnOnce() -> Result<Configured, config::Error>) -> ExitCode {
    if env::args_os().len() > 1 {
        println!(
            "A function for AWS Lambda. It takes no arguments: Lambda runs it, or `cargo lambda watch`.\n"
        );
        println!("{VARIABLES}");
        return ExitCode::SUCCESS;
    }
    match run(configure) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(configure: impl FnOnce() -> Result<Configured, config::Error>) -> Result<(), lambda_runtime::Error> {
    if env::var_os(RUNTIME_API).is_none() {
        let expected = "this is a function for AWS Lambda, which sets it, as `make watch` does on a laptop";
        return Err(format!("{RUNTIME_API} is not set: {expected}").into());
    }
    let (log, endpoint) = configure()?;
    shared::log::take_over(log.level, io::stdout);
    let is_concurrent = env::var_os(MAX_CONCURRENCY).is_some_and(|most| most != "1");
    let mut runtime = if is_concurrent {
        tokio::runtime::Builder::new_multi_thread()
    } else {
        tokio::runtime::Builder::new_current_thread() // one request at a time: more threads would only have to be started
    };
    runtime.enable_all().build()?.block_on(async {
        let service = endpoint.map(|(endpoint, config)| Service {
            endpoint,
            app: App::start(&config.database, &config.requests),
            request_timeout: config.requests.timeout,
        });
        poll(Function { service, access: log.access, is_warm: AtomicBool::new(false) }).await
    })
}

/// Asks Lambda for events and answers them, for ever. The connection to the database comes about meanwhile.
async fn poll(function: Function) -> Result<(), lambda_runtime::Error> {
    let function = Arc::new(function);
    let closing = Arc::clone(&function);
    spawn_graceful_shutdown_handler(|| async move { closing.close().await }).await;
    let service = service_fn(move |event| {
        let function = Arc::clone(&function);
        async move { Ok::<_, Infallible>(function.respond(event).await) }
    });
    Runtime::new(service).run_concurrent().await
}

impl Function {
    async fn respond(&self, event: LambdaEvent<Box<RawValue>>) -> Reply {
        let started = Instant::now();
        let endpoint = self.service.as_ref().map(|service| service.endpoint);
        let (request, problem) = event::request(event.payload.get(), endpoint);
        let method = request.method().clone();
        let answer = match (problem, &self.service) {
            (Some(problem), _) => shared::refuse(endpoint.as_slice(), request.into_parts().0, problem),
            (None, Some(service)) => {
                let within = service.request_timeout.min(left(&event.context));
                shared::answer(&service.app, &[service.endpoint], request, within).await
            }
            (None, None) => shared::answer_without_endpoint(request),
        };
        let cold_start = !self.is_warm.swap(true, Ordering::Relaxed);
        if self.access {
            let invocation = Invocation {
                function: &event.context.env_config.function_name,
                lambda_request_id: &event.context.request_id,
                cold_start,
                method: &method,
                elapsed: started.elapsed(),
            };
            let _ = log::write(io::stdout().lock(), &invocation, &answer); // a log that is gone is no reason not to answer
        }
        answer.response.into()
    }

    /// Says goodbye to the database, so that it need not find out that nobody is there.
    async fn close(&self) {
        if let Some(service) = &self.service {
            service.app.close().await;
        }
    }
}

/// How long an invocation may still take. A deadline that was over before the event came is none: `cargo lambda watch`
/// says ten minutes after 1970.
fn left(context: &Context) -> Duration {
    let until_deadline = context.deadline().duration_since(SystemTime::now());
    until_deadline.map_or(Duration::MAX, |left| left.saturating_sub(MARGIN))
}
