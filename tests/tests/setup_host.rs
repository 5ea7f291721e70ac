//! The setup of a host of deploy/ec2.yaml that uses RDS. Small scripts replace AWS, systemd and the host.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // in helpers too, which clippy does not take for tests

mod support;

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;
use std::process::{Command, Output};

use support::root;
use tempfile::TempDir;

/// A machine's folders, with programs that do nothing, and a program `aws` that returns files of `stack`.
struct Machine(TempDir);

impl Machine {
    fn new() -> Self {
        let machine = Self(tempfile::tempdir().unwrap());
        for folder in
            ["programs", "stack", "release/ca", "etc/atelier", "etc/systemd/system/atelier-host.service.d"]
        {
            fs::create_dir_all(machine.path(folder)).unwrap();
        }
        symlink(root().join("deploy/ec2"), machine.path("release/ec2")).unwrap();
        let aws = r#"[ "$1" != secretsmanager ] || exec cat "$STACK/$4"; echo "$@" >>"$STACK/calls""#;
        for (program, script) in
            [("aws", aws), ("curl", "echo 10.0.1.10"), ("install", ""), ("sleep", ""), ("systemctl", "")]
        {
            let path = machine.path("programs").join(program);
            fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        machine.write("stack/rds-password", "secret1\n");
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// Runs `setup-host` for a database elsewhere.
    fn set_up(&self, variables: &[(&str, &str)]) -> Output {
        let path = std::env::var_os("PATH").unwrap();
        let path = std::iter::once(self.path("programs")).chain(std::env::split_paths(&path));
        Command::new(root().join("deploy/ec2/setup-host"))
            .env("PATH", std::env::join_paths(path).unwrap())
            .envs([
                ("STACK", self.path("stack")),
                ("ETC", self.path("etc")),
                ("release", self.path("release")),
            ])
            .envs([("DATABASE_HOST", "shop.rds.amazonaws.com"), ("DATABASE_SECRET", "rds-password")])
            .envs([("HOST_SECRET", "unused"), ("DATABASE_NAME", "unused"), ("CA_PARAMETER", "/stack/unused")])
            .envs([("CACHE_MEGABYTES", "256"), ("LOG_ACCESS", "on"), ("ADDRESS_PARAMETERS", "/stack/host-")])
            .envs([("UNSET", "unset"), ("HOST_GROUPS", "shop-host-")])
            .envs(variables.iter().copied())
            .output()
            .unwrap()
    }
}

#[test]
fn a_host_is_set_up_for_rds_with_its_certificates_and_a_key_for_carts() {
    let machine = Machine::new();
    let failed = machine.set_up(&[]);
    assert!(!failed.status.success());
    let error = String::from_utf8(failed.stderr).unwrap();
    assert!(
        error.contains("ca/rds.pem is not in the release") && error.contains("curl -fo ca/rds.pem"),
        "{error}"
    );

    machine.write("release/ca/rds.pem", "certificates\n");
    let without_key = machine.set_up(&[]);
    assert!(without_key.status.success(), "{}", String::from_utf8_lossy(&without_key.stderr));
    let url = "DATABASE_URL=postgresql://atelier_host:secret1@shop.rds.amazonaws.com/atelier\n";
    let environment = machine.read("etc/atelier/host.env");
    assert!(environment.starts_with(url) && environment.ends_with("CART_KEY=\n"), "{environment}");
    assert!(
        environment.contains("\nADMIN_LISTEN=10.0.1.10:9464\n"),
        "only the private address: {environment}"
    );
    assert_eq!(machine.read("etc/atelier/database-ca.pem"), "certificates\n");
    assert!(
        machine.read("stack/calls").contains("--lifecycle-action-result CONTINUE"),
        "the host is in service"
    );

    let key = "0123456789abcdef".repeat(4);
    machine.write("stack/cart-key", &key);
    assert!(machine.set_up(&[("CART_KEY_SECRET", "cart-key")]).status.success());
    let environment = machine.read("etc/atelier/host.env");
    assert!(environment.ends_with(&format!("CART_KEY={key}\n")), "{environment}");
    let mode = fs::metadata(machine.path("etc/atelier/host.env")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    machine.write("stack/cart-key", "short");
    assert!(!machine.set_up(&[("CART_KEY_SECRET", "cart-key")]).status.success());
    assert_eq!(machine.read("etc/atelier/host.env"), environment);
}
