#!/bin/bash
# Measures `monopod runtime` beside Debian's crun and runc, in turns: create + start + delete of a bundle, and exec in one that runs.
# The bundle is what Podman makes of busybox: with its default seccomp profile and with limits.
#   MONOPOD=FILE ci/bench/runtime.sh [TURNS]
# Prints medians: wall time, processor time of all processes, the largest memory of one process. Needs root, podman, perl, and the
# machine for itself. It runs in a mount namespace of its own, without version 2 beside version 1: Debian's crun refuses such.
set -eu
self=$(realpath "$0")
cd "$(dirname "$self")/../.."
if [ -z "${MONOPOD_BENCH:-}" ]; then
    MONOPOD=$(realpath "${MONOPOD:-target/$(uname -m)-unknown-linux-musl/release/monopod}")
    export MONOPOD MONOPOD_BENCH=1
    exec unshare --mount --propagation private "$self" "$@"
fi
turns=${1:-30}
mountpoint -q /sys/fs/cgroup/unified && umount -l /sys/fs/cgroup/unified
mount -t tmpfs -o mode=755 none /run
work=$(mktemp -d /var/tmp/monopod-bench.XXXXXX)
podman=(podman --root "$work/root" --runroot /run/podman --tmpdir /run/podman-tmp --runtime crun --cgroup-manager cgroupfs --events-backend file)
close() {
    "${podman[@]}" rm -fa -t 0 >/dev/null 2>&1 || true
    while umount -l "$work/root/overlay" 2>/dev/null; do :; done
    rmdir /sys/fs/cgroup/*/monopod-bench /sys/fs/cgroup/monopod-bench 2>/dev/null || true
    # What was mounted in the container's own namespace goes a moment after it.
    for _ in 1 2 3 4 5 6 7 8 9; do rm -rf "$work" 2>/dev/null && break; sleep 0.3; done
}
trap close EXIT
build/busybox-image.sh "$work/image.tar"
limits=(--memory 256m --pids-limit 100 --cpus 1.5 --ulimit nofile=1024:1024 --ulimit nproc=1024:1024)
id=$("${podman[@]}" create -q --network none "${limits[@]}" "oci-archive:$work/image.tar" sleep 1000)
"${podman[@]}" init "$id" >/dev/null
config=$("${podman[@]}" inspect -f '{{.OCIConfigPath}}' "$id")
mkdir -p "$work/bundle/rootfs/bin" "$work/monopod"
for directory in proc sys dev etc run tmp; do mkdir -p "$work/bundle/rootfs/$directory"; done
cp "$(command -v busybox)" "$work/bundle/rootfs/bin/busybox"
for applet in sleep true sh; do ln -s busybox "$work/bundle/rootfs/bin/$applet"; done
sed -E "s|\"root\":\{\"path\":\"[^\"]*\"|\"root\":{\"path\":\"$work/bundle/rootfs\"|; s|/libpod_parent/libpod-[0-9a-f]*|/monopod-bench/one|g" \
    "$config" >"$work/bundle/config.json"
grep -q SCMP_ACT_ERRNO "$work/bundle/config.json" && grep -q '"memory":{"limit"' "$work/bundle/config.json"
# Called by this name the file is the runtime.
ln -s "$MONOPOD" "$work/monopod/runc"
cat >"$work/measure.pl" <<'PERL'
use Time::HiRes qw(time); use strict;
# measure.pl TURNS BUNDLE NAME=FILE…
my ($turns, $bundle, @runtimes) = @ARGV;
open(STDIN, '<', '/dev/null');
sub quiet { my $pid = fork // die; if (!$pid) { open(STDOUT, '>', '/dev/null'); exec(@_) or die "$_[0]: $!" } waitpid($pid, 0); return $? }
sub must { quiet(@_) == 0 or die "failed: @_\n" }
# Wall and processor milliseconds, and kilobytes: in a process of its own, so that its children's figures are of this alone.
sub measured {
    my ($work) = @_;
    pipe(my $r, my $w) or die;
    my $pid = fork // die;
    if (!$pid) {
        my $began = time; $work->(); my $wall = time - $began;
        my $usage = "\0" x 144; syscall(98, -1, $usage);
        my @n = unpack('q5', $usage);
        printf $w "%f %f %d\n", 1000 * $wall, 1000 * ($n[0] + $n[2]) + ($n[1] + $n[3]) / 1000, $n[4];
        close $w; exit 0;
    }
    close $w; my $line = <$r>; waitpid($pid, 0); $? == 0 or die "a turn failed\n";
    return [split ' ', $line];
}
sub median { my ($at, @all) = @_; my @sorted = sort { $a <=> $b } map { $_->[$at] } @all; return $sorted[@sorted / 2] }
my (%life, %exec);
for my $turn (0 .. $turns) {
    for (@runtimes) {
        my ($name, $file) = split /=/;
        my $life = measured(sub {
            must($file, 'create', '--bundle', $bundle, "bench$turn"); must($file, 'start', "bench$turn");
            must($file, 'delete', '--force', "bench$turn");
        });
        must($file, 'create', '--bundle', $bundle, "exec$turn"); must($file, 'start', "exec$turn");
        my $exec = measured(sub { must($file, 'exec', "exec$turn", '/bin/true') });
        must($file, 'delete', '--force', "exec$turn");
        # The first turn warms up.
        if ($turn) { push @{$life{$name}}, $life; push @{$exec{$name}}, $exec }
    }
}
print "| what | runtime | wall, ms | processor, ms | memory, kB |\n|---|---|---|---|---|\n";
for (['create + start + delete', \%life], ['exec', \%exec]) {
    my ($what, $of) = @$_;
    for my $name (map { (split /=/)[0] } @runtimes) {
        printf "| %s | %s | %.1f | %.1f | %d |\n", $what, $name, map { median($_, @{$of->{$name}}) } 0 .. 2;
    }
}
PERL
runtimes=(monopod="$work/monopod/runc")
for name in crun runc; do
    if path=$(command -v $name); then runtimes+=("$name=$path"); else echo "SKIPPED: $name is not installed" >&2; fi
done
perl "$work/measure.pl" "$turns" "$work/bundle" "${runtimes[@]}"
