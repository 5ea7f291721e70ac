//! Descriptions of variables, for `--help` and for docs/configuration.md.

use std::fmt::Write as _;

use super::{Default, Kind, MIN_DURATION, ReadBy, Variable};

/// How wide the text of `--help` is.
const MAX_COLUMNS: usize = 100;

/// Returns the text of `--help` for these variables.
#[must_use]
pub fn help(variables: &[&Variable]) -> String {
    let mut text =
        String::from("Environment variables (a duration is a whole number with its unit: 1500ms, 2s):\n");
    for variable in variables {
        let _ = writeln!(text, "\n  {} [{}]", variable.name, conditions(variable));
        let details = if variable.details.is_empty() { "" } else { " " };
        let described = format!("{}.{details}{}", variable.summary, variable.details);
        let mut column = MAX_COLUMNS;
        for word in described.split(' ') {
            if column + 1 + word.chars().count() > MAX_COLUMNS {
                text.push_str(if text.ends_with('\n') { "     " } else { "\n     " });
                column = 5;
            }
            let _ = write!(text, " {word}");
            column += 1 + word.chars().count();
        }
        text.push('\n');
    }
    text
}

/// Returns a section of docs/configuration.md.
#[must_use]
pub fn markdown(title: &str, variables: &[&Variable]) -> String {
    let mut text =
        format!("## {title}\n\n| variable | default | values | read by | sets |\n|---|---|---|---|---|\n");
    for variable in variables {
        let (values, read_by) = (values(variable).unwrap_or_default(), read_by(variable.read_by));
        let (name, default, summary) = (variable.name, default(variable), variable.summary);
        let name = match details(variable) {
            Some(_) => format!("[`{name}`](#{})", name.to_lowercase()),
            None => format!("`{name}`"),
        };
        let _ = writeln!(text, "| {name} | {default} | {values} | {read_by} | {summary} |");
    }
    for variable in variables {
        if let Some(details) = details(variable) {
            let _ = write!(text, "\n### {}\n\n{details}\n", variable.name);
        }
    }
    text
}

fn conditions(variable: &Variable) -> String {
    let described = [
        Some(default(variable)).map(|default| match variable.default {
            Default::Required | Default::RequiredWith(_) => default,
            _ => format!("default: {default}"),
        }),
        values(variable),
        (variable.read_by == ReadBy::Host).then(|| "host only".to_owned()),
        variable.former_name.map(|name| format!("formerly {name}")),
    ];
    described.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

fn default(variable: &Variable) -> String {
    match variable.default {
        Default::Value(value) => value.to_owned(),
        Default::Described(described) => described.to_owned(),
        Default::Required => "required".to_owned(),
        Default::RequiredWith(condition) => format!("required with {condition}"),
    }
}

/// Returns the bounds or the words of a kind; none for text, which the summary describes.
fn values(variable: &Variable) -> Option<String> {
    match variable.kind {
        Kind::Number { min, max } => Some(format!("{min} to {max}")),
        Kind::Duration { max } => Some(format!("{}ms to {}s", MIN_DURATION.as_millis(), max.as_secs())),
        Kind::Bytes { max_gib } => Some(format!("up to {max_gib}GiB")),
        Kind::Choice(words) => Some(words.join(", ")),
        Kind::Text(_) => None,
    }
}

fn read_by(programs: ReadBy) -> &'static str {
    match programs {
        ReadBy::All => "host, functions, loader",
        ReadBy::Daemons => "host, functions, loader function",
        ReadBy::Service => "host, functions",
        ReadBy::Host => "host",
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
