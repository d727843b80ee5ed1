#!/bin/sh
# Fuzzes each target for a while with libFuzzer, beginning with the seeds of the bounded runs and with what earlier runs kept.
#   tests/fuzz/run.sh [SECONDS [TARGET…]]
# It needs what Debian calls g++, and the compiler that builds everything else: the flags below are those that cargo-fuzz gives,
# without the sanitizers, which want a nightly compiler and find nothing in a room without unsafe code.
# What is found and kept lies below target/fuzz; an input that fails is named on standard error, and the run ends with 1.
set -eu
cd "$(dirname "$0")/../.."
seconds=${1:-60}
[ $# -eq 0 ] || shift
[ $# -gt 0 ] || set -- $(basename -s .rs tests/fuzz/targets/*.rs)
corpus=${CARGO_TARGET_DIR:-$PWD/target/fuzz}/corpus
MONOPOD_FUZZ_CORPUS=$corpus cargo test -q --locked -p runtime -p transfer --test fuzz >&2
host=$(rustc -vV | sed -n 's/^host: //p')
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target/fuzz}"
export RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 -Cdebug-assertions"
cargo build --release --manifest-path tests/fuzz/Cargo.toml --target "$host"
for target; do
    kept=$corpus/$target
    mkdir -p "$kept"
    echo "fuzzing $target for $seconds s" >&2
    "$CARGO_TARGET_DIR/$host/release/$target" -max_total_time="$seconds" -rss_limit_mb=1024 -timeout=10 -print_final_stats=1 \
        -artifact_prefix="$CARGO_TARGET_DIR/" "$kept" 2>&1 | grep -E '^(SUMMARY|stat::number_of_executed_units|stat::new_units_added|==|thread|artifact)|panicked' >&2 || true
    ! ls "$CARGO_TARGET_DIR"/crash-* "$CARGO_TARGET_DIR"/timeout-* "$CARGO_TARGET_DIR"/oom-* 2>/dev/null
done
