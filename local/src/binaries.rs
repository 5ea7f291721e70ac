//! Paths of the installed Postgres programs and of this workspace's programs.

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use crate::Error;

/// Returns the path of a program of this workspace. It is in the folder of the running program; for a test, in the
/// folder above.
///
/// # Errors
/// [`Error::NotBuilt`] if it is not there.
pub fn program(name: &str) -> Result<PathBuf, Error> {
    let own = env::current_exe().map_err(Error::io("find", Path::new("this program")))?;
    let mut folders = own.ancestors().skip(1);
    let folder = folders.find(|folder| !folder.ends_with("deps")).unwrap_or(&own);
    let found = folder.join(name);
    if found.is_file() { Ok(found) } else { Err(Error::NotBuilt(found)) }
}

/// A folder with `postgres`, `initdb` and the other programs of one Postgres version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binaries {
    directory: PathBuf,
}

impl Binaries {
    /// Finds a Postgres server. If `PG_BIN` is set, it searches only there. Otherwise it searches `PATH`, and then the
    /// folders of Debian and Homebrew, the newest version first.
    ///
    /// # Errors
    /// [`Error::NotFound`] or [`Error::PgBin`], which name the searched folders.
    pub fn find() -> Result<Self, Error> {
        Self::find_in(env::var_os("PG_BIN"), env::var_os("PATH").as_deref(), Path::new("/"))
    }

    /// Works as [`Binaries::find`], with the environment and the root folder as arguments.
    fn find_in(pg_bin: Option<OsString>, path: Option<&OsStr>, root: &Path) -> Result<Self, Error> {
        if let Some(directory) = pg_bin.filter(|value| !value.is_empty()).map(PathBuf::from) {
            return Self::at(&directory).ok_or(Error::PgBin(directory));
        }
        let on_path: Vec<PathBuf> = path.into_iter().flat_map(env::split_paths).collect();
        let installed = [
            versions(&root.join("usr/lib/postgresql"), "", "bin"),
            versions(&root.join("opt/homebrew/opt"), "postgresql", "bin"),
            versions(&root.join("usr/local/opt"), "postgresql", "bin"),
        ];
        on_path.iter().chain(installed.iter().flatten()).find_map(|directory| Self::at(directory)).ok_or_else(
            || Error::NotFound {
                what: "PostgreSQL server",
                programs: "`postgres` and `initdb`",
                searched: "PATH, /usr/lib/postgresql/*/bin, /opt/homebrew/opt/postgresql*/bin and \
                           /usr/local/opt/postgresql*/bin",
                install: "install one (Debian, Ubuntu: apt-get install postgresql; macOS: brew install postgresql@17) \
                          or set PG_BIN to its bin folder",
            },
        )
    }

    /// Returns the server whose `postgres` is in `directory`, directly or as a symbolic link. Links may point to
    /// several versions, so `initdb` must be in the folder of the real `postgres`.
    fn at(directory: &Path) -> Option<Self> {
        let postgres = directory.join("postgres").canonicalize().ok()?;
        let directory = postgres.parent()?.to_owned();
        (postgres.is_file() && directory.join("initdb").is_file()).then_some(Self { directory })
    }

    /// Returns the path of a program: `postgres`, `initdb`, `psql`.
    pub fn program(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

/// Returns the folders `parent/<prefix>*/<inner>`, the highest version first. A name without a number counts as the
/// newest.
fn versions(parent: &Path, prefix: &str, inner: &str) -> Vec<PathBuf> {
    let Ok(entries) = parent.read_dir() else { return Vec::new() };
    let mut found: Vec<(u32, PathBuf)> = entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let version = name.strip_prefix(prefix)?.trim_start_matches('@');
            let major =
                if version.is_empty() { u32::MAX } else { version.split('.').next()?.parse().ok()? };
            Some((major, entry.path().join(inner)))
        })
        .collect();
    found.sort();
    found.into_iter().rev().map(|(_, directory)| directory).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn server(root: &Path, folder: &str) -> PathBuf {
        let directory = root.canonicalize().unwrap().join(folder);
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("postgres"), "").unwrap();
        fs::write(directory.join("initdb"), "").unwrap();
        directory
    }

    #[test]
    fn pg_bin_takes_precedence_over_path_and_path_over_installed_servers() {
        let machine = tempfile::tempdir().unwrap();
        let root = machine.path();
        let chosen = server(root, "chosen");
        let on_path = server(root, "path");
        let installed = server(root, "usr/lib/postgresql/15/bin");
        let found = |pg_bin, path| Binaries::find_in(pg_bin, path, root).unwrap().directory;
        assert_eq!(found(Some(chosen.clone().into()), Some(on_path.as_os_str())), chosen);
        assert_eq!(found(None, Some(on_path.as_os_str())), on_path);
        assert_eq!(found(Some("".into()), None), installed, "an empty PG_BIN counts as unset");
    }

    #[test]
    fn the_newest_installed_version_is_found_by_number() {
        let machine = tempfile::tempdir().unwrap();
        for version in ["9.6", "15", "16"] {
            server(machine.path(), &format!("usr/lib/postgresql/{version}/bin"));
        }
        let found = Binaries::find_in(None, None, machine.path()).unwrap();
        assert!(found.directory.ends_with("16/bin"), "{found:?}");
    }

    #[test]
    fn a_homebrew_server_is_found() {
        let machine = tempfile::tempdir().unwrap();
        let expected = server(machine.path(), "opt/homebrew/opt/postgresql@17/bin");
        assert_eq!(Binaries::find_in(None, None, machine.path()).unwrap().directory, expected);
    }

    #[test]
    fn symbolic_links_are_followed_to_the_folder_that_has_initdb() {
        let machine = tempfile::tempdir().unwrap();
        let real = server(machine.path(), "real");
        let links = machine.path().join("links");
        fs::create_dir(&links).unwrap();
        symlink(real.join("postgres"), links.join("postgres")).unwrap();
        let found = Binaries::find_in(None, Some(links.as_os_str()), machine.path()).unwrap();
        assert_eq!(found.program("initdb"), real.join("initdb"));
    }

    #[test]
    fn the_error_names_the_searched_folders() {
        let machine = tempfile::tempdir().unwrap();
        let none = Binaries::find_in(None, None, machine.path()).unwrap_err().to_string();
        assert!(none.contains("/usr/lib/postgresql/*/bin") && none.contains("apt-get install"), "{none}");
        let wrong = Binaries::find_in(Some("/no/such".into()), None, machine.path()).unwrap_err().to_string();
        assert!(wrong.contains("invalid PG_BIN /no/such"), "{wrong}");
    }
}
