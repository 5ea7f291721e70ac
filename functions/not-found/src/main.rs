//! `not-found`: the Lambda function for every path that no endpoint has. It needs no database.

use std::process::ExitCode;

fn main() -> ExitCode {
    lambda_adapter::serve_not_found()
}
