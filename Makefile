# Rowcall's commands for people. `make help` lists them; CI runs `make test`.
#
#   make up ARGS='--interval 1s --data-dir DIR'    options go on to `rowcall up`
#   CARGO_TARGET_DIR=DIR make test                 build elsewhere than in target/

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

TARGET_DIR := $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)
TOOLS := $(CURDIR)/.tools
ARGS ?=

# A data directory of its own for each clone, so that two don't meet.
export ROWCALL_DATA_DIR ?= $(CURDIR)/.rowcall
# The tests' tools; the system's come after them.
export PATH := $(TOOLS)/venv/bin:$(TOOLS)/node_modules/.bin:$(PATH)

.PHONY: help
help: ## This list
	@sed -nE 's/^([a-z0-9-]+):.*## (.*)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

## Run it

.PHONY: up
up: postgres ## Install what is missing, build, and run Rowcall on this machine; stop with Ctrl-C
	@cargo build --release --locked -p rowcall
	@exec "$(TARGET_DIR)/release/rowcall" up $(ARGS)

.PHONY: postgres
postgres: ## Install what `make up` needs: PostgreSQL's programs (no server is started), a C compiler
	@.ci/deps up

## Test it

.PHONY: test
test: deps ## Everything that CI checks, fastest first
	@.ci/test

.PHONY: deps
deps: ## Install what the tests need; quick when it is there
	@.ci/deps test

.PHONY: fmt
fmt: ## Format the code
	@cargo fmt --all

.PHONY: fmt-check
fmt-check: ## Check that it is formatted
	@cargo fmt --all --check

.PHONY: buf
buf: ## Lint the protos; compare them with the last release's
	@.ci/buf

.PHONY: migrations
migrations: ## Check that released migrations are unchanged
	@.ci/migrations

.PHONY: deny
deny: ## Check licences, bans and sources of the dependencies (not advisories: deny.toml says why)
	@command -v cargo-deny >/dev/null || { echo 'cargo-deny is not installed: make deps' >&2; exit 1; }
	@cargo-deny --workspace --locked check --hide-inclusion-graph bans licenses sources

.PHONY: check-units
check-units: ## Check deploy/systemd: systemd reads the units, and they are as tight as documented
	@.ci/check-units

.PHONY: lint
lint: ## clippy, warnings are errors
	@cargo clippy --workspace --all-targets --all-features --locked -- -D warnings

.PHONY: doc
doc: ## Build the code's documentation, warnings are errors
	@RUSTDOCFLAGS=-Dwarnings cargo doc --no-deps --document-private-items --workspace --locked

# With the tests' own features, so that the end-to-end tests' programs aren't compiled twice.
.PHONY: build
build: ## Build all programs and tests
	@cargo build --workspace --all-targets --locked

.PHONY: cargo-test
cargo-test: build ## The tests alone; PG_BIN=DIR takes another PostgreSQL
	@cargo test --workspace --locked

# Each program by itself, as it is released: built together each would get the features that the
# others ask of shared crates.
.PHONY: bench
bench: bench-deps ## Measure speed, memory and bytes per row on this machine, about 25 minutes; ARGS='--only PART,..'
	@cargo build --release --locked -p rowcall-agent
	@cargo build --release --locked -p rowcall-aggregator
	@cargo build --release --locked -p rowcall-bench
	@exec "$(TARGET_DIR)/release/rowcall-bench" $(ARGS)

.PHONY: bench-deps
bench-deps:
	@.ci/deps bench

.PHONY: coverage
coverage: bench-deps ## Which metrics of node_exporter's default collectors Rowcall has, as a table
	@.ci/coverage

.PHONY: soak
soak: bench-deps ## Ten samples a second for SOAK_MINUTES=30: the agent must not grow, nothing be lost
	@.ci/soak

# The programs as the tests run them: with overflow and debug checks.
.PHONY: chaos
chaos: postgres ## Kill, crash and cut at full size, about 20 minutes, and count what is lost; CHAOS_ONLY=PART,..
	@.ci/chaos

.PHONY: fuzz
fuzz: ## Feed what reads bytes from outside with made-up ones, FUZZ_SECONDS=60 for each target; FUZZ_ONLY=TARGET,..
	@.ci/fuzz

.PHONY: check-up
check-up: ## Try `make up` in a clean clone: wait for rows, run what it prints, stop it in three ways
	@.ci/check-up

.PHONY: check-user
check-user: ## As root: `make test` and check-up in a clean clone, as an ordinary user
	@.ci/check-user

.PHONY: check-image
check-image: ## As root: build the container image and run it against a PostgreSQL; no container engine needed
	@.ci/check-image

## Release it

.PHONY: dist
dist: ## Make dist/: archives of the programs for nodes and database host, for glibc 2.17, and checksums
	@.ci/deps dist
	@.ci/dist

.PHONY: check-dist
check-dist: dist ## Make dist/ and check it: checksums, glibc and kernel that the programs need, settings
	@.ci/check-dist

.PHONY: check-cluster
check-cluster: deps dist ## As root: dist/ on a cluster of network namespaces, PostgreSQL with TLS, to a right Summary
	@.ci/check-cluster
