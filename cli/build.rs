//! Finds the commit of this build, for `--version`: the variable `ATELIER_REVISION`, what `git archive` wrote into
//! `revision.txt`, or the repository. Without any of them, programs state their version alone.
//!
//! A build depends on no file that changes more often than the commit, so it is not repeated without a reason.

use std::env;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The variable with a commit and, after a blank, its date. An empty one means that the commit is unknown.
const VARIABLE: &str = "ATELIER_REVISION";

/// The digits of a commit that are shown.
const DIGITS: usize = 12;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-env-changed={VARIABLE}");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=revision.txt");
    let folder = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let described = match env::var(VARIABLE) {
        Ok(value) => value,
        Err(_) => archived(&folder)?.or_else(|| committed(&folder)).unwrap_or_default(),
    };
    let mut words = described.split_whitespace();
    let (commit, date) = (words.next().unwrap_or_default(), words.next());
    let is_valid = |word: &str| word.chars().all(|c| c.is_ascii_alphanumeric() || ".-_+".contains(c));
    if words.next().is_some() || !is_valid(commit) || !date.is_none_or(is_valid) {
        return Err(format!(
            "{VARIABLE}={described}: expected a commit and its date, as in \"0123456789ab 2026-11-27\""
        )
        .into());
    }
    let is_hash = commit.len() >= DIGITS && commit.chars().all(|c| c.is_ascii_hexdigit());
    let commit = if is_hash { &commit[..DIGITS] } else { commit };
    let suffix = match (commit, date) {
        ("", _) => String::new(),
        (commit, None) => format!(" ({commit})"),
        (commit, Some(date)) => format!(" ({commit}, {date})"),
    };
    println!("cargo::rustc-env=ATELIER_BUILD_REVISION={commit}");
    println!("cargo::rustc-env=ATELIER_BUILD_DATE={}", date.unwrap_or_default());
    println!("cargo::rustc-env=ATELIER_BUILD_VERSION={}{suffix}", env::var("CARGO_PKG_VERSION")?);
    Ok(())
}

/// Returns what `git archive` wrote; none in a repository.
fn archived(folder: &Path) -> Result<Option<String>, std::io::Error> {
    let text = fs::read_to_string(folder.join("revision.txt"))?;
    Ok(Some(text).filter(|text| !text.starts_with("$Format")))
}

/// Returns the commit and date of the repository of this workspace. A repository around it is another one.
fn committed(folder: &Path) -> Option<String> {
    let root = folder.parent()?;
    if !root.join(".git").exists() {
        return None;
    }
    let git = |arguments: &[&str]| {
        let mut git = Command::new("git");
        git.arg("-C").arg(root).args(arguments).env_remove("GIT_DIR").env_remove("GIT_WORK_TREE");
        let output = git.output().ok().filter(|output| output.status.success())?;
        Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
    };
    let path =
        |name: &str| git(&["rev-parse", "--path-format=absolute", "--git-path", name]).map(PathBuf::from);
    let mut watched = vec![path("HEAD")?];
    if let Some(branch) = git(&["symbolic-ref", "--quiet", "HEAD"]) {
        // A branch has a file of its own, or a line in packed-refs until the next commit creates the file.
        let file = path(&branch)?;
        match file.is_file() {
            true => watched.push(file),
            false => {
                watched.extend(path("packed-refs").filter(|packed| packed.is_file()));
                watched.extend(file.ancestors().find(|folder| folder.is_dir()).map(Path::to_owned));
            }
        }
    }
    for file in watched {
        println!("cargo::rerun-if-changed={}", file.display());
    }
    git(&["log", "-1", "--no-show-signature", "--format=%H %cs"])
}
