//! The build script finds the commit in each kind of source tree, and does not run again without a new commit.

#![allow(clippy::unwrap_used, clippy::panic)] // in helpers too, which clippy does not take for tests

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

const MANIFEST: &str = "[package]\nname = \"cli\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[workspace]\n";
const MAIN: &str = "fn main() { println!(\"{}\", env!(\"ATELIER_BUILD_VERSION\")); }";

/// Returns a folder with a package that has this crate's build script, below its root as in the project.
fn source_tree() -> TempDir {
    let root = tempfile::tempdir().unwrap();
    let package = root.path().join("cli");
    std::fs::create_dir_all(package.join("src")).unwrap();
    std::fs::write(package.join("Cargo.toml"), MANIFEST).unwrap();
    std::fs::write(package.join("src/main.rs"), MAIN).unwrap();
    std::fs::write(root.path().join(".gitignore"), "target\nCargo.lock\n").unwrap();
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    for file in ["build.rs", "revision.txt"] {
        std::fs::copy(own.join(file), package.join(file)).unwrap();
    }
    std::fs::copy(own.join("../.gitattributes"), root.path().join(".gitattributes")).unwrap();
    root
}

fn git(root: &Path, arguments: &[&str]) -> String {
    let mut git = Command::new("git");
    git.args(["-c", "user.name=Test", "-c", "user.email=test@example.com", "-c", "commit.gpgsign=false"]);
    let output = git.args(arguments).current_dir(root).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn commit(root: &Path) {
    git(root, &["commit", "--quiet", "--allow-empty", "--message", "Change"]);
}

/// Returns the version of the commit of a repository, as git knows it.
fn expected(root: &Path) -> String {
    format!("0.1.0 ({})", git(root, &["log", "-1", "--abbrev=12", "--format=%h, %cs"]))
}

/// Builds and runs the program. Returns its output, and whether the build script or the compiler ran.
fn build(root: &Path, revision: Option<&str>) -> (Result<String, String>, bool) {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["run", "--offline", "--verbose"]).current_dir(root.join("cli"));
    cargo.env("CARGO_TARGET_DIR", root.join("target")).env_remove("ATELIER_REVISION").env_remove("RUSTFLAGS");
    cargo.envs(revision.map(|revision| ("ATELIER_REVISION", revision)));
    let output = cargo.output().unwrap();
    let (stdout, stderr) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    let is_built = stderr.contains("Compiling cli") || stderr.contains("Dirty cli");
    (if output.status.success() { Ok(stdout.trim().to_owned()) } else { Err(stderr) }, is_built)
}

fn version(root: &Path) -> String {
    build(root, None).0.unwrap()
}

fn repository() -> TempDir {
    let root = source_tree();
    git(root.path(), &["init", "--quiet"]);
    git(root.path(), &["add", "."]);
    commit(root.path());
    root
}

#[test]
fn a_build_of_a_repository_has_its_commit_and_is_repeated_for_a_new_commit_only() {
    let repository = repository();
    let root = repository.path();
    assert_eq!(build(root, None), (Ok(expected(root)), true));
    assert_eq!(build(root, None), (Ok(expected(root)), false));
    for _ in 0..2 {
        commit(root);
        assert_eq!(build(root, None), (Ok(expected(root)), true));
    }
    git(root, &["pack-refs", "--all"]); // the branch has no file of its own until the next commit
    assert_eq!(version(root), expected(root));
    assert_eq!(build(root, None), (Ok(expected(root)), false));
    commit(root);
    assert_eq!(build(root, None), (Ok(expected(root)), true));
    git(root, &["checkout", "--quiet", "--detach", "HEAD^"]);
    assert_eq!(build(root, None), (Ok(expected(root)), true));
}

#[test]
fn a_build_of_a_worktree_has_the_commit_of_the_worktree() {
    let repository = repository();
    let folder = tempfile::tempdir().unwrap();
    let worktree: PathBuf = folder.path().join("worktree");
    git(repository.path(), &["worktree", "add", "--quiet", "-b", "other/branch", worktree.to_str().unwrap()]);
    for _ in 0..2 {
        commit(&worktree);
        assert_ne!(expected(&worktree), expected(repository.path()));
        assert_eq!(build(&worktree, None), (Ok(expected(&worktree)), true));
        commit(repository.path());
        assert_eq!(build(&worktree, None), (Ok(expected(&worktree)), false));
    }
}

#[test]
fn a_build_of_an_archive_has_its_commit_even_inside_another_repository() {
    let (repository, other) = (repository(), repository());
    let inside = other.path().join("target/archive");
    std::fs::create_dir_all(&inside).unwrap();
    let archive = other.path().join("target/archive.tar");
    git(repository.path(), &["archive", "--output", archive.to_str().unwrap(), "HEAD"]);
    let extracted = Command::new("tar").arg("-xf").arg(&archive).current_dir(&inside).status().unwrap();
    assert!(extracted.success());
    assert!(inside.join("cli/build.rs").is_file());
    assert_eq!(version(&inside), expected(repository.path()));
}

#[test]
fn a_build_without_a_repository_has_the_version_and_what_the_variable_says() {
    let tree = source_tree();
    let root = tree.path();
    let built = |revision| build(root, revision).0;
    assert_eq!(built(None).unwrap(), "0.1.0");
    assert_eq!(
        built(Some("0123456789abcdef0123456789abcdef01234567 2026-11-27")).unwrap(),
        "0.1.0 (0123456789ab, 2026-11-27)"
    );
    assert_eq!(built(Some("r7")).unwrap(), "0.1.0 (r7)");
    assert_eq!(built(Some("")).unwrap(), "0.1.0");
    let error = built(Some("a/b")).unwrap_err();
    assert!(error.contains("ATELIER_REVISION=a/b: expected a commit and its date, as in "), "{error}");
}
