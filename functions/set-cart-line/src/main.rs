//! `set-cart-line` as a Lambda function.

use std::process::ExitCode;

fn main() -> ExitCode {
    lambda_adapter::serve(&set_cart_line::ENDPOINT)
}
