//! A small filesystem for one server, for tests of full disks.
//!
//! It is a tmpfs in the server's mount namespace. The kernel removes the namespace and the filesystem with the last
//! process in it, so nothing must be unmounted. It needs `unshare` and `mount` of Linux, and root or a user namespace.

use std::path::Path;
use std::process::Command;

use local::{Account, append};

/// $1: the directory. $2: options of the tmpfs. The rest: the command to run once it is mounted with a copy of the
/// directory's files.
const SCRIPT: &str = r#"mount -t tmpfs -o "$2" tmpfs /mnt && cp -a "$1/." /mnt && mount --bind /mnt "$1" &&
    shift 2 && exec "$@""#;

/// Returns a command that mounts the disk as the current user, and then runs `server` as `account`. It stays one
/// process, because each program replaces itself with the next.
pub(crate) fn with(server: &Command, account: Account, directory: &Path, bytes: u64) -> Command {
    let (uid, gid) = account.ids();
    let mut command = Command::new("unshare");
    command.arg("--mount");
    let mut options = format!("size={bytes},mode=0700");
    if account.switched() {
        options += &format!(",uid={uid},gid={gid}");
    } else {
        command.args(["--user", "--map-root-user"]);
    }
    command.args(["sh", "-c", SCRIPT, "sh"]).arg(directory).arg(options);
    if account.switched() {
        command.args(["setpriv", "--clear-groups"]);
        command.arg(format!("--reuid={uid}")).arg(format!("--regid={gid}"));
    } else {
        command.args(["unshare", "--user"]);
        command.arg(format!("--map-user={uid}")).arg(format!("--map-group={gid}"));
    }
    command.arg("--");
    append(&mut command, server);
    command
}
