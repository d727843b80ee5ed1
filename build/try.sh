#!/bin/sh
# Builds monopod and lets it do its main job once: a container from an OCI archive made of this machine's own busybox.
# Installs what the build lacks. Leaves the file and the archive under target/, and nothing else.
set -eu
cd "$(dirname "$0")/.."

build/setup.sh gcc libc6-dev binutils musl-tools busybox-static
build/release.sh >&2
file=target/$(uname -m)-unknown-linux-musl/release/monopod
archive=target/busybox.oci.tar
build/busybox-image.sh "$archive"

state=$(mktemp -d /var/tmp/monopod-try.XXXXXX)
trap 'rm -rf "$state"' EXIT
set -x
"$file" --root "$state/root" --runroot "$state/run" run --rm "oci-archive:$PWD/$archive" \
    sh -c 'echo "hello from a container: process $$ of $(hostname), $(busybox | head -n 1)"'
