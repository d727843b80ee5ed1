#!/bin/bash
# Makes build/used-first.ld anew: the functions that one `run` uses, in the order of their first use, for the linker.
#   build/used-first.sh
# To be run when the compiler, a dependency or much of the code has changed; a list that is older costs memory, nothing else.
# It builds the release file with its symbols and lets build/first-use.py stop at each function once. Needs root, python3,
# binutils and busybox-static.
set -eu
cd "$(dirname "$0")/.."

# The flag is for the last step only: another profile would give all functions other names.
cargo rustc --release --locked --target x86_64-unknown-linux-musl -p monopod --bin monopod -- -C strip=none
work=$(mktemp -d /var/tmp/monopod-used.XXXXXX)
trap 'rm -rf "$work"' EXIT
file=$work/monopod
cp "${CARGO_TARGET_DIR:-target}/x86_64-unknown-linux-musl/release/monopod" "$file"
nm -S "$file" | awk 'NF == 4 && $3 ~ /^[tTwW]$/ { print $1, $2, $4 }' | sort -u >"$work/functions"
cut -d ' ' -f 1 "$work/functions" | uniq >"$work/addresses"

build/busybox-image.sh "$work/busybox.tar"
monopod() { "$file" --root "$work/root" --runroot "$work/run" "$@"; }
monopod load -q -i "$work/busybox.tar"
monopod run --rm --network none localhost/busybox:latest true
build/first-use.py "$work/addresses" "$file" --root "$work/root" --runroot "$work/run" \
    run --rm --network none localhost/busybox:latest true >"$work/met"

# A name ends with a hash, which a change of the compiler or of its settings changes. So those that were met come first by their
# whole names: those of the command itself, then those of the processes that it starts. Behind them, for files of other
# compilers, all that are called alike, unless that would bring along more than 64 KB of others that were not met.
# Behind each part the linker leaves out some pages of addresses (none of the file): so each is mapped by itself, and a kernel that
# maps whole folios of its page cache (6.18) does not bring in what stands beside it. The tables for unwinding are kept from the
# other constants in the same way.
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
    # What is seldom called stands in sections of the same name with a word before it (.text.unlikely.NAME).
    function tell(said) { if (said != "" && !told[said]++) print "*(.text." said " .text.*." said ")" }
    # Several names may stand for the same code.
    function tell_all(names,   list, k) { split(names, list); for (k = 1; k in list; k++) tell(list[k]) }
    function part(section) { print "." section " : {" }
    FILENAME == ARGV[1] { order[++count] = $1; who[$1] = $2; next }
    $1 in who { name[$1] = name[$1] " " $3; alike[$1] = stem($3); next }
    { others[stem($3)] += number($2) }
    END {
        gap = ". = ALIGN(4096) + 8192;"
        print "/* Made by build/used-first.sh: what one `run` uses, in the order of first use. */"
        print "SECTIONS {"
        part("text.used")
        for (i = 1; i <= count; i++) if (who[order[i]] == "self") tell_all(name[order[i]])
        print "*crt1.o(.text)"
        print "} " gap
        part("text.beside")
        for (i = 1; i <= count; i++) tell_all(name[order[i]])
        print "} " gap
        part("text.alike")
        for (i = 1; i <= count; i++) if (others[alike[order[i]]] <= 65536) tell(alike[order[i]])
        print "} } INSERT BEFORE .text;"
        print "SECTIONS { " gap " } INSERT AFTER .rodata;"
    }' "$work/met" "$work/functions" >"$work/list"
mv "$work/list" build/used-first.ld
wc -l build/used-first.ld
