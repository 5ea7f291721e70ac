//! `list-products` as a Lambda function.

use std::process::ExitCode;

fn main() -> ExitCode {
    lambda::serve(&list_products::ENDPOINT)
}
