//! `etl`: the loader as an AWS Lambda function, which receives S3 events through an SQS queue.

use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use etl::function::{Config, FORMER_VARIABLES, Function, Metric, variables};
use etl::s3::S3;
use lambda_runtime::{Context, Error, LambdaEvent, service_fn};
use serde_json::value::RawValue;
use shared::variables::{environment, help};

/// The time limit of an invocation without a deadline: Lambda's maximum.
const MAX_INVOCATION: Duration = Duration::from_secs(900);

/// The earliest valid deadline, in milliseconds since 1970: `cargo lambda watch` sends placeholders below it.
const MIN_DEADLINE_MS: u64 = 24 * 60 * 60 * 1000;

fn main() -> ExitCode {
    if std::env::args_os().len() > 1 {
        println!(
            "An AWS Lambda function that loads datasets when files arrive in S3. It takes no arguments."
        );
        println!("On the command line, use atelier-etl.\n\n{}", help(&variables()));
        println!(
            "\nAccess to S3 is configured as for the AWS SDK: AWS_REGION, AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, ..."
        );
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
    let config = Config::from_lookup(&environment)?;
    shared::log::init(config.log_level, std::io::stdout);
    shared::config::warn_of_former_names(&variables());
    for variable in FORMER_VARIABLES.into_iter().filter(|variable| environment(variable).is_some()) {
        tracing::warn!(variable, "variable has no effect: a load resumes by file");
    }
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let count = move |metric: Metric| metric.write(std::io::stdout().lock(), &name);
        let function = Function::new(&config, S3::from_environment().await, count);
        let handler = |event: LambdaEvent<Box<RawValue>>| {
            let function = &function;
            async move {
                let time = remaining_time(&event.context);
                let response = function.handle(event.payload.get(), time).await;
                response.inspect_err(|error| tracing::error!(%error, "event failed")).map_err(Error::from)
            }
        };
        lambda_runtime::run(service_fn(handler)).await
    })
}

/// Returns the time that is left for an invocation.
fn remaining_time(context: &Context) -> Duration {
    if context.deadline < MIN_DEADLINE_MS {
        return MAX_INVOCATION;
    }
    context.deadline().duration_since(SystemTime::now()).unwrap_or_default()
}
