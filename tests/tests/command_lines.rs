//! What the command lines of all programs have in common: version, exit codes, completions, man pages, colour.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // in helpers too, which clippy does not take for tests

mod support;

use std::path::Path;
use std::process::{Command, Output, Stdio};

use shared::config::host_variables;
use support::root;

const PROGRAMS: [&str; 4] = ["atelier-host", "atelier-etl", "atelier-local", "atelier-bench"];

/// The programs that operators install.
const INSTALLED: [&str; 2] = ["atelier-host", "atelier-etl"];

fn command(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(local::program(program).unwrap());
    command.args(arguments).env_clear().stdin(Stdio::null());
    command
}

fn output(program: &str, arguments: &[&str]) -> Output {
    command(program, arguments).output().unwrap()
}

/// Returns the standard output of a successful run.
fn stdout(program: &str, arguments: &[&str]) -> String {
    let output = output(program, arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn each_program_states_its_version_commit_and_date() {
    for program in PROGRAMS {
        let version = stdout(program, &["--version"]);
        let (_, commit) = version.split_once('(').unwrap();
        let show = ["show", "--no-patch", "--abbrev=12", "--format=%h, %cs", &commit[..12]];
        let shown = Command::new("git").args(show).current_dir(root()).output().unwrap();
        let shown = String::from_utf8(shown.stdout).unwrap();
        assert_eq!(version, format!("{program} {} ({})\n", env!("CARGO_PKG_VERSION"), shown.trim()));
    }
}

#[test]
fn each_help_lists_the_exit_codes_and_wrong_arguments_have_the_code_2() {
    for program in PROGRAMS {
        let help = stdout(program, &["--help"]);
        let (_, codes) = help.split_once("\nExit codes:\n").unwrap_or_else(|| panic!("{help}"));
        for code in ["  0  ", "\n  1  ", "\n  2  wrong arguments"] {
            assert!(codes.contains(code), "{program}: {codes}");
        }
        let wrong = output(program, &["--no-such-option"]);
        assert_eq!(wrong.status.code(), Some(2), "{program}");
        assert!(String::from_utf8(wrong.stderr).unwrap().contains("--help"));
    }
    assert!(stdout("atelier-etl", &["--help"]).contains("\n  3  a load with too many rejected rows"));
}

#[test]
fn an_invalid_variable_has_the_exit_code_2_and_a_failure_1() {
    let run = |program, arguments: &[&str], url| {
        command(program, arguments).env("DATABASE_URL", url).output().unwrap().status.code()
    };
    assert_eq!(run("atelier-host", &[], "nonsense"), Some(2));
    for arguments in [&["status"][..], &["load", "tests"], &["migrate"], &["prune"], &["rollback"]] {
        let arguments = [arguments, &["--database-auth", "nonsense"]].concat();
        assert_eq!(run("atelier-etl", &arguments, "host=/nowhere"), Some(2), "{arguments:?}");
    }
    assert_eq!(run("atelier-etl", &["status"], "host=/nowhere user=x"), Some(1));
    assert_eq!(run("atelier-etl", &["load", "nowhere"], "host=/nowhere user=x"), Some(1));
}

/// Returns what bash offers for the last of these words.
fn completed(words: &[&str]) -> Vec<String> {
    let (program, last) = (words[0], words.len() - 1);
    let ask = format!(
        "{}\nCOMP_WORDS=({}) COMP_CWORD={last}\n\"$(complete -p {program} | sed 's/.* -F \\([^ ]*\\) .*/\\1/')\" {program} '{}' '{}'
         printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        stdout(program, &["completions", "bash"]),
        words.join(" "),
        words[last],
        words[last - 1],
    );
    let output = Command::new("bash").args(["-c", &ask]).output().unwrap();
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn completion_scripts_complete_commands_options_and_values() {
    assert_eq!(completed(&["atelier-etl", "roll"]), ["rollback"]);
    assert_eq!(completed(&["atelier-etl", "load", "--max"]), ["--max-rejects"]);
    assert_eq!(completed(&["atelier-host", "--ver"]), ["--version"]);
    assert_eq!(completed(&["atelier-host", "completions", "fi"]), ["fish"]);
    for shell in ["zsh", "fish", "elvish", "powershell"] {
        for program in INSTALLED {
            assert!(stdout(program, &["completions", shell]).contains("man-pages"), "{program}, {shell}");
        }
    }
}

#[test]
fn the_man_pages_describe_each_command_variable_and_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let read = |page: &str| std::fs::read_to_string(folder.path().join(page)).unwrap();
    for program in INSTALLED {
        stdout(program, &["man-pages", folder.path().join("new").to_str().unwrap()]);
        std::fs::rename(folder.path().join("new"), folder.path().join(program)).unwrap();
        let page = read(&format!("{program}/{program}.1"));
        for section in ["NAME", "SYNOPSIS", "ENVIRONMENT", "\"EXIT STATUS\""] {
            assert_eq!(page.matches(&format!("\n.SH {section}\n")).count(), 1, "{program}: {section}");
        }
        assert!(
            page.contains(&stdout(program, &["--version"])[program.len() + 1..].trim().replace('-', "\\-"))
        );
    }
    let page = read("atelier-host/atelier-host.1");
    for variable in host_variables() {
        assert!(page.contains(&format!("\n\\fB{}\\fR [", variable.name)), "{}", variable.name);
    }
    let page = read("atelier-etl/atelier-etl.1");
    assert!(page.contains("\\fBDATABASE_DISK_BYTES\\fR") && !page.contains("SHUTDOWN_GRACE"));
    assert!(read("atelier-etl/atelier-etl-load.1").contains("\\-\\-max\\-rejects"));
    let unwritable = output("atelier-host", &["man-pages", "/proc/man"]);
    let error = String::from_utf8(unwritable.stderr).unwrap();
    assert!(error.starts_with("error: cannot write the man pages to /proc/man: "), "{error}");
}

/// Returns what a command line writes to a terminal.
#[cfg(target_os = "linux")]
fn on_a_terminal(program: &str, arguments: &str, variables: &[(&str, &str)]) -> String {
    let program = local::program(program).unwrap();
    let mut script = Command::new("script");
    script.args([
        "--quiet",
        "--return",
        "--command",
        &format!("{} {arguments}", program.display()),
        "/dev/null",
    ]);
    script.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("TERM", "xterm");
    let output = script.envs(variables.iter().copied()).stdin(Stdio::null()).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[cfg(target_os = "linux")]
#[test]
fn help_and_errors_have_colour_on_a_terminal_only_and_not_with_no_color() {
    let is_coloured = |text: &str| text.contains('\u{1b}');
    let url = "host=/nowhere user=x";
    for (program, arguments) in [
        ("atelier-host", "--help"),
        ("atelier-host", "--no-such-option"),
        ("atelier-host", "man-pages /proc/man"),
        ("atelier-etl", "load --help"),
        ("atelier-etl", "load nowhere"),
        ("atelier-local", "url --dir"),
        ("atelier-bench", "nothing"),
    ] {
        let terminal = |extra| on_a_terminal(program, arguments, &[("DATABASE_URL", url), extra]);
        assert!(is_coloured(&terminal(("IGNORED", ""))), "{program} {arguments}");
        for extra in [("NO_COLOR", "1"), ("TERM", "dumb")] {
            let text = terminal(extra);
            assert!(text.len() > 20 && !is_coloured(&text), "{program} {arguments}: {text}");
        }
        let arguments: Vec<&str> = arguments.split(' ').collect();
        let piped =
            command(program, &arguments).env("TERM", "xterm").env("DATABASE_URL", url).output().unwrap();
        let text = String::from_utf8([piped.stdout, piped.stderr].concat()).unwrap();
        assert!(text.len() > 20 && !is_coloured(&text), "{program} {arguments:?}: {text}");
    }
}

/// An escape sequence in the name of a file must not reach a terminal.
#[cfg(target_os = "linux")]
#[test]
fn an_error_shows_the_control_characters_of_an_argument_as_text() {
    let text = on_a_terminal(
        "atelier-etl",
        "load \"$(printf 'no\\033[2Jwhere')\"",
        &[("DATABASE_URL", "host=/nowhere user=x")],
    );
    assert!(text.contains("where") && !text.contains("\u{1b}[2J"), "{text}");
}

/// Otherwise each commit would change the package of each function, and a deployment would replace them all.
#[test]
fn functions_contain_no_commit_and_no_library_of_command_lines() {
    let contains = |program: &str, text: &str| {
        let mut grep = Command::new("grep");
        grep.args(["--quiet", "--text", "--fixed-strings", "--regexp", text]);
        let status = grep.arg(local::program(program).unwrap()).status().unwrap();
        assert!(status.code().is_some_and(|code| code < 2));
        status.success()
    };
    let version = stdout("atelier-etl", &["--version"]);
    let (_, commit) = version.split_once('(').unwrap();
    let commit = &commit[..12];
    assert!(contains("atelier-etl", commit) && contains("atelier-etl", "clap_complete"), "{version}");
    assert!(contains("atelier-host", "atelier_cache_hits"), "the metrics of a host");
    for function in ["etl", "get-product", "add-to-cart", "not-found"] {
        for text in [commit, "atelier_cache_hits", "clap_complete"] {
            assert!(!contains(function, text), "{function}: {text}");
        }
    }
}

#[test]
fn archives_of_releases_know_their_commit() {
    let attributes = std::fs::read_to_string(root().join(".gitattributes")).unwrap();
    assert!(attributes.contains("\ncli/revision.txt export-subst\n"), "{attributes}");
    let placeholder = std::fs::read_to_string(Path::new(&root()).join("cli/revision.txt")).unwrap();
    assert_eq!(placeholder, "$Format:%H %cs$\n");
}
