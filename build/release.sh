#!/bin/sh
# Builds the file that is shipped, and checks that it is what it claims to be: static, and at most 20 MB.
#   build/release.sh [x86_64|aarch64]      the machine's own kind if none is named
# The file's path is the last line of the output.
set -eu
cd "$(dirname "$0")/.."

host=$(uname -m)
machine=${1:-$host}
target=$machine-unknown-linux-musl
limit=20000000

# Only some C libraries in the tree need a C compiler; Rust's own musl target links by itself.
case $machine in
x86_64)
    if [ "$host" = x86_64 ]; then
        command -v musl-gcc >/dev/null || build/setup.sh gcc libc6-dev binutils musl-tools || true
        if ! command -v musl-gcc >/dev/null; then
            echo "no musl-gcc: compiling the C parts with cc and the headers of this machine's C library" >&2
            export CC_x86_64_unknown_linux_musl=cc
            # Both would call functions that only the other C library has.
            export LIBSQLITE3_FLAGS=-DSQLITE_DISABLE_LFS
            export CFLAGS_x86_64_unknown_linux_musl=-U_FORTIFY_SOURCE
        fi
    fi
    ;;
aarch64)
    if [ "$host" != aarch64 ]; then
        command -v aarch64-linux-gnu-gcc >/dev/null ||
            build/setup.sh gcc-aarch64-linux-gnu libc6-dev-arm64-cross
        export CC_aarch64_unknown_linux_musl=aarch64-linux-gnu-gcc
        export AR_aarch64_unknown_linux_musl=aarch64-linux-gnu-gcc-ar
        export LIBSQLITE3_FLAGS=-DSQLITE_DISABLE_LFS
        # The outlined atomics would need the other C library's start-up code.
        export CFLAGS_aarch64_unknown_linux_musl="-U_FORTIFY_SOURCE -mno-outline-atomics"
        export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_LINKER=rust-lld
    fi
    ;;
*)
    echo "usage: $0 [x86_64|aarch64]" >&2
    exit 2
    ;;
esac

# rustup may be told not to install by itself what rust-toolchain.toml asks for.
if command -v rustup >/dev/null; then
    cargo --version >/dev/null 2>&1 || rustup toolchain install
    rustup target list --installed 2>/dev/null | grep -qx "$target" || rustup target add "$target"
fi
cargo build --release --locked --target "$target" --bin monopod

file=${CARGO_TARGET_DIR:-target}/$target/release/monopod
headers=$(LC_ALL=C readelf -lWd "$file")
if echo "$headers" | grep -Eq 'INTERP|\(NEEDED\)'; then
    echo "$headers" | grep -E 'INTERP|\(NEEDED\)' >&2
    echo "$file is not static" >&2
    exit 1
fi
size=$(stat -c %s "$file")
echo "static file for $machine: $size bytes (at most $limit)"
if [ "$size" -gt "$limit" ]; then
    echo "$file is larger than $limit bytes" >&2
    exit 1
fi
echo "$file"
