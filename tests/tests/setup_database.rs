//! The setup of the database instance of deploy/ec2.yaml. Small scripts replace AWS, systemd, packages and Postgres.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // in helpers too, which clippy does not take for tests

mod support;

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use support::root;
use tempfile::TempDir;

/// A machine's folders, with mounted volumes and an image that has Postgres 17. Its programs append their names and
/// arguments to the file `calls`.
struct Machine(TempDir);

impl Machine {
    /// Returns a machine whose data volume has clusters of these versions.
    fn new(clusters: &[&str]) -> Self {
        let machine = Self(tempfile::tempdir().unwrap());
        let unit = "etc/systemd/system/postgresql@.service.d";
        for folder in ["programs", "release/ec2", "etc/atelier", unit, "data/tls"] {
            fs::create_dir_all(machine.path(folder)).unwrap();
        }
        for version in clusters {
            fs::create_dir_all(machine.path(&format!("data/{version}/main"))).unwrap();
            fs::write(machine.path(&format!("data/{version}/main/PG_VERSION")), format!("{version}\n"))
                .unwrap();
        }
        fs::write(machine.path("data/tls/ca.pem"), "certificate\n").unwrap();
        for part in ["systemd", "ec2/common.sh", "ec2/database-logins.sql"] {
            symlink(root().join("deploy").join(part), machine.path("release").join(part)).unwrap();
        }
        for program in
            ["apt-get", "aws", "chown", "findmnt", "install", "pg_createcluster", "runuser", "systemctl"]
        {
            machine.program(&format!("programs/{program}"), "");
        }
        machine.program("programs/dpkg-query", "echo 17+278");
        machine.program("release/ec2/database-certificate", "");
        machine.program("release/ec2/database-settings", "");
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn program(&self, path: &str, script: &str) {
        let path = self.path(path);
        fs::write(&path, format!("#!/bin/sh\necho \"${{0##*/}} $*\" >>\"$CALLS\"\n{script}\n")).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Runs `setup-database`, and returns its output and the calls of programs.
    fn set_up(&self) -> (Output, String) {
        let path = std::env::var_os("PATH").unwrap();
        let path = std::iter::once(self.path("programs")).chain(std::env::split_paths(&path));
        let output = Command::new(root().join("deploy/ec2/setup-database"))
            .env("PATH", std::env::join_paths(path).unwrap())
            .envs([("CALLS", self.path("calls")), ("release", self.path("release"))])
            .envs([("ETC", self.path("etc")), ("DATA", self.path("data"))])
            .envs([("VOLUME_PARAMETER", "/stack/data"), ("WAL_PARAMETER", "/stack/wal")])
            .envs([("HOST_SECRET", "host"), ("LOADER_SECRET", "loader"), ("CA_PARAMETER", "/stack/ca")])
            .envs([("BACKUP_BUCKET", "backups"), ("UNSET", "unset")])
            .output()
            .unwrap();
        (output, fs::read_to_string(self.path("calls")).unwrap())
    }

    /// Runs `setup-database`, which must succeed, and returns the calls of programs.
    fn calls(&self) -> String {
        let (output, calls) = self.set_up();
        assert!(output.status.success(), "{calls}{}", String::from_utf8_lossy(&output.stderr));
        calls
    }
}

#[test]
fn an_empty_volume_gets_a_cluster_and_an_existing_cluster_is_kept() {
    let calls = Machine::new(&[]).calls();
    assert!(calls.contains("pg_createcluster 17 main -- --data-checksums "), "{calls}");
    let calls = Machine::new(&["17"]).calls();
    assert!(calls.contains("pg_createcluster 17 main\n"), "{calls}");
}

#[test]
fn a_volume_with_a_cluster_of_another_postgres_is_refused_and_gets_no_empty_one() {
    for clusters in [&["15"][..], &["15", "17"], &["17", "18"]] {
        let (output, calls) = Machine::new(clusters).set_up();
        assert!(!output.status.success(), "{clusters:?}: {calls}");
        let error = String::from_utf8(output.stderr).unwrap();
        let other = clusters.iter().find(|version| **version != "17").unwrap();
        let expected =
            ["it has Postgres 17".to_owned(), format!("/data/{other}/main;"), "Upgrade Postgres".to_owned()];
        assert!(expected.iter().all(|part| error.contains(part)), "{clusters:?}: {error}");
        assert!(
            !["pg_createcluster", "runuser", "database-certificate"].iter().any(|call| calls.contains(call))
        );
    }
}

#[test]
fn prune_backup_metrics_and_the_renewal_of_the_certificate_have_enabled_timers_and_installed_units() {
    let machine = Machine::new(&["17"]); // has the unit files
    let calls = machine.calls();
    let enabled = calls.lines().find_map(|call| call.strip_prefix("systemctl enable --now ")).unwrap();
    let mut timers: Vec<_> = enabled.split(' ').collect();
    timers.sort_unstable();
    assert_eq!(
        timers,
        [
            "atelier-backup.timer",
            "atelier-database-certificate.timer",
            "atelier-metrics.timer",
            "atelier-prune.timer"
        ]
    );
    for timer in timers {
        let name = timer.strip_suffix(".timer").unwrap();
        let is_of_the_timer = |call: &&str| call.starts_with("install -m 0644 ") && call.contains(timer);
        let call = calls.lines().find(is_of_the_timer).unwrap();
        for unit in [timer.to_owned(), format!("{name}.service")] {
            let installed = call.split(' ').find(|argument| argument.ends_with(&format!("/{unit}")));
            assert!(installed.is_some_and(|file| Path::new(file).is_file()), "{unit}: {call}");
        }
    }
}
