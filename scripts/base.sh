#!/bin/sh
# Builds the programs of the base commit, which bench/base records, into target/base/release. BASE=1 of `make bench`,
# `make bench-fleet` and `make bench-flood` measures them beside the present ones.
set -eu
cd "$(dirname "$0")/.."
commit=$(cat bench/base)
base=$PWD/target/base
if ! git cat-file -e "$commit^{commit}" 2>/dev/null; then
    echo "$0: commit $commit is not in this clone: run git fetch --unshallow" >&2
    exit 1
fi
if [ "$(cat "$base/commit" 2>/dev/null)" != "$commit" ]; then
    rm -rf "$base/source" "$base/release" && mkdir -p "$base/source"
    git archive "$commit" | tar -xm -C "$base/source" # -m: cargo compares modification times
    echo "$commit" >"$base/commit"
fi
cd "$base/source"
export CARGO_TARGET_DIR="$base"
cargo build --release --package etl --package atelier-host
