# The two commands a newcomer needs: `make demo` and `make test`. Both set up what is missing first.

.PHONY: help setup build demo test lint

help:
	@echo "make demo    train, index, query and evaluate on BEIR SciFact; prints one table and a few answers"
	@echo "make test    every test; the last lines say how many passed, failed and were skipped"
	@echo "make setup   cmake, OpenBLAS, ONNX Runtime, libtorch and MiniLM, as far as they are missing"
	@echo "make build   the two programs: target/release/adam-train and target/release/adam"
	@echo "make lint    rustfmt and clippy"

setup:
	@scripts/setup.sh

build: setup
	cargo build --release --locked --workspace --bins

demo: build
	@scripts/demo.sh

test: setup
	@scripts/test.sh

lint: setup
	cargo fmt --all --check
	cargo clippy --release --locked --workspace --all-targets -- -D warnings
