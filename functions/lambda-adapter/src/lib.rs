//! The Lambda adapter: runs one endpoint as a function, behind API Gateway (an HTTP API or a REST API), a Function URL, an
//! Application Load Balancer, or VPC Lattice.
//!
//! ```text
//! event ──event──> request ──> shared::respond ──> response ──reply──> reply
//!                                   └──log──> a line, which is a metric too
//! ```
//! It is the only crate that knows Lambda. What an answer says is decided in `shared`.

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
use shared::variables::{self, Reader, Variable, environment};
use shared::{App, Endpoint, Outcome, Problem};

use crate::event::Event;
use crate::log::Invocation;
use crate::shutdown::InFlight;

/// How long before the function's own deadline a request is given up: time for the answer to be sent. At the
/// deadline Lambda ends the process, and the client gets an answer that is none of ours.
const DEADLINE_MARGIN: Duration = Duration::from_millis(250);

/// A deadline before this many milliseconds since 1970 is none: `cargo lambda watch` says ten minutes.
const EARLIEST_DEADLINE_MS: u64 = 24 * 60 * 60 * 1000;

/// How long requests under way may take after SIGTERM. Half a second after it Lambda ends the process, and the
/// connection to the database has to be closed by then.
const DRAIN_TIMEOUT: Duration = Duration::from_millis(200);

/// What Lambda, or what stands in for it, tells every function.
const REQUIRED_VARIABLES: [&str; 4] = [
    "AWS_LAMBDA_RUNTIME_API",
    "AWS_LAMBDA_FUNCTION_NAME",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
    "AWS_LAMBDA_FUNCTION_VERSION",
];

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

/// Runs an endpoint as a function until Lambda ends it. It is the whole of a `main`; the exit code is its result.
#[must_use]
pub fn serve(endpoint: &'static Endpoint) -> ExitCode {
    start(&function_variables(), || {
        let config = FunctionConfig::from_environment()?;
        Ok((config.log.clone(), Some((endpoint, config))))
    })
}

/// Runs a function for the paths that no endpoint has. It needs no database.
#[must_use]
pub fn serve_not_found() -> ExitCode {
    start(&LOG_VARIABLES, || Ok((LogConfig::read(&Reader::new(&environment))?, None)))
}

/// A function's configuration, and the endpoint it serves if there is one.
type Configured = (LogConfig, Option<(&'static Endpoint, FunctionConfig)>);

fn start(
    variables: &[&'static Variable],
    configure: impl FnOnce() -> Result<Configured, variables::Error>,
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

fn run(configure: impl FnOnce() -> Result<Configured, variables::Error>) -> Result<(), Error> {
    if let Some(variable) =
        REQUIRED_VARIABLES.into_iter().find(|name| env::var_os(name).is_none_or(|value| value.is_empty()))
    {
        let expected = "this is a function for AWS Lambda, which sets it, as `make watch` does on a laptop";
        return Err(format!("{variable} is not set: {expected}").into());
    }
    let (log, endpoint) = configure()?;
    shared::log::init(log.level, io::stdout);
    if let Some((_, config)) = &endpoint {
        warn_of_former_names(&config.former_names);
    }
    let most_at_once = env::var(MAX_CONCURRENCY).ok().and_then(|most| most.parse().ok()).unwrap_or(1_u32);
    let mut runtime = if most_at_once > 1 {
        tokio::runtime::Builder::new_multi_thread()
    } else {
        tokio::runtime::Builder::new_current_thread() // more threads would only have to be started
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

/// Answers events until the process is told to end. The connection to the database comes about meanwhile.
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
        left = function.shut_down(&in_flight) => left,
    }
}

impl Function {
    async fn respond(&self, event: LambdaEvent<Box<RawValue>>) -> Result<Box<RawValue>, Error> {
        let (began, cold_start) = (Instant::now(), !self.is_warm.swap(true, Ordering::Relaxed));
        let endpoint = self.service.as_ref().map(|service| service.endpoint);
        let Event { request, origin, refusal } = Event::read(event.payload.get(), endpoint);
        let method = request.method().clone();
        let (problem, refused) = refusal.map(|refusal| (refusal.problem, refusal.why)).unzip();
        let mut answer = self.answer(request, problem, &event.context).await;
        let mut reply = reply::reply(&origin, &answer.response).await?;
        let max_bytes = reply::max_bytes(&origin);
        if reply.get().len() > max_bytes {
            let cause =
                format!("the reply has {} bytes, and its receiver takes {max_bytes}", reply.get().len());
            let request = Event::read(event.payload.get(), endpoint).request; // the first one is used up
            answer = shared::reject(endpoint.as_slice(), request.into_parts().0, Problem::internal(cause));
            reply = reply::reply(&origin, &answer.response).await?;
        }
        if self.access {
            let invocation = Invocation {
                function: &event.context.env_config.function_name,
                lambda_request_id: &event.context.request_id,
                cold_start,
                method: &method,
                refused: refused.as_deref(),
                elapsed: began.elapsed(),
            };
            let _ = log::write(io::stdout().lock(), &invocation, &answer); // a log that is gone is no reason not to answer
        }
        Ok(reply)
    }

    async fn answer(
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
                let left = remaining_time(context)
                    .map_or(Duration::MAX, |left| left.saturating_sub(DEADLINE_MARGIN));
                let within = service.request_timeout.min(left);
                shared::respond(&service.app, &[service.endpoint], request, within).await
            }
            (None, None) => shared::respond_not_found(request),
        }
    }

    /// Waits to be told to end, then lets what is under way end and says goodbye to the database, which would
    /// otherwise have to find out that nobody is there.
    async fn shut_down(&self, in_flight: &InFlight) -> Result<(), Error> {
        shutdown::requested().await?;
        in_flight.drained(DRAIN_TIMEOUT).await;
        if let Some(service) = &self.service {
            service.app.close().await;
        }
        Ok(())
    }
}

/// How long an invocation may still take; none if it is not told.
fn remaining_time(context: &Context) -> Option<Duration> {
    let is_told = context.deadline >= EARLIEST_DEADLINE_MS;
    is_told.then(|| context.deadline().duration_since(SystemTime::now()).unwrap_or_default())
}
