//! `remove-from-cart` as a Lambda function.

use std::process::ExitCode;

fn main() -> ExitCode {
    lambda_adapter::serve(&remove_from_cart::ENDPOINT)
}
