#!/bin/bash
# Makes build/used-first.ld anew: the functions that one `run` uses, in the order of their first use, for the linker.
#   build/used-first.sh
# To be run when the compiler or much of the code has changed; a list that is older costs memory, nothing else. It builds the
# release file with its symbols, puts a probe of the kernel (uprobes) at each function and looks which are met. Needs root,
# tracefs, binutils, busybox-static, and some ten minutes: taking 9,000 probes away again is slow.
set -eu
cd "$(dirname "$0")/.."

# The flag is for the last step only: another profile would give all functions other names.
cargo rustc --release --locked --target x86_64-unknown-linux-musl -p monopod --bin monopod -- -C strip=none
file=$PWD/target/x86_64-unknown-linux-musl/release/monopod
tracing=/sys/kernel/tracing
[ -e $tracing/uprobe_events ] || mount -t tracefs none $tracing
work=$(mktemp -d /var/tmp/monopod-used.XXXXXX)
buffer=$(sed 's/ .*//' $tracing/buffer_size_kb)
clear_away() {
    echo 0 >$tracing/tracing_on
    echo 0 >$tracing/events/uprobes/enable || true
    echo >$tracing/uprobe_events
    echo "$buffer" >$tracing/buffer_size_kb
    echo 1 >$tracing/tracing_on
    rm -rf "$work"
}
[ ! -s $tracing/uprobe_events ] || { echo "$0: somebody else's probes are there" >&2; exit 1; }
trap clear_away EXIT

# Each function with its size; its address in the file is what the probe is told.
read -r address offset < <(readelf -SW "$file" | sed 's/\[ *//' | awk '$2 == ".text" { print $4, $5 }')
shift_by=$((0x$address - 0x$offset))
nm -S "$file" | awk 'NF == 4 && $3 ~ /^[tTwW]$/ { print $1, $2, $4 }' | sort -u -k1,1 >"$work/functions"
while read -r at _ _; do
    # Some begin with an instruction that cannot be probed.
    printf 'p:f%s %s:0x%x\n' "$at" "$file" $((0x$at - shift_by)) >>$tracing/uprobe_events || true
done <"$work/functions" 2>/dev/null

build/busybox-image.sh "$work/busybox.tar"
monopod() { "$file" --root "$work/root" --runroot "$work/run" "$@"; }
monopod load -q -i "$work/busybox.tar"
monopod run --rm --network none localhost/busybox:latest true
echo 0 >$tracing/options/overwrite
echo 400000 >$tracing/buffer_size_kb
echo 1 >$tracing/events/uprobes/enable
echo >$tracing/trace
echo 1 >$tracing/tracing_on
monopod run --rm --network none localhost/busybox:latest true
echo 0 >$tracing/tracing_on
sed -nE 's/^.* f([0-9a-f]{16}): .*$/\1/p' $tracing/trace | awk '!known[$1]++' >"$work/met"

# A name ends with a hash, which a change of the compiler or of its settings changes. So it is left out of the list, unless that
# would bring along more than 64 KB of others that are called alike and were not met.
awk '
    function stem(name) {
        if (match(name, /17h[0-9a-f]+E/)) return substr(name, 1, RSTART + 2) "*"
        sub(/\.llvm\.[0-9]+$/, ".llvm.*", name)
        return name
    }
    function number(text,   i, value) {
        for (i = 1; i <= length(text); i++) value = value * 16 + index("0123456789abcdef", substr(text, i, 1)) - 1
        return value
    }
    FILENAME == ARGV[1] { order[++count] = $1; met[$1] = 1; next }
    $1 in met { name[$1] = $3; next }
    { others[stem($3)] += number($2) }
    END {
        print "/* Made by build/used-first.sh: what one `run` uses, in the order of first use. */"
        print "SECTIONS { .text.used : {"
        for (i = 1; i <= count; i++) {
            said = stem(name[order[i]])
            if (others[said] > 65536) said = name[order[i]]
            if (said != "" && !told[said]++) print "*(.text." said ")"
        }
        print "} } INSERT BEFORE .text;"
    }' "$work/met" "$work/functions" >"$work/list"
mv "$work/list" build/used-first.ld
wc -l build/used-first.ld
