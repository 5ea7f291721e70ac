//! The Lambda adapter: runs one endpoint as a function, behind API Gateway (an HTTP API or a REST API), a Function URL,
//! an Application Load Balancer, or VPC Lattice.
//!
//! ```text
//! event ──event──> request ──> shared::respond ──> response ──reply──> reply
//!                                   └──log──> a log line with metrics
//! ```
//! Only this crate knows Lambda's events and replies. `shared` decides what a response contains.

mod event;
mod log;
mod reply;
mod shutdown;

use std::env;
use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use lambda_runtime::tower::util::MapFutureLayer;
use lambda_runtime::{Context, Error, LambdaEvent, Runtime, service_fn};
use serde_json::value::RawValue;
use shared::config::{FunctionConfig, LOG_VARIABLES, LogConfig, function_variables, warn_of_former_names};
use shared::variables::{self, Variable, environment};
use shared::{App, Endpoint, Outcome, Problem};

use crate::event::Event;
use crate::log::Invocation;
use crate::shutdown::InFlight;

/// Time between the timeout of a request and the function's deadline, to send the response. At the deadline Lambda ends
/// the process, and the client gets an error of the service in front of it.
const DEADLINE_MARGIN: Duration = Duration::from_millis(250);

/// Min deadline, in milliseconds since 1970. An earlier value is a duration: `cargo lambda watch` sends ten minutes.
const MIN_DEADLINE_MS: u64 = 24 * 60 * 60 * 1000;

/// How long requests in flight may take after SIGTERM. Lambda ends the process 500 ms after SIGTERM, and the function
/// must close its database connection before that.
const DRAIN_TIMEOUT: Duration = Duration::from_millis(200);

/// The variables that Lambda, or a local substitute for it, sets for each function.
const REQUIRED_VARIABLES: [&str; 4] = [
    "AWS_LAMBDA_RUNTIME_API",
    "AWS_LAMBDA_FUNCTION_NAME",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
    "AWS_LAMBDA_FUNCTION_VERSION",
];

/// The variable with the max concurrent requests. Only Lambda Managed Instances set it.
const MAX_CONCURRENCY: &str = "AWS_LAMBDA_MAX_CONCURRENCY";

/// A running function.
struct Function {
    /// `None` if the function returns 404 for all paths.
    service: Option<Service>,
    /// Whether the function writes an access log.
    access: bool,
    is_warm: AtomicBool,
}

/// An endpoint with the state that its handler needs.
struct Service {
    endpoint: &'static Endpoint,
    app: App,
    request_timeout: Duration,
}

/// Runs an endpoint as a function until Lambda ends the process. Returns the exit code for `main`.
#[must_use]
pub fn serve(endpoint: &'static Endpoint) -> ExitCode {
    start(&function_variables(), || {
        let config = FunctionConfig::from_lookup(&environment)?;
        Ok((config.log.clone(), Some((endpoint, config))))
    })
}

/// Runs a function that returns 404 for all paths. It needs no database. Returns the exit code for `main`.
#[must_use]
pub fn serve_not_found() -> ExitCode {
    start(&LOG_VARIABLES, || Ok((LogConfig::from_lookup(&environment)?, None)))
}

/// A function's configuration, and its endpoint if it has one.
type Configuration = (LogConfig, Option<(&'static Endpoint, FunctionConfig)>);

/// Returns the reply of the function without an endpoint to an event, without running it. Only `fuzz/` uses this.
///
/// # Errors
/// A reply that is not JSON.
#[doc(hidden)]
pub async fn reply_not_found(event: Box<RawValue>) -> Result<Box<RawValue>, Error> {
    let function = Function { service: None, access: false, is_warm: AtomicBool::new(true) };
    function.respond(LambdaEvent::new(event, Context::default())).await
}

fn start(
    variables: &[&'static Variable],
    configure: impl FnOnce() -> Result<Configuration, variables::Error>,
) -> ExitCode {
    if env::args_os().len() > 1 {
        println!(
            "A function for AWS Lambda. It takes no arguments: Lambda runs it, or `cargo lambda watch`.\n"
        );
        println!("{}", variables::help(variables));
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

fn run(configure: impl FnOnce() -> Result<Configuration, variables::Error>) -> Result<(), Error> {
    if let Some(variable) =
        REQUIRED_VARIABLES.into_iter().find(|name| env::var_os(name).is_none_or(|value| value.is_empty()))
    {
        let expected = "this is a function for AWS Lambda; to run it locally, use `make watch`";
        return Err(format!("{variable} is not set: {expected}").into());
    }
    let (log, endpoint) = configure()?;
    shared::log::init(log.level, io::stdout);
    if endpoint.is_some() {
        warn_of_former_names(&function_variables());
    }
    let max_concurrency = env::var(MAX_CONCURRENCY).ok().and_then(|max| max.parse().ok()).unwrap_or(1_u32);
    let mut runtime = if max_concurrency > 1 {
        tokio::runtime::Builder::new_multi_thread()
    } else {
        tokio::runtime::Builder::new_current_thread() // more threads would only slow the start
    };
    runtime.enable_all().build()?.block_on(async {
        let service = endpoint.map(|(endpoint, config)| Service {
            endpoint,
            app: App::start(&config.database, &config.requests),
            request_timeout: config.requests.timeout,
        });
        serve_events(Function { service, access: log.access, is_warm: AtomicBool::new(false) }).await
    })
}

/// Serves events until the process receives a signal. The database connection opens concurrently.
async fn serve_events(function: Function) -> Result<(), Error> {
    let function = Arc::new(function);
    let in_flight = InFlight::default();
    shutdown::register().await;
    let handler = {
        let function = Arc::clone(&function);
        service_fn(move |event| {
            let function = Arc::clone(&function);
            async move { function.respond(event).await }
        })
    };
    let counting = {
        let in_flight = in_flight.clone();
        MapFutureLayer::new(move |invocation| in_flight.counted(invocation))
    };
    tokio::select! {
        ended = Runtime::new(handler).layer(counting).run_concurrent() => ended,
        stopped = function.shut_down(&in_flight) => stopped,
    }
}

impl Function {
    async fn respond(&self, event: LambdaEvent<Box<RawValue>>) -> Result<Box<RawValue>, Error> {
        let (started, cold_start) = (Instant::now(), !self.is_warm.swap(true, Ordering::Relaxed));
        let endpoint = self.service.as_ref().map(|service| service.endpoint);
        let Event { request, origin, refusal } = Event::read(event.payload.get(), endpoint);
        let method = request.method().clone();
        let (problem, refused) = refusal.map(|refusal| (refusal.problem, refusal.why)).unzip();
        let mut outcome = self.outcome(request, problem, &event.context).await;
        let mut reply = reply::reply(&origin, &outcome.response).await?;
        let max_bytes = reply::max_bytes(&origin);
        if reply.get().len() > max_bytes {
            let cause = format!("the reply has {} bytes, and the limit is {max_bytes}", reply.get().len());
            let request = Event::read(event.payload.get(), endpoint).request; // the handler consumed the first one
            outcome = shared::reject(endpoint.as_slice(), request.into_parts().0, Problem::internal(cause));
            reply = reply::reply(&origin, &outcome.response).await?;
        }
        if self.access {
            let invocation = Invocation {
                function: &event.context.env_config.function_name,
                lambda_request_id: &event.context.request_id,
                cold_start,
                method: &method,
                refused: refused.as_deref(),
                elapsed: started.elapsed(),
            };
            let _ = log::write(io::stdout().lock(), &invocation, &outcome); // the reply matters more than the log
        }
        Ok(reply)
    }

    async fn outcome(
        &self,
        request: http::Request<Bytes>,
        problem: Option<Problem>,
        context: &Context,
    ) -> Outcome {
        match (problem, &self.service) {
            (Some(problem), service) => {
                let endpoint = service.as_ref().map(|service| service.endpoint);
                shared::reject(endpoint.as_slice(), request.into_parts().0, problem)
            }
            (None, Some(service)) => {
                let until_deadline = remaining_time(context)
                    .map_or(Duration::MAX, |remaining| remaining.saturating_sub(DEADLINE_MARGIN));
                let timeout = service.request_timeout.min(until_deadline);
                shared::respond(&service.app, &[service.endpoint], request, timeout).await
            }
            (None, None) => shared::respond_not_found(request),
        }
    }

    /// Waits for a signal, drains the requests in flight, and closes the database connection. Without the close,
    /// Postgres would keep the connection until it notices that the client is gone.
    async fn shut_down(&self, in_flight: &InFlight) -> Result<(), Error> {
        shutdown::shutdown_signal().await?;
        in_flight.drained(DRAIN_TIMEOUT).await;
        if let Some(service) = &self.service {
            service.app.close().await;
        }
        Ok(())
    }
}

/// Returns the time until the deadline of an invocation, or `None` without a deadline.
fn remaining_time(context: &Context) -> Option<Duration> {
    let has_deadline = context.deadline >= MIN_DEADLINE_MS;
    has_deadline.then(|| context.deadline().duration_since(SystemTime::now()).unwrap_or_default())
}
