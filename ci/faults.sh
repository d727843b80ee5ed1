#!/bin/sh
# What takes too long for every change: 200 commands killed while they set networks up or take them down, 200 containers in
# one network; 100 runs at once, 500 stopped containers, a gigabyte of log, 200 programs in one container, and each command
# that changes something killed at 40 moments. Needs what ci/test.sh installs; best run as root.
#   MONOPOD=FILE ci/faults.sh
set -eu
cd "$(dirname "$0")/.."
: "${MONOPOD:?the file to test}"
kills=${MONOPOD_KILLS:-40}
export MONOPOD MONOPOD_KILLS="${MONOPOD_KILLS:-200}" MONOPOD_CROWD="${MONOPOD_CROWD:-200}"
cargo test --locked -p monopod --test it -- --nocapture network_faults
export MONOPOD_RUNS="${MONOPOD_RUNS:-100}" MONOPOD_STOPPED="${MONOPOD_STOPPED:-500}" MONOPOD_FLOOD="${MONOPOD_FLOOD:-1000}" \
    MONOPOD_EXECS="${MONOPOD_EXECS:-200}" MONOPOD_KILLS="$kills"
cargo test --locked -p monopod --test it -- --nocapture endurance
