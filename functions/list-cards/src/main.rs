//! `list-cards` as a Lambda function.

use std::process::ExitCode;

fn main() -> ExitCode {
    lambda_adapter::serve(&list_cards::ENDPOINT)
}
