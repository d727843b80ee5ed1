#!/bin/sh
# Passes every test on the file that is shipped: builds it, then runs the tests of each room, the end-to-end tests, the
# tests in a virtual machine and a short run of the bench. Installs what they need. Best run as root: what needs root is
# skipped otherwise, and says so.
#   MONOPOD=FILE ci/test.sh [filter…]      tests another file than a fresh release; passes the filter on
set -eu
cd "$(dirname "$0")/.."
export CARGO_TERM_COLOR="${CARGO_TERM_COLOR:-never}"

build/setup.sh iproute2 nftables curl dnsmasq-base iperf3 gcc libc6-dev binutils musl-tools busybox-static cpio uidmap strace qemu-system-x86 debootstrap podman conmon containerd docker.io docker-registry openssl gnupg skopeo bind9-dnsutils apache2-utils slirp4netns passt aardvark-dns netavark
if [ -z "${MONOPOD:-}" ]; then
    build/release.sh
    MONOPOD=$PWD/target/$(uname -m)-unknown-linux-musl/release/monopod
fi
export MONOPOD
ci/vm/run.sh fetch
cargo build --locked -p bench

if command -v cargo-nextest >/dev/null; then
    exec cargo nextest run --workspace --locked --no-fail-fast "$@" </dev/null
else
    exec cargo test --workspace --locked --no-fail-fast "$@" </dev/null
fi
