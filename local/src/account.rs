//! The user that Postgres runs as, and the data directory that follows from it.
//!
//! Postgres refuses to run as root. Started by root, it runs as `postgres` where that user exists, else as `nobody`.

use std::fs::{DirBuilder, OpenOptions, symlink_metadata};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Error;

/// The user that a cluster's files and processes belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    uid: u32,
    gid: u32,
    /// Whether it differs from the user of this process.
    switched: bool,
}

impl Account {
    /// Returns the current user; for root, a user without privileges.
    ///
    /// # Errors
    /// [`Error::NoAccount`] for root on a machine without `postgres` and `nobody`.
    pub fn unprivileged() -> Result<Self, Error> {
        let present = Self { uid: id("-u", None)?, gid: id("-g", None)?, switched: false };
        if present.uid != 0 {
            return Ok(present);
        }
        for name in ["postgres", "nobody"] {
            if let (Ok(uid), Ok(gid)) = (id("-u", Some(name)), id("-g", Some(name))) {
                return Ok(Self { uid, gid, switched: true });
            }
        }
        Err(Error::NoAccount)
    }

    /// Returns whether the server runs as another user than this process.
    pub fn switched(self) -> bool {
        self.switched
    }

    /// Returns the ids of the user and of the group.
    pub fn ids(self) -> (u32, u32) {
        (self.uid, self.gid)
    }

    /// Makes `command` run as this account.
    pub fn apply(self, command: &mut Command) {
        if self.switched {
            command.uid(self.uid).gid(self.gid);
        }
    }

    /// Makes this account the owner of a file or directory.
    pub fn own(self, path: &Path) -> Result<(), Error> {
        if self.switched {
            chown(path, Some(self.uid), Some(self.gid)).map_err(Error::io("change the owner of", path))?;
        }
        Ok(())
    }

    /// Writes a file that only this account can read.
    pub fn private_file(self, path: &Path, content: &str) -> Result<(), Error> {
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(path);
        let written = file.and_then(|mut file| file.write_all(content.as_bytes()));
        written.map_err(Error::io("write", path))?;
        self.own(path)
    }

    /// Ensures that `path` is a directory that only this account can enter. In a shared folder, another user may have
    /// created it first.
    pub fn private_directory(self, path: &Path) -> Result<(), Error> {
        match DirBuilder::new().mode(0o700).create(path) {
            Ok(()) => self.own(path),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                let found = symlink_metadata(path).map_err(Error::io("read the attributes of", path))?;
                let private = found.is_dir() && found.uid() == self.uid && found.mode() & 0o077 == 0;
                if private { Ok(()) } else { Err(Error::NotOurs(path.to_owned())) }
            }
            Err(error) => Err(Error::io("create the directory", path)(error)),
        }
    }
}

/// Runs `id`, which knows all sources of users on the machine.
fn id(what: &str, user: Option<&str>) -> Result<u32, Error> {
    let path = Path::new("id");
    let output = Command::new(path).arg(what).args(user).output().map_err(Error::io("run", path))?;
    let id = Error::unless_success(path, output)?;
    String::from_utf8_lossy(&id).trim().parse().map_err(|_| Error::NoAccount)
}

/// Returns the directory of a project's cluster: `.local` in the project. For root it is below `/var/tmp`, because the
/// server's account often cannot reach the project (in `/root`, for example).
pub fn project_directory(project: &Path, account: Account) -> PathBuf {
    if account.switched {
        let hash = xxhash_rust::xxh3::xxh3_64(project.as_os_str().as_encoded_bytes());
        return PathBuf::from(format!("/var/tmp/atelier-{hash:016x}"));
    }
    project.join(".local")
}
