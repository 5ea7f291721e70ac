//! `not-found`: the Lambda function for every path without an endpoint. It needs no database.

use std::process::ExitCode;

fn main() -> ExitCode {
    lambda_adapter::serve_not_found()
}
