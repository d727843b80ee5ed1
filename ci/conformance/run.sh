#!/bin/bash
# Runs suites that others wrote against `monopod runtime`, and Debian's runc and crun beside it, and prints one table: what each
# test came to on each of the three. Each suite that is not at hand is skipped, loudly.
#
#   MONOPOD=FILE RUNTIME_TOOLS=DIRECTORY CRUN=DIRECTORY CONTEST=DIRECTORY ci/conformance/run.sh [FILTER]
#
# What it needs, outside of this repository, in which nothing of the suites is kept:
#   MONOPOD        the built file (else what build/release.sh leaves)
#   RUNTIME_TOOLS  a checkout of opencontainers/runtime-tools in which its programs are built, static, with Go 1.21 or later (Debian 13
#                  has it; a chroot of it will do): CGO_ENABLED=0 GOFLAGS=-mod=vendor make runtimetest validation-executables
#   CRUN           a checkout of containers/crun in which tests/init is built; its tests/test_*.py are run (they want Python, and
#                  one of them 3.12):
#                  echo '#define HAVE_SECCOMP 1' >config.h && cc -static -D_GNU_SOURCE -I. -o tests/init tests/init.c
#   CONTEST        a directory with the programs contest and runtimetest of youki, and its bundle.tar.gz. Debian's libseccomp-dev,
#                  libsystemd-dev, libelf-dev, libdbus-1-dev and pkg-config, and in a checkout of youki-dev/youki, into TARGET:
#                  cargo build --locked -p contest
#                  RUSTFLAGS=-Ctarget-feature=+crt-static cargo build --locked --bin runtimetest --target $(uname -m)-unknown-linux-gnu
#                  (RUSTUP_TOOLCHAIN names another compiler than the one that it asks for; bundle.tar.gz is in tests/contest/contest)
#   runc, crun     from Debian; one that is missing has an empty column
# Needs root. All of it runs in a mount namespace of its own, with a /run of its own, and without version 2 beside version 1 where
# the machine has both: Debian's crun refuses such.
# The reasons of failures are in runtime-failures.tsv. Ends with 1 if monopod passes fewer than runc or crun, or does not pass a test
# that one of them passes, and that has no reason there.
set -u
self=$(realpath "$0")
cd "$(dirname "$self")/../.."
[ "$(id -u)" = 0 ] || { echo "$0: needs root" >&2; exit 1; }
if [ -z "${MONOPOD_CONFORMANCE:-}" ]; then
    MONOPOD=$(realpath "${MONOPOD:-target/$(uname -m)-unknown-linux-musl/release/monopod}") || exit 1
    [ -x "$MONOPOD" ] || { echo "$0: no $MONOPOD: run build/release.sh" >&2; exit 1; }
    export MONOPOD MONOPOD_CONFORMANCE=1
    exec unshare --mount --propagation private "$self" "$@"
fi
filter=${1:-}
mount -t tmpfs -o mode=755 none /run
mountpoint -q /sys/fs/cgroup/unified && umount -l /sys/fs/cgroup/unified
work=$(mktemp -d /run/conformance.XXXXXX)
mkdir "$work/monopod"
# Called by these names the file is the runtime, and crun's tests look for theirs. Copies: contest calls a link by what it leads to.
cp "$MONOPOD" "$work/monopod/runc"
cp "$MONOPOD" "$work/monopod/crun"
runtimes=(monopod runc crun)
file() { # NAME: the runtime's path, or nothing
    case $1 in
    monopod) echo "$work/monopod/runc" ;;
    *) command -v "$1" ;;
    esac
}
for name in runc crun; do [ -n "$(file "$name")" ] || echo "SKIPPED: $name is not installed" >&2; done

declare -A result
tests=()
note() { # SUITE/TEST RUNTIME WORD
    case " ${tests[*]:-} " in *" $1 "*) ;; *) tests+=("$1") ;; esac
    result["$1 $2"]=$3
}
sweep() { # RUNTIME-FILE: what a test left
    for id in $("$1" list -q 2>/dev/null); do "$1" delete --force "$id" >/dev/null 2>&1; done
}
verdict() { # CODE OUTPUT: of a program that speaks TAP
    if grep -q '^not ok' "$2"; then echo "$(grep -c '^ok' "$2")/$(grep -cE '^(not )?ok' "$2")"
    elif [ "$1" = 124 ]; then echo hangs
    elif [ "$1" != 0 ]; then echo fails
    # Some say nothing but why they failed.
    elif grep -q '^1\.\.0' "$2" && grep -q '"error"' "$2"; then echo fails
    elif grep -qiE '^ok .*# *skip|^1\.\.0.*skip' "$2" && ! grep -E '^ok' "$2" | grep -qviE '# *skip'; then echo skips
    else echo passes; fi
}

if [ -x "${RUNTIME_TOOLS:-}/runtimetest" ]; then
    for program in "$RUNTIME_TOOLS"/validation/*/*.t; do
        name=$(basename "$program" .t)
        case $name in *"$filter"*) ;; *) continue ;; esac
        for runtime in "${runtimes[@]}"; do
            path=$(file "$runtime")
            [ -n "$path" ] || continue
            log=$work/runtime-tools-$name-$runtime
            (cd "$RUNTIME_TOOLS" && RUNTIME=$path timeout -k 5 60 "$program") >"$log" 2>&1 </dev/null
            note "runtime-tools/$name" "$runtime" "$(verdict $? "$log")"
            sweep "$path"
        done
    done
else
    echo "SKIPPED: runtime-tools: RUNTIME_TOOLS names no checkout with its programs built" >&2
fi

if [ -x "${CRUN:-}/tests/init" ]; then
    for program in "$CRUN"/tests/test_*.py; do
        name=$(basename "$program" .py)
        case $name in *"$filter"*) ;; *) continue ;; esac
        for runtime in "${runtimes[@]}"; do
            path=$(file "$runtime")
            [ -n "$path" ] || continue
            [ "$runtime" != monopod ] || path=$work/monopod/crun
            log=$work/crun-$name-$runtime
            (cd "$CRUN" && env OCI_RUNTIME="$path" INIT="$CRUN/tests/init" TMPDIR="$work" srcdir=. PYTHONPATH=tests \
                timeout -k 5 300 python3 -u "$program") >"$log" 2>&1 </dev/null
            # Then what came before the test that waits for ever counts.
            [ $? != 124 ] || note "crun/$name" "$runtime" hangs
            while IFS='|' read -r test word; do note "crun/$name/$test" "$runtime" "$word"; done < <(
                sed -nE 's/^not ok [0-9]+ - (\S+).*/\1|fails/p; s/^ok [0-9]+ - (\S+).*# *SKIP.*/\1|skips/Ip; t; s/^ok [0-9]+ - (\S+).*/\1|passes/p' "$log")
            sweep "$path"
        done
    done
else
    echo "SKIPPED: crun's tests: CRUN names no checkout with tests/init built" >&2
fi

if [ -x "${CONTEST:-}/contest" ]; then
    for runtime in "${runtimes[@]}"; do
        path=$(file "$runtime")
        [ -n "$path" ] || continue
        # Group by group: the program ends with the first test that is not prepared for what it sees.
        for group in $(cd "$CONTEST" && ./contest list); do
            case $group in *"$filter"*) ;; *) continue ;; esac
            log=$work/contest-$group-$runtime
            (cd "$CONTEST" && RUNTIME_KIND=${runtime#monopod} timeout -k 5 300 ./contest run --runtime "$path" --runtimetest "$CONTEST/runtimetest" \
                --tests "$group") >"$log" 2>&1 </dev/null
            # `N / M : TEST : ok`
            while IFS='|' read -r test word; do note "contest/$group/${test// /-}" "$runtime" "$word"; done < <(
                sed -nE 's/^[0-9]+ *\/ *[0-9]+ *: *(.*) : not ok.*/\1|fails/p; s/^[0-9]+ *\/ *[0-9]+ *: *(.*) : skipped.*/\1|skips/p; t; s/^[0-9]+ *\/ *[0-9]+ *: *(.*) : ok.*/\1|passes/p' "$log")
            ! grep -q "^thread 'main'.* panicked" "$log" || note "contest/$group" "$runtime" fails
            sweep "$path"
        done
    done
else
    echo "SKIPPED: youki's contest: CONTEST names no directory with the program" >&2
fi

declare -A passed reason
while IFS=$'\t' read -r test why; do
    case $test in ''|'#'*) ;; *) reason[$test]=$why ;; esac
done <ci/conformance/runtime-failures.tsv
unknown=0
echo "| test | monopod | runc | crun | why |"
echo "|---|---|---|---|---|"
for test in "${tests[@]:-}"; do
    [ -n "$test" ] || continue
    line="| $test |"
    for runtime in "${runtimes[@]}"; do
        word=${result["$test $runtime"]:-}
        line+=" $word |"
        [ "$word" = passes ] && passed[$runtime]=$((${passed[$runtime]:-0} + 1))
    done
    why=${reason[$test]:-}
    if [ "${result["$test monopod"]:-}" = passes ]; then
        case $why in
        '' | 'now and then: '*) ;;
        *) echo "$test passes: runtime-failures.tsv needs no reason for it" >&2 ;;
        esac
        why=
    elif [ -z "$why" ]; then
        case " ${result["$test runc"]:-} ${result["$test crun"]:-} " in
        *' passes '*) why='NOT KNOWN' unknown=$((unknown + 1)) ;;
        esac
    fi
    echo "$line $why |"
done
echo "| passed, of ${#tests[@]} | ${passed[monopod]:-0} | ${passed[runc]:-0} | ${passed[crun]:-0} | |"
if [ -n "${LOGS:-}" ]; then cp -r "$work" "$LOGS"; fi
for runtime in runc crun; do [ "${passed[monopod]:-0}" -ge "${passed[$runtime]:-0}" ] || exit 1; done
[ "$unknown" = 0 ]
