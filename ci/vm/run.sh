#!/bin/sh
# Boots an emulated machine (qemu, no KVM) with Debian's cloud kernel and an initramfs that holds the monopod file, one OCI
# archive and the kernel modules, and judges what the serial console says.
#   MONOPOD=FILE ci/vm/run.sh          all boots
#   ci/vm/run.sh fetch                 only gets the kernel (from Debian's archive; kept under target/)
# Needs apt-get, qemu-system-x86_64, busybox-static, cpio.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cache=$(cd "$here/../.." && pwd)/target/vm
modules="overlay virtio_pci virtio_blk ext4 crc32c_generic dummy macvlan ipvlan bridge veth nf_tables nft_chain_nat nft_nat nft_masq nft_fib_inet nft_ct"

fetch() {
    [ -e "$cache/kernel" ] && [ "$(cat "$cache/list" 2>/dev/null)" = "$modules" ] && return
    rm -rf "$cache"
    mkdir -p "$cache/package"
    cd "$cache/package"
    name() { apt-cache depends linux-image-cloud-amd64 2>/dev/null | sed -n 's/^ *Depends: \(linux-image-[0-9][^ ]*\)$/\1/p' | head -n 1; }
    [ -n "$(name)" ] || apt-get update -q >&2
    # As root apt reads as a user who may not write here, and says so; it downloads all the same.
    apt-get download -q "$(name)" >&2 || { apt-get update -q >&2 && apt-get download -q "$(name)" >&2; }
    dpkg-deb -x linux-image-*.deb .
    mkdir -p "$cache/modules"
    for module in $modules; do take "$module"; done
    mv boot/vmlinuz-* "$cache/kernel"
    echo "$modules" >"$cache/list"
    cd "$cache" && rm -rf package
}

take() { # MODULE: itself and what it depends on, numbered in the order of loading
    file=$(find lib/modules -name "$1.ko" | head -n 1)
    # What is no module is in the kernel itself.
    { [ -n "$file" ] && ! ls "$cache/modules/" | grep -q "^[0-9]*-$1.ko$"; } || return 0
    for needed in $(grep -ao 'depends=[a-zA-Z0-9_,-]*' "$file" | head -n 1 | cut -d= -f2 | tr , ' '); do
        take "$(basename "$(find lib/modules -name "$needed.ko" -o -name "$(echo "$needed" | tr _ -).ko" | head -n 1)" .ko)"
    done
    file=$(find lib/modules -name "$1.ko" | head -n 1)
    number=$(ls "$cache/modules" | wc -l)
    cp "$file" "$cache/modules/$(printf '%02d' "$number")-$1.ko"
}

if [ "${1:-}" = fetch ]; then
    fetch
    exit 0
fi
: "${MONOPOD:?the file to boot with}"
(fetch)

work=$(mktemp -d /var/tmp/monopod-vm.XXXXXX)
trap 'rm -rf "$work"' EXIT
"$here/../../build/busybox-image.sh" "$work/image.tar" localhost/busybox:latest

pack() { # DIRECTORY FILE
    (cd "$1" && find . -mindepth 1 | sort | cpio -o -H newc --quiet -R 0:0) >"$2"
}

# The first machine: no program but monopod.
bare=$work/bare
mkdir -p "$bare/lib/modules"
cp "$MONOPOD" "$bare/init"
cp "$work/image.tar" "$bare/image.tar"
cp "$cache"/modules/*-overlay.ko "$bare/lib/modules/overlay.ko"
pack "$bare" "$work/bare.cpio"

# The second: busybox drives the tests.
tests=$work/tests
mkdir -p "$tests/bin" "$tests/lib/modules" "$tests/proc" "$tests/sys" "$tests/dev" "$tests/run" "$tests/tmp" "$tests/disk" "$tests/etc"
cp "$MONOPOD" "$tests/bin/monopod"
cp "$work/image.tar" "$tests/image.tar"
cp "$(command -v busybox)" "$tests/bin/busybox"
cp "$cache"/modules/*.ko "$tests/lib/modules/"
cp "$here/tests.sh" "$tests/init"
printf 'root:x:0:0::/:/bin/sh\nuser:x:1000:1000::/tmp:/bin/sh\n' >"$tests/etc/passwd"
printf 'root:x:0:\nuser:x:1000:\n' >"$tests/etc/group"
chmod 755 "$tests/init" "$bare/init"
pack "$tests" "$work/tests.cpio"
truncate -s 512M "$work/disk"

boot() { # LOG INITRAMFS COMMAND LINE…: boots until the machine powers off
    log=$1 initramfs=$2
    shift 2
    begin=$(date +%s)
    timeout --foreground 240 qemu-system-x86_64 -accel tcg -cpu max -m 1024 -smp 2 -display none -monitor none -nic none \
        -no-reboot -serial stdio -drive "if=virtio,format=raw,file=$work/disk" -kernel "$cache/kernel" -initrd "$initramfs" \
        -append "console=ttyS0 quiet loglevel=3 panic=-1 $*" </dev/null >"$log" 2>&1 || {
        cat "$log"
        echo "ci/vm: the machine did not power off by itself: $*"
        exit 1
    }
    tr -d '\r' <"$log" >"$log.text"
    echo "ci/vm: booted and powered off in $(($(date +%s) - begin)) s: $*"
}

say() { # LOG WORDS: the console has to have said WORDS in a line of their own
    grep -qxF "$2" "$1.text" || {
        cat "$1.text"
        echo "ci/vm: the console did not say: $2"
        exit 1
    }
}

for kind in ramfs tmpfs; do
    boot "$work/bare-$kind" "$work/bare.cpio" "rootfstype=$kind" \
        '-- run --rm --memory 64m --pid host oci-archive:/image.tar sh -c "echo hello from $(hostname -s | wc -l) host; cat /sys/fs/cgroup/memory.max; cut -d\  -f7 /proc/[0-9]*/stat | grep -qx 1088 && echo interrupts reach it; exit 7"'
    say "$work/bare-$kind" "hello from 1 host"
    say "$work/bare-$kind" "67108864"
    # ttyS0 is device 4:64: somebody has it for a controlling terminal.
    say "$work/bare-$kind" "interrupts reach it"
    say "$work/bare-$kind" "monopod: exit code 7"
done

for round in first second ramfs unfiltered watched; do
    kind=tmpfs
    [ "$round" != ramfs ] || kind=ramfs
    boot "$work/$round" "$work/tests.cpio" "rootfstype=$kind -- $round"
    grep -E '^(ok|not ok|skip) ' "$work/$round.text" | sed "s/^/ci\/vm: $round: /"
    if grep -q '^not ok' "$work/$round.text" || ! grep -q '^ok ' "$work/$round.text"; then
        cat "$work/$round.text"
        exit 1
    fi
    say "$work/$round" "end of tests"
done
