//! `get-cart-lines` as a Lambda function.

use std::process::ExitCode;

fn main() -> ExitCode {
    lambda_adapter::serve(&get_cart_lines::ENDPOINT)
}
