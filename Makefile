# `make` alone lists the verbs. Where a verb takes settings, its line of help shows them with their defaults.
SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help run build test lint bench generate load

SCALE ?= 0.01
SEED ?= 1
DIR ?= data
DATASET ?=
ROUNDS ?= 3

# Always the whole workspace: a build of one package would choose other features and compile libraries twice.
LOCAL := target/debug/atelier-local

help: ## list the verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## serve on 127.0.0.1:3000 (LISTEN=…), with a private Postgres and a generated catalog; Ctrl-C stops all of it
	@scripts/install.sh postgres
	@cargo build --workspace
	@exec $(LOCAL) run

build: ## build everything, unoptimised
	cargo build --workspace

test: ## run every test, on a private Postgres
	@scripts/install.sh postgres
	cargo build --workspace
	$(LOCAL) exec -- cargo test --workspace

lint: ## formatting, clippy and docs, with warnings denied
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS=-Dwarnings cargo doc --no-deps --workspace

bench: SCALE := $(if $(filter command line environment,$(origin SCALE)),$(SCALE),1)
bench: ## measure the loader and the host as ratios: SCALE=1 ROUNDS=3, some 12 GB of disk at scale 1
	@scripts/install.sh postgres wrk
	cargo build --release --package bench --package etl --package atelier-host
	target/release/atelier-bench all --scale $(SCALE) --rounds $(ROUNDS)

generate: ## write a synthetic set of CSV files: SCALE=0.01 SEED=1 DIR=data
	@cargo build --quiet --workspace
	target/debug/atelier-etl generate --scale $(SCALE) --seed $(SEED) $(DIR)

load: ## load a set into the database of a `make run`, or of DATABASE_URL: DIR=data DATASET=<name>
	@cargo build --quiet --workspace
	DATABASE_URL=$${DATABASE_URL:-$$($(LOCAL) url)} target/debug/atelier-etl load $(DIR) $(if $(DATASET),--dataset $(DATASET))
