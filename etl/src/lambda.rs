//! `etl`: the loader as a function for AWS Lambda, which events of S3 call, by way of a queue.

use std::process::ExitCode;
use std::time::Duration;

use etl::function::{Config, Function, Metric, VARIABLES};
use etl::s3::S3;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::value::RawValue;

/// How long an invocation may take where none is told: the longest that Lambda allows.
const NO_DEADLINE: Duration = Duration::from_secs(900);

fn main() -> ExitCode {
    if std::env::args_os().len() > 1 {
        println!(
            "A function for AWS Lambda, which loads the datasets that events of S3 tell of. It takes no arguments."
        );
        println!("On a command line, use atelier-etl.\n\n{VARIABLES}");
        return ExitCode::SUCCESS;
    }
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Error> {
    let name = std::env::var("AWS_LAMBDA_FUNCTION_NAME").map_err(|_| {
        "AWS_LAMBDA_FUNCTION_NAME is not set: this is a function for AWS Lambda, which sets it, as `make watch` does on a laptop"
    })?;
    let config = Config::from_environment()?;
    shared::log::take_over(config.log.level, std::io::stdout);
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let count = move |metric: Metric| metric.write(std::io::stdout().lock(), &name);
        let function = Function::new(&config, S3::from_environment().await, count);
        let handler = |event: LambdaEvent<Box<RawValue>>| {
            let function = &function;
            async move {
                let time = lambda::time_left(&event.context).unwrap_or(NO_DEADLINE);
                let answer = function.handle(event.payload.get(), time).await;
                answer.inspect_err(|error| tracing::error!("{error}")).map_err(Error::from)
            }
        };
        lambda_runtime::run(service_fn(handler)).await
    })
}
