#!/bin/sh
# Installs the Debian packages that are named and missing; says what to install where it may not do so itself.
#   build/setup.sh musl-tools busybox-static …
set -eu

missing=
for package in "$@"; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null; then
    echo "$0: this machine has no apt-get; install by its own means what Debian calls:$missing" >&2
    exit 1
fi
as_root=
if [ "$(id -u)" != 0 ]; then
    if ! command -v sudo >/dev/null; then
        echo "$0: missing:$missing; run as root: apt-get install$missing" >&2
        exit 1
    fi
    as_root="sudo -n"
fi
echo "installing:$missing" >&2
export DEBIAN_FRONTEND=noninteractive
# A fresh machine has no package lists yet; a stale list is refreshed only when it fails.
# shellcheck disable=SC2086
install() { $as_root apt-get install -y -q --no-install-recommends $missing </dev/null >&2; }
install 2>/dev/null || { $as_root apt-get update -q </dev/null >&2 && install; }
