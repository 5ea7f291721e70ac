//! `clear-cart` as a Lambda function.

use std::process::ExitCode;

fn main() -> ExitCode {
    lambda_adapter::serve(&clear_cart::ENDPOINT)
}
