# Short words for long commands. Nobody needs just: each recipe is one command that can be typed.

_default:
    @just --list --unsorted

# Build the program as it is shipped, its guest agent embedded.
build:
    cargo build --release --locked

# Everything that must hold before a change is accepted.
test:
    scripts/test

# Format all code.
fmt:
    cargo fmt --all

# Lint all code; a warning is an error.
lint:
    cargo clippy --workspace --all-targets --locked -- -D warnings

# Check that dependencies point down, and that only the right crates spawn and read the environment.
layers:
    cargo xtask layers

# Files and functions over their limits, and how large the programs are.
sizes:
    cargo xtask sizes

# Links and cited proofs of the documents, that they are there.
documents:
    cargo xtask documents

# Run the program: `just run doctor`, `just run run -- echo hello`.
[positional-arguments]
run *args:
    @cargo run --release --locked --quiet -- "$@"

# Cold start of the whole program, 50 runs.
bench: build
    scripts/setup --bench
    hyperfine --shell=none --warmup 5 --runs 50 'target/release/agentkernel run -- true'

# gVisor against runc on our bundle: `just bench-sandbox --iterations 50` (as root, or by sudo).
[positional-arguments]
bench-sandbox *args:
    @scripts/setup --bench
    @scripts/bench/sandbox-bench.sh "$@"

# Instructions of our own layer by callgrind, and what has moved since the baseline (`just bench-instructions --write`).
[positional-arguments]
bench-instructions *args:
    @scripts/bench/instructions "$@"

# All that BENCHMARKS.md tells of this machine, and its tables anew: some hour.
bench-all:
    @scripts/bench/all

# Fuzz each target for some seconds (needs a nightly toolchain and cargo-fuzz).
fuzz seconds="60":
    for target in $(cargo +nightly fuzz list); do cargo +nightly fuzz run "$target" -- -max_total_time={{ seconds }} || exit 1; done

# Every interleaving of the pool's shelves, as far as they differ (in a target folder of its own).
loom:
    CARGO_TARGET_DIR=target/loom RUSTFLAGS="--cfg loom" cargo test --package agentkernel-pool --lib --locked loom

# The documentation of every crate, private items included.
doc:
    cargo doc --workspace --no-deps --document-private-items --locked
