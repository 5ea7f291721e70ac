//! docs/configuration.md is generated from the code's descriptions of the variables, by `make configuration`.

#![allow(clippy::unwrap_used)] // in helpers too, which clippy does not take for tests

use std::fmt::Write as _;
use std::path::Path;

use shared::config::{HTTP_VARIABLES, LOG_VARIABLES, REQUEST_VARIABLES};
use shared::variables::{Default, ReadBy, Variable};
use shared::{cart, database};

const INTRODUCTION: &str = "\
# Configuration

<!-- Written by `make configuration` from the code. Do not edit this page. -->

Every program reads its environment once, at start. An invalid value stops it; the message names the variable, the value
and what was expected. `atelier-host` and `atelier-etl` then exit with code 2, and `atelier-host check` names all invalid
variables at once. A duration is a whole number with its unit, such as `1500ms` or `2s`. `atelier-host --help` lists
its variables too, as `man atelier-host` does. `atelier-etl` takes the first three variables as options too.

The loader accesses S3 as configured for the AWS SDK: `AWS_PROFILE`, `AWS_REGION`, `AWS_ENDPOINT_URL` and so on.
systemd sets `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID` for the host, which reports its state through them.
The load balancer has settings of its own: `deploy/nginx/render --help`.
";

fn page() -> String {
    let sections = [
        markdown("Database", &database::VARIABLES),
        markdown("Requests and cache", &REQUEST_VARIABLES),
        markdown("Carts", &cart::VARIABLES),
        markdown("HTTP server", &HTTP_VARIABLES),
        markdown("Log", &LOG_VARIABLES),
        markdown("Loader", &etl::function::OWN_VARIABLES),
    ];
    format!("{INTRODUCTION}\n{}", sections.join("\n"))
}

/// Returns a section of the page.
fn markdown(title: &str, variables: &[&Variable]) -> String {
    let mut text =
        format!("## {title}\n\n| variable | default | values | read by | sets |\n|---|---|---|---|---|\n");
    for variable in variables {
        let (Default::Value(default) | Default::Described(default) | Default::Required(default)) =
            variable.default;
        let (values, read_by) = (variable.kind.bounds().unwrap_or_default(), read_by(variable.read_by));
        let (name, summary) = (variable.name, variable.summary);
        let name = match details(variable) {
            Some(_) => format!("[`{name}`](#{})", name.to_lowercase()),
            None => format!("`{name}`"),
        };
        writeln!(text, "| {name} | {default} | {values} | {read_by} | {summary} |").unwrap();
    }
    for variable in variables {
        if let Some(details) = details(variable) {
            write!(text, "\n### {}\n\n{details}\n", variable.name).unwrap();
        }
    }
    text
}

fn read_by(programs: ReadBy) -> &'static str {
    match programs {
        ReadBy::All => "host, functions, loader",
        ReadBy::Daemons => "host, functions, loader function",
        ReadBy::Service => "host, functions",
        ReadBy::Host => "host",
        ReadBy::Loader => "loader",
        ReadBy::LoaderFunction => "loader function",
    }
}

/// Returns the text of a variable's own section, if there is more to say than its row does.
fn details(variable: &Variable) -> Option<String> {
    let former_name = variable
        .former_name
        .map(|name| format!("Its former name, `{name}`, is still read in this release, with a warning."));
    let details = [Some(variable.details.to_owned()).filter(|details| !details.is_empty()), former_name];
    let details: Vec<String> = details.into_iter().flatten().collect();
    (!details.is_empty()).then(|| details.join(" "))
}

#[test]
fn the_page_lists_every_variable_as_the_code_describes_it() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
    if std::env::var_os("WRITE_PAGE").is_some() {
        std::fs::write(&path, page()).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(written, page(), "docs/configuration.md is out of date: run `make configuration`");
}
