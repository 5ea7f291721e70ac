//! The scripts on the machines of deploy/ec2.yaml: the proxy's configuration, and the database's disk and certificate.
//! NGINX and openssl are real. Small scripts replace AWS, systemd and the machine's disks.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // in helpers too, which clippy does not take for tests

mod support;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use local::free_address;
use support::root;
use tempfile::TempDir;

/// A machine's folders, with a program `aws` that returns files of `stack`: one for each parameter and secret.
struct Machine {
    dir: TempDir,
    listen: String,
}

impl Machine {
    fn new() -> Self {
        let listen = free_address().unwrap().to_string();
        let machine = Self { dir: tempfile::tempdir().unwrap(), listen };
        for folder in ["programs", "stack", "state/tls", "temporary"] {
            fs::create_dir_all(machine.dir.path().join(folder)).unwrap();
        }
        let aws = r#"#!/bin/sh
case "$1 $2" in
"ssm get-parameter") exec cat "$STACK_FOLDER/${4##*/}" ;;
"secretsmanager get-secret-value") exec cat "$STACK_FOLDER/$4" ;;
"ec2 describe-instances") exec cat "$STACK_FOLDER/instances" ;;
esac
exit 1
"#;
        machine.program("aws", aws);
        let systemctl = "#!/bin/sh\necho \"$@\" >>\"$STACK_FOLDER/../reloads\"\n[ ! -e \"$STACK_FOLDER/../reload-fails\" ]\n";
        machine.program("systemctl", systemctl);
        for host in ["host-1", "host-2", "host-3"] {
            machine.stack(host, "unset");
        }
        machine.stack("instances", "");
        machine.write("nginx.conf", "# as it was installed\n");
        machine
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    fn program(&self, name: &str, script: &str) {
        use std::os::unix::fs::PermissionsExt;
        let path = self.path(&format!("programs/{name}"));
        fs::write(&path, script).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Makes the proxy check its certificate in the next run, by setting the time of the last check to the past.
    fn certificate_check_is_due(&self) {
        if Path::new(&self.path("state/tls/current")).exists() {
            let past = fs::FileTimes::new().set_modified(std::time::SystemTime::UNIX_EPOCH);
            fs::File::options()
                .append(true)
                .open(self.path("state/tls/current"))
                .unwrap()
                .set_times(past)
                .unwrap();
        }
    }

    /// Registers a running host in this slot.
    fn host(&self, slot: u8, address: &str) {
        self.stack(&format!("host-{slot}"), address);
        let instances = self.read("stack/instances");
        self.write("stack/instances", &format!("{instances}shop-host-{slot}\t{address}\n"));
    }

    fn stack(&self, name: &str, value: &str) {
        self.write(&format!("stack/{name}"), &format!("{value}\n"));
    }

    /// Stores a certificate and its key in the secret, and makes the proxy check it in the next run.
    fn certificate(&self, name: &str, key: &str) {
        openssl(
            self.dir.path(),
            &format!(
                "req -x509 -newkey rsa:2048 -nodes -keyout {name}.key -out {name}.pem -days 9 -subj /CN={name}"
            ),
        );
        let pair = serde_json::json!({
            "certificate": self.read(&format!("{name}.pem")), "key": self.read(&format!("{key}.key")),
        });
        self.stack("tls", &pair.to_string());
        self.certificate_check_is_due();
    }

    /// Runs `refresh-proxy`. All files that `nginx -t` opens are in the machine's folders, so it needs no privileges.
    fn refresh(&self) -> Output {
        let programs = format!("{}:{}:/usr/sbin", self.path("programs"), std::env::var("PATH").unwrap());
        Command::new(root().join("deploy/ec2/refresh-proxy"))
            .envs([("PATH", programs), ("LISTEN", self.listen.clone()), ("PID_FILE", self.path("nginx.pid"))])
            .envs([("STACK_FOLDER", self.path("stack")), ("STATE", self.path("state"))])
            .envs([("NGINX_CONF", self.path("nginx.conf")), ("TEMPORARY", self.path("temporary"))])
            .envs([("REDIRECT_LISTEN", "off"), ("STATUS_LISTEN", "off"), ("ACCESS_LOG", "off")])
            .envs([("ERROR_LOG", "stderr"), ("UNSET", "unset"), ("ADDRESS_PARAMETERS", "/stack/host-")])
            .env("HOST_GROUPS", "shop-host-")
            .envs([("TLS_SECRET", "tls"), ("RATE_LIMIT", "9")])
            .env("release", root().join("deploy"))
            .output()
            .unwrap()
    }

    /// Returns the existing certificate and key files.
    fn pairs(&self) -> Vec<String> {
        let files = fs::read_dir(self.path("state/tls")).unwrap();
        let names = files.map(|file| file.unwrap().path().to_str().unwrap().to_owned());
        let mut pairs: Vec<_> = names.filter(|name| !name.ends_with("/current")).collect();
        pairs.sort();
        pairs
    }

    /// Returns the files of the pair in use.
    fn current_pair(&self) -> Vec<String> {
        let current = self.read("state/tls/current");
        ["key", "pem"].map(|kind| format!("{}.{kind}", current.trim())).to_vec()
    }

    fn refreshed(&self) -> String {
        let output = self.refresh();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        self.read("nginx.conf")
    }
}

fn openssl(dir: &Path, arguments: &str) -> String {
    let output = Command::new("openssl").args(arguments.split(' ')).current_dir(dir).output().unwrap();
    assert!(output.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_proxy_uses_the_registered_hosts_and_reloads_only_after_changes() {
    let machine = Machine::new();
    machine.certificate("shop", "shop");
    assert_eq!(machine.refreshed(), "# as it was installed\n", "no host has registered yet");
    machine.host(1, "10.0.1.10");
    machine.host(3, "10.0.3.10");
    let configuration = machine.refreshed();
    assert!(configuration.contains("10.0.1.10:3000") && configuration.contains("10.0.3.10:3000"));
    assert!(configuration.contains("\nuser www-data;\n"), "{configuration}");
    machine.refreshed();
    assert_eq!(machine.read("reloads"), "try-reload-or-restart nginx\n", "nothing changed the second time");
    machine.host(1, "10.0.1.11");
    let configuration = machine.refreshed();
    assert!(configuration.contains("10.0.1.11:3000") && !configuration.contains("10.0.1.10:3000"));
    assert_eq!(machine.read("reloads").lines().count(), 2);
}

#[test]
fn a_failed_reload_is_repeated() {
    let machine = Machine::new();
    machine.host(1, "10.0.1.10");
    machine.certificate("first", "first");
    machine.refreshed();
    machine.certificate("second", "second");
    machine.host(2, "10.0.2.10");
    machine.write("reload-fails", "");
    for reloads in [2, 3] {
        assert!(!machine.refresh().status.success());
        assert_eq!(machine.read("reloads").lines().count(), reloads);
        assert!(!Path::new(&machine.path("state/hosts")).exists(), "NGINX has not reloaded yet");
    }
    assert_eq!(machine.pairs().len(), 4, "the pair that NGINX uses, and the pair in its configuration");
    fs::remove_file(machine.path("reload-fails")).unwrap();
    let configuration = machine.refreshed();
    assert!(configuration.contains("10.0.2.10:3000") && configuration.contains(&machine.current_pair()[0]));
    assert_eq!(machine.read("state/hosts"), "10.0.1.10:3000 10.0.2.10:3000\n");
    assert_eq!(machine.pairs(), machine.current_pair());
    machine.refreshed();
    assert_eq!(machine.read("reloads").lines().count(), 4, "NGINX has reloaded");
}

#[test]
fn the_proxy_keeps_its_hosts_while_their_parameters_are_unavailable() {
    let machine = Machine::new();
    machine.certificate("shop", "shop");
    for slot in [1, 2, 3] {
        machine.host(slot, "10.0.1.10");
    }
    let configuration = machine.refreshed();
    for unavailable in ["stack/instances", "stack/host-2"] {
        let value = machine.read(unavailable);
        fs::remove_file(machine.path(unavailable)).unwrap();
        assert!(!machine.refresh().status.success());
        machine.write(unavailable, &value);
    }
    assert_eq!(machine.read("nginx.conf"), configuration);
}

#[test]
fn a_host_cannot_register_another_address_or_in_the_place_of_another_host() {
    let machine = Machine::new();
    machine.certificate("shop", "shop");
    for (slot, address) in [(1, "10.0.1.10"), (2, "10.0.2.10"), (3, "10.0.3.10")] {
        machine.host(slot, address);
    }
    for forged in ["10.0.1.10", "10.9.9.9", "0.0.2.1", ""] {
        machine.stack("host-2", forged);
        machine.refreshed();
        assert_eq!(machine.read("state/hosts"), "10.0.1.10:3000 10.0.3.10:3000\n", "{forged}");
    }
}

#[test]
fn the_proxy_keeps_its_certificate_if_the_secret_is_invalid_and_still_updates_hosts() {
    let machine = Machine::new();
    machine.host(1, "10.0.1.10");
    machine.stack("tls", "{}");
    assert!(!machine.refresh().status.success(), "the proxy would serve without TLS");
    assert!(!machine.read("nginx.conf").contains("10.0.1.10"));
    machine.certificate("first", "first");
    machine.refreshed();
    let pair = machine.read("state/tls/current");
    for secret in ["{}", "not JSON"] {
        machine.stack("tls", secret);
        machine.certificate_check_is_due();
        let host = format!("10.0.2.{}", secret.len());
        machine.host(2, &host);
        let configuration = machine.refreshed();
        assert!(configuration.contains(&format!("{host}:3000")) && configuration.contains(pair.trim()));
        assert_eq!(machine.pairs(), machine.current_pair());
    }
}

#[test]
fn the_proxy_keeps_its_certificate_if_nginx_rejects_the_next_one_and_still_updates_hosts() {
    let machine = Machine::new();
    machine.host(1, "10.0.1.10");
    machine.certificate("first", "first");
    let first = machine.refreshed();
    machine.certificate("refused", "first"); // the key belongs to another certificate
    assert!(!machine.refresh().status.success());
    assert_eq!(machine.read("nginx.conf"), first);
    assert_eq!(machine.pairs(), machine.current_pair(), "the refused pair is deleted");
    machine.host(2, "10.0.2.10");
    let with_another_host = machine.refreshed();
    assert!(with_another_host.contains("10.0.2.10:3000"));
    let pair = machine.read("state/tls/current");
    assert!(first.contains(pair.trim()) && with_another_host.contains(pair.trim()));

    machine.certificate("second", "second");
    let second = machine.refreshed();
    assert!(second.contains(machine.read("state/tls/current").trim()) && !second.contains(pair.trim()));
    assert_eq!(machine.pairs(), machine.current_pair());
}

/// Runs `database-disk` on a machine with these disks, each with a name and a serial number, to find a volume.
fn database_disk(disks: &str, volume: &str) -> Output {
    let machine = Machine::new();
    machine.write("disks", disks);
    machine.program("lsblk", "#!/bin/sh\ncat \"$DISKS\"\n");
    let programs = format!("{}:{}", machine.path("programs"), std::env::var("PATH").unwrap());
    Command::new(root().join("deploy/ec2/database-disk"))
        .arg(volume)
        .envs([("PATH", programs), ("DISKS", machine.path("disks"))])
        .output()
        .unwrap()
}

#[test]
fn the_database_uses_its_data_volume_and_no_other_disk() {
    let own = "/dev/nvme0n1 vol0ffffffffffffffff\n/dev/nvme1n1 AWS0a1b2c3d4e5f60718\n/dev/nvme2n1\n";
    let volume = "vol-0a1b2c3d4e5f60718";
    let found = database_disk(&format!("{own}/dev/nvme3n1 vol0a1b2c3d4e5f60718\n"), volume);
    assert!(found.status.success(), "{}", String::from_utf8_lossy(&found.stderr));
    assert_eq!(String::from_utf8_lossy(&found.stdout), "/dev/nvme3n1\n");
    let none = database_disk(own, volume);
    assert!(!none.status.success() && none.stdout.is_empty());
    let output = String::from_utf8(none.stderr).unwrap();
    assert!(
        output.contains("vol-0a1b2c3d4e5f60718: expected a disk") && output.contains("/dev/nvme1n1"),
        "{output}"
    );
    assert!(
        !database_disk(own, "").status.success(),
        "a disk without a number is not a volume without an id"
    );
}

/// Makes the database's certificates, or renews them if necessary, in `tls` in this folder.
fn database_certificate(dir: &Path) {
    let user = Command::new("id").arg("-un").output().unwrap();
    let made = Command::new(root().join("deploy/ec2/database-certificate"))
        .arg(dir.join("tls"))
        .env("DATABASE_NAME", "db.atelier.internal")
        .env("OWNER", String::from_utf8(user.stdout).unwrap().trim())
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

#[test]
fn the_database_s_authority_signs_certificates_for_its_name_only() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    database_certificate(dir);
    openssl(
        dir,
        "verify -CAfile tls/ca.pem -purpose sslserver -verify_hostname db.atelier.internal tls/server.pem",
    );
    let authority = openssl(dir, "x509 -in tls/ca.pem -noout -text");
    assert!(authority.contains("Permitted:") && authority.contains("DNS:db.atelier.internal"), "{authority}");
}

#[test]
fn a_certificate_is_renewed_before_it_expires_and_the_authority_stays() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let read = |name: &str| fs::read_to_string(dir.join("tls").join(name)).unwrap();
    database_certificate(dir);
    let (authority, server) = (read("ca.pem"), read("server.pem"));
    database_certificate(dir);
    assert_eq!(
        (read("ca.pem"), read("server.pem")),
        (authority.clone(), server),
        "the certificate is valid for a year"
    );

    openssl(dir, "req -new -key tls/server.key -subj /CN=old -out old.csr");
    openssl(
        dir,
        "x509 -req -in old.csr -CA tls/ca.pem -CAkey tls/ca.key -CAcreateserial -days 59 -out tls/server.pem",
    );
    let old = read("server.pem");
    database_certificate(dir);
    assert_eq!(read("ca.pem"), authority);
    assert_ne!(read("server.pem"), old);
    openssl(dir, "verify -CAfile tls/ca.pem -verify_hostname db.atelier.internal tls/server.pem");
}
