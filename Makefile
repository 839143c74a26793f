# The two commands a newcomer needs: `make demo` and `make test`. Both set up what is missing first.

.PHONY: help setup build demo test ci lint circles docs features deny api packages release wheel python-test bench

help:
	@echo "make demo      train, index, query and evaluate on BEIR SciFact; prints one table and a few answers"
	@echo "make test      every test; the last lines say how many passed, failed and were skipped"
	@echo "make setup     cmake, OpenBLAS, ONNX Runtime, libtorch and MiniLM, as far as they are missing"
	@echo "make build     the two programs: target/release/adam-train and target/release/adam"
	@echo "make bench     this project beside others (PART=search, encoding or hybrid for one part): a record, and BENCHMARKS.md"
	@echo "make wheel     the Python package adam-search as a wheel in target/wheels; make python-test tests it"
	@echo "make ci        everything below, then the tests"
	@echo "make lint      rustfmt and clippy, warnings are errors"
	@echo "make circles   files that depend on each other in a circle"
	@echo "make docs      the documentation of all crates, warnings are errors"
	@echo "make features  each crate alone and with fewer features; tantivy-dense's tests without faiss"
	@echo "make deny      licences, sources and advisories of all dependencies, by cargo-deny"
	@echo "make api       the public API of each library against docs/api"
	@echo "make packages  each publishable crate as a package, checked and tested outside of the workspace"
	@echo "make release   archives of the programs with SHA-256, in target/release-archives"

setup:
	@scripts/setup.sh

build: setup
	cargo build --release --locked --workspace --bins

demo: setup
	@scripts/demo.sh

test: setup
	@scripts/test.sh

ci: setup
	@scripts/ci.sh

lint: setup
	cargo fmt --all --check
	cargo clippy --release --locked --workspace --all-targets -- -D warnings

# tantivy-dense has one between kernels of one file (the script takes modules within a file for the file); the trainer has some.
circles:
	@scripts/circles.py durable beir encoder adam-plugin adam-plugin/server adam-plugin/cli

docs: setup
	RUSTDOCFLAGS="-D warnings" cargo doc --release --locked --workspace --no-deps

features: setup
	@scripts/features.sh

deny:
	@scripts/deny.sh

api: setup
	@scripts/api.sh

packages: setup
	@scripts/packages.py

release: build
	@scripts/release.sh

wheel: setup
	@scripts/wheel.sh

python-test: build
	@scripts/python-test.sh

bench: build
	cargo build --release --locked --workspace --examples
	@ls target/wheels/adam_search-*.whl >/dev/null 2>&1 || scripts/wheel.sh
	python3 benches/peers/run.py $(PART)
	target/bench/peers/bin/python benches/peers/tables.py
