"""Writes what each program links, as CycloneDX JSON: the crates with version, licence and checksum, and other components
that the package's Cargo.toml names.

Usage: sbom.py <folder> [target]. The same commit, compiler and target give the same bytes. cargo-cyclonedx would also
list crates that only run during the build, and takes minutes to install.
"""

import json
import pathlib
import re
import subprocess
import sys
import tomllib


def output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def component(kind: str, name: str, version: str, licence: str, checksums: dict[tuple[str, str], str]) -> dict:
    described = {"type": kind, "name": name, "version": version}
    if licence:
        described["licenses"] = [{"expression": re.sub(r" *(/| OR ) *", " OR ", licence)}]
    if checksum := checksums.get((name, version)):  # crates of the workspace have none
        described["hashes"] = [{"alg": "SHA-256", "content": checksum}]
        described["purl"] = f"pkg:cargo/{name}@{version}"
    return described


def crates(package: str, target: str) -> list[tuple[str, str, str]]:
    """Returns name, version and licence of each crate that a build of this package alone links, the package's first."""
    tree = output("cargo", "tree", "--locked", "--package", package, "--target", target, "--prefix", "none",
                  "--edges", "normal,no-proc-macro", "--format", "{p}\t{l}")
    lines = re.findall(r"^(\S+) v(\S+)[^\t]*\t(.*?)(?: \(\*\))?$", tree, re.MULTILINE)
    return [lines[0], *sorted(set(lines[1:]))]


def main(folder: pathlib.Path, target: str) -> None:
    packages = tomllib.loads(pathlib.Path("Cargo.lock").read_text())["package"]
    checksums = {(one["name"], one["version"]): one["checksum"] for one in packages if "checksum" in one}
    properties = {"commit": output("git", "rev-parse", "HEAD").strip(), "rustc": output("rustc", "--version").strip(),
                  "target": target}
    metadata = json.loads(output("cargo", "metadata", "--locked", "--no-deps", "--format-version", "1"))
    folder.mkdir(parents=True, exist_ok=True)
    for package in metadata["packages"]:
        programs = [built["name"] for built in package["targets"] if "bin" in built["kind"]]
        if not programs:
            continue
        (_, version, licence), *linked = crates(package["name"], target)
        for program in programs:
            others = [component("library", one["name"], one["version"], one["licence"], {})
                      for one in (package["metadata"] or {}).get("contains", [])]
            bill = {
                "bomFormat": "CycloneDX",
                "specVersion": "1.5",
                "version": 1,
                "metadata": {
                    "component": component("application", program, version, licence, {}),
                    "properties": [{"name": f"atelier:{name}", "value": value} for name, value in properties.items()],
                },
                "components": [component("library", *crate, checksums) for crate in linked] + others,
            }
            (folder / f"{program}.cdx.json").write_text(json.dumps(bill, indent=1) + "\n")
            print(f"{folder / program}.cdx.json: {len(linked)} crates")


if __name__ == "__main__":
    host = re.search(r"^host: (.*)$", output("rustc", "-vV"), re.MULTILINE)[1]
    main(pathlib.Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else host)
