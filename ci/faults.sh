#!/bin/sh
# What takes too long for every change: 200 commands killed while they set networks up or take them down, 200 containers in
# one network. Needs what ci/test.sh installs; best run as root.
#   MONOPOD=FILE ci/faults.sh
set -eu
cd "$(dirname "$0")/.."
: "${MONOPOD:?the file to test}"
export MONOPOD MONOPOD_KILLS="${MONOPOD_KILLS:-200}" MONOPOD_CROWD="${MONOPOD_CROWD:-200}"
cargo test --locked -p monopod --test it -- --nocapture network_faults
