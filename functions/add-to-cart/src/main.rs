//! `add-to-cart` as a Lambda function.

use std::process::ExitCode;

fn main() -> ExitCode {
    lambda_adapter::serve(&add_to_cart::ENDPOINT)
}
