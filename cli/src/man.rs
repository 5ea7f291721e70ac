//! Man pages: one for a program, one for each of its commands.

use std::fs;
use std::io;
use std::path::Path;

use clap::Command;
use clap::builder::Resettable;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};
use shared::variables::{Default, Variable};

use crate::{DATE, ExitCodes, LONG_VERSION};

/// Writes the man pages of a program and of each of its commands into a folder, which it creates. The program's page
/// lists the variables and the exit codes too.
///
/// # Errors
/// A file cannot be written.
pub fn write_man_pages(
    command: Command,
    variables: &[&Variable],
    exit_codes: &ExitCodes,
    folder: &Path,
) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    // The program's page has sections in place of the text after --help.
    let mut command = command
        .disable_help_subcommand(true)
        .after_help(Resettable::Reset)
        .after_long_help(Resettable::Reset);
    command.build();
    for subcommand in command.get_subcommands() {
        page(subcommand.clone(), None, folder)?;
    }
    page(command, Some((variables, exit_codes)), folder)
}

/// Writes a page.
fn page(command: Command, program: Option<(&[&Variable], &ExitCodes)>, folder: &Path) -> io::Result<()> {
    let name = command.get_display_name().unwrap_or(command.get_name()).to_owned();
    let man = Man::new(command)
        .title(name.to_uppercase())
        .date(DATE)
        .source(format!("Atelier {LONG_VERSION}"))
        .manual("Atelier");
    let mut text = Vec::new();
    man.render(&mut text)?;
    if let Some((variables, exit_codes)) = program {
        let mut sections = Roff::new();
        environment(&mut sections, variables);
        exit_status(&mut sections, exit_codes);
        sections.to_writer(&mut text)?;
    }
    fs::write(folder.join(format!("{name}.1")), text)
}

/// Adds the section on environment variables.
fn environment(section: &mut Roff, variables: &[&Variable]) {
    section.control("SH", ["ENVIRONMENT"]);
    for variable in variables {
        let (Default::Value(default) | Default::Described(default) | Default::Required(default)) =
            variable.default;
        let default = match variable.default {
            Default::Required(_) => default.to_owned(),
            _ => format!("default: {default}"),
        };
        let bounds = variable.kind.bounds().map(|bounds| format!("; {bounds}")).unwrap_or_default();
        section.control("TP", []);
        section.text([bold(variable.name), roman(format!(" [{default}{bounds}]"))]);
        section.text([roman(format!("{}.", variable.summary))]);
        for paragraph in variable.details.split("\n\n").filter(|paragraph| !paragraph.is_empty()) {
            section.control("IP", []);
            section.text([roman(paragraph)]);
        }
    }
}

/// Adds the section on exit codes.
fn exit_status(section: &mut Roff, codes: &ExitCodes) {
    section.control("SH", ["EXIT STATUS"]);
    for (code, meaning) in codes {
        section.control("TP", []);
        section.text([bold(code.to_string())]);
        section.text([roman(*meaning)]);
    }
}
