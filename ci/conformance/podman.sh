#!/bin/bash
# Runs Podman's own system tests (bats, version 4.3.1) of the files about containers with the built file and with Debian's
# podman, one after the other, and prints a table of what fails and why. Without a checkout of them it is skipped, loudly.
#
#   MONOPOD=FILE PODMAN_TESTS=DIRECTORY [FILES='030 065'] [LOGS=DIRECTORY] ci/conformance/podman.sh
#
#   MONOPOD        the built file (else what build/release.sh leaves)
#   PODMAN_TESTS   a checkout of containers/podman, v4.3.1, outside of this repository: nothing of it is kept here
#   FILES          beginnings of names of the files to run; else those about containers
#   LOGS           where what the tests wrote is left
# Needs root, and from Debian: bats jq python3 skopeo docker-registry busybox-static socat apache2-utils catatonit iputils-ping podman
#
# Each engine runs in namespaces of its own, with no way out of the machine. Images stand in for those that the tests want:
# podman-image.py makes them of the machine's busybox, and a registry on this machine serves them.
# The reasons of failures are in podman-failures.tsv. Ends with 1 if a test fails that podman passes, and that has no reason there.
set -u
self=$(realpath "$0")
HERE=$(dirname "$self")
SUITE=${SUITE:-${PODMAN_TESTS:-}}
T=$SUITE/test/system
if [ ! -f "$T/helpers.bash" ]; then
    echo "SKIPPED: Podman's system tests: PODMAN_TESTS names no checkout with test/system" >&2
    exit 0
fi
[ "$(id -u)" = 0 ] || { echo "$0: needs root" >&2; exit 1; }
if [ -z "${PODMAN_CONFORMANCE:-}" ]; then
    MONOPOD=$(realpath "${MONOPOD:-$HERE/../../target/$(uname -m)-unknown-linux-musl/release/monopod}") || exit 1
    [ -x "$MONOPOD" ] || { echo "$0: no $MONOPOD: run build/release.sh" >&2; exit 1; }
    for program in bats jq python3 skopeo docker-registry busybox; do
        command -v "$program" >/dev/null || { echo "SKIPPED: Podman's system tests: no $program" >&2; exit 0; }
    done
fi

# Prepares the world of one engine, and runs the files.
world() {
W=$(mktemp -d /var/tmp/conformance.XXXXXX)
mkdir -p "$W"/{graph,etc,reg,img,bin,tmp}
BB=$(command -v busybox); REGPORT=5999
cleanup() {
    for p in ${REGPID:-} ${SYSLOGPID:-}; do kill "$p" 2>/dev/null; done
    # $W has mounts below it (a /dev): detach them, and never cross into another file system
    [ -n "${PODMAN_CONFORMANCE:-}" ] && umount -l /mnt "$W/dev" "$W/graph/overlay" /var/lib/containers /var/lib/monopod 2>/dev/null
    rm -rf --one-file-system "$W" 2>/dev/null
}
trap cleanup EXIT

# --- names the suite wants, read from the suite itself
eval "$(grep -E '^(PODMAN_TEST_IMAGE|PODMAN_NONLOCAL_IMAGE|PODMAN_SYSTEMD_IMAGE)[A-Z_]*=' "$T/helpers.bash")"
IMAGE=$PODMAN_TEST_IMAGE_FQN; NONLOCAL=$PODMAN_NONLOCAL_IMAGE_FQN
REG=$PODMAN_TEST_IMAGE_REGISTRY; USER_=$PODMAN_TEST_IMAGE_USER
REGTAG=$(grep -rhoE '/registry:[0-9.]+' "$T" | head -1)

# --- private world
if [ -n "${PODMAN_CONFORMANCE:-}" ]; then
    ip link set lo up
    ip link add ext0 type veth peer name ext1 && ip link set ext1 up && ip addr add 192.0.2.10/24 dev ext0 && ip addr add 2001:db8::10/64 dev ext0 nodad 2>/dev/null
    ip link set ext0 up; ip route add default via 192.0.2.1; ip -6 route add default via 2001:db8::1 2>/dev/null
    sysctl -qw net.ipv4.ip_forward=1
    mkdir -p /var/lib/containers /run/containers /run/libpod /run/netns /run/podman /run/crun /etc/containers /run/systemd
    mount --bind "$W/graph" /var/lib/containers
    # The other engine's places: nothing of the host's containers is seen or touched.
    mkdir -p /var/lib/monopod /run/monopod "$W/monopod"
    mount --bind "$W/monopod" /var/lib/monopod; mount -t tmpfs -o mode=755 tmpfs /run/monopod
    for d in containers libpod netns podman crun lock; do mkdir -p /run/$d; mount -t tmpfs -o mode=755 tmpfs /run/$d; done
    mount -t tmpfs tmpfs /run/systemd      # hide a half-present systemd
    mount --bind "$W/etc" /etc/containers
    mount --bind "$W/tmp" /mnt; TD=/mnt          # a short TMPDIR: a runroot may not exceed 50 characters
    echo "nameserver 192.0.2.10" >"$W/resolv.conf"; mount --bind "$W/resolv.conf" "$(readlink -f /etc/resolv.conf)"   # refuses at once
    # a private /dev with a syslog socket: some network helpers complain on stderr without one
    mkdir -p "$W"/devup "$W"/devwork "$W"/dev
    if mount -t overlay overlay -o "lowerdir=/dev,upperdir=$W/devup,workdir=$W/devwork" "$W/dev" 2>/dev/null; then
        for d in pts mqueue; do [ -d /dev/$d ] && mount --bind /dev/$d "$W/dev/$d" 2>/dev/null; done
        mount -t tmpfs -o mode=1777 tmpfs "$W/dev/shm"      # podman keeps its lock table there: keep it private
        mount --rbind "$W/dev" /dev
    else
        mount -t tmpfs -o mode=1777 tmpfs /dev/shm
    fi
    if [ -c "$W/dev/null" ]; then
        busybox syslogd -n -O "$OUT/syslog.log" & SYSLOGPID=$!
    fi
    case "${CGROUP:-v1}" in
    v2) umount -R /sys/fs/cgroup; mount -t cgroup2 cgroup2 /sys/fs/cgroup;;
    v1) mountpoint -q /sys/fs/cgroup/unified && umount /sys/fs/cgroup/unified;;   # crun refuses hybrid mode
    esac
fi
cat >"$W/etc/policy.json" <<E
{"default":[{"type":"insecureAcceptAnything"}]}
E
cat >"$W/etc/registries.conf" <<E
unqualified-search-registries = ["$REG"]
[[registry]]
prefix = "$REG"
location = "127.0.0.1:$REGPORT"
insecure = true
E
mkdir -p "$W/etc/registries.conf.d" "$W/etc/networks" "$W/etc/certs.d"
# infra images named by the tests, on whatever registry: HOST/pause:TAG
PAUSES=$(grep -rhoE '[a-z0-9.]+\.[a-z]+/pause:[0-9.]+' "$T" | sort -u)
for h in $(sed 's,/.*,,' <<<"$PAUSES" | sort -u); do
    printf '[[registry]]\nprefix = "%s"\nlocation = "127.0.0.1:%s/%s"\ninsecure = true\n' "$h" $REGPORT "$USER_" >>"$W/etc/registries.conf"
done

# --- images
mk() { python3 "$HERE/podman-image.py" --busybox "$BB" "$@" >>"$W/mk.log" || { cat "$W/mk.log"; exit 2; }; }
EXTRA=()          # busybox ping needs CAP_NET_RAW, so take the host's; newer suites also want ip -j and socat
x() { local p; p=$(command -v "$1") && EXTRA+=(--extra "$(readlink -f "$p"):$2"); }
x ping bin/ping; [ "${PODMAN_SYSTEMD_IMAGE_NAME:-}" ] && { x ip sbin/ip; x socat usr/bin/socat; }
mk --name "$IMAGE" "${EXTRA[@]}" --docker-archive "$W/img/test.tar" --oci-archive "$W/img/test.oci.tar"
mk --minimal --name "$NONLOCAL" --oci-archive "$W/img/nl-amd64.tar"
mk --minimal --name "$NONLOCAL" --arch arm64 --oci-archive "$W/img/nl-arm64.tar"
if command -v docker-registry >/dev/null; then
    cat >"$W/inreg.yml" <<E
version: 0.1
storage: {filesystem: {rootdirectory: /var/lib/registry}, delete: {enabled: true}}
http: {addr: ":5000"}
E
    mk --name "$REG/$USER_$REGTAG" --extra "$(command -v docker-registry):bin/registry" --file "$W/inreg.yml:etc/registry.yml:644" \
       --config '{"Entrypoint":["/bin/registry"],"Cmd":["serve","/etc/registry.yml"],"WorkingDir":"/","ExposedPorts":{"5000/tcp":{}},"Volumes":{"/var/lib/registry":{}}}' \
       --oci-archive "$W/img/registry.tar"
    cat >"$W/reg.yml" <<E
version: 0.1
log: {level: error}
storage: {filesystem: {rootdirectory: $W/reg}, delete: {enabled: true}}
http: {addr: "127.0.0.1:$REGPORT"}
E
    docker-registry serve "$W/reg.yml" >"$OUT/registry.log" 2>&1 & REGPID=$!
    for _ in $(seq 50); do (: >/dev/tcp/127.0.0.1/$REGPORT) 2>/dev/null && break; sleep 0.1; done
    push() { skopeo copy -q --dest-tls-verify=false "oci-archive:$1" "docker://127.0.0.1:$REGPORT/$USER_/$2" >>"$OUT/registry.log" 2>&1 || echo "push $2 failed"; }
    N=$PODMAN_TEST_IMAGE_NAME
    push "$W/img/test.oci.tar" "$N:$PODMAN_TEST_IMAGE_TAG"; push "$W/img/test.oci.tar" "$N:latest"
    push "$W/img/nl-amd64.tar" alpine:latest; push "$W/img/nl-amd64.tar" busybox:latest
    push "$W/img/nl-amd64.tar" "$N:multiimage"
    for p in alpine_labels:latest $(grep -rhoE "$REG/$USER_/(testimage|alpine_labels):[0-9a-z]+" "$SUITE/test/apiv2" 2>/dev/null | sort -u | sed "s,.*/,,"); do
        [ "$p" = "${IMAGE##*/}" ] || push "$W/img/test.oci.tar" "$p"; done
    for p in $PAUSES; do push "$W/img/test.oci.tar" "${p#*/}"; done
    for p in $(grep -rhoE '/registry:[0-9.]+' "$SUITE/test/system" "$SUITE/test/apiv2" 2>/dev/null | sort -u); do push "$W/img/registry.tar" "${p#/}"; done
    push "$W/img/nl-amd64.tar" "$N:nl-amd64"; push "$W/img/nl-arm64.tar" "$N:nl-arm64"
    python3 - "http://127.0.0.1:$REGPORT/v2/$USER_/$N/manifests/" "${NONLOCAL##*:}" <<'E'
import hashlib, json, sys, urllib.request as u
base, tag = sys.argv[1:]
MT = "application/vnd.oci.image.manifest.v1+json"; IT = "application/vnd.oci.image.index.v1+json"
ms = []
for arch in ("amd64", "arm64"):
    b = u.urlopen(u.Request(base + "nl-" + arch, headers={"Accept": MT})).read()
    ms.append({"mediaType": MT, "digest": "sha256:" + hashlib.sha256(b).hexdigest(), "size": len(b),
               "platform": {"architecture": arch, "os": "linux"}})
u.urlopen(u.Request(base + tag, method="PUT", headers={"Content-Type": IT},
          data=json.dumps({"schemaVersion": 2, "mediaType": IT, "manifests": ms}).encode()))
E
else
    echo "docker-registry missing: tests that pull will fail"
fi

# newer suites re-load images by `skopeo copy oci-archive:X containers-storage:Y`; a binary with its own
# store cannot see that, so turn it into `$PODMAN load`
REALSKOPEO=$(command -v skopeo || echo false)
cat >"$W/bin/skopeo" <<E
#!/bin/bash
for a in "\$@"; do case \$a in oci-archive:*) src=\${a#oci-archive:};; containers-storage:*) dst=\${a#containers-storage:};; esac; done
if [ "\$1" = copy ] && [ -n "\${src:-}" ] && [ -n "\${dst:-}" ]; then
    opts=(); if [[ \$dst == \[*\]* ]]; then b=\${dst%%]*}; b=\${b#[}; dst=\${dst#*]}
        [[ \$b == *@* ]] && opts+=(--storage-driver "\${b%%@*}") && b=\${b#*@}
        [[ \$b == *+* ]] && opts+=(--runroot "\${b#*+}") && b=\${b%%+*}
        [ -n "\$b" ] && opts+=(--root "\$b"); fi
    exec "$PODMAN" "\${opts[@]}" load -q -i "\$src"
fi
case "\$*" in *docker://$REG/*oci-archive:*) exec $REALSKOPEO copy -q --src-tls-verify=false \$(printf '%s\n' "\$@" | sed -n "s,^docker://$REG/,docker://127.0.0.1:$REGPORT/,p") "\${@: -1}";; esac
exec $REALSKOPEO "\$@"
E
chmod 755 "$W/bin/skopeo"
# newer suites call `openssl req -quiet`, which OpenSSL 3.0 does not know
if ! openssl req -help 2>&1 | grep -q -- -quiet; then
    printf '#!/bin/bash\na=(); for x; do [ "$x" = -quiet ] || a+=("$x"); done; exec %s "${a[@]}"\n' "$(command -v openssl)" >"$W/bin/openssl"; chmod 755 "$W/bin/openssl"
fi

export PODMAN PATH="$W/bin:$PATH" TMPDIR="${TD:-$W/tmp}" PODMAN_TIMEOUT=${PODMAN_TIMEOUT:-60} CONTAINERS_REGISTRIES_CONF=$W/etc/registries.conf
export PODMAN_IGNORE_CGROUPSV1_WARNING=1 BATS_NO_PARALLELIZE_WITHIN_FILE=1
unset XDG_RUNTIME_DIR DOCKER_HOST CONTAINER_HOST
# the image cache of newer suites lives here; seed it so nothing is fetched
cache=$W/tmp/podman-systest-imagecache-$(id -u); mkdir -p "$cache"
for p in "$IMAGE=$W/img/test.oci.tar" "$REG/$USER_$REGTAG=$W/img/registry.tar"; do
    [ -f "${p#*=}" ] && cp "${p#*=}" "$cache/$(sed -e 's;[/:];--;g' <<<"${p%%=*}").tar"; done

"$PODMAN" --version
"$PODMAN" load -i "$W/img/test.tar" || echo "!! load of the docker-archive stand-in failed"
"$PODMAN" image exists "$IMAGE" || echo "!! $IMAGE not in the store"

# --- run
for pre; do
    for f in "$T/$pre"*.bats; do
        [ -f "$f" ] || continue
        n=$(basename "$f" .bats)
        (cd "$SUITE" && timeout -k 15 "${FILE_TIMEOUT:-400}" bats --formatter tap "$f" </dev/null) >"$OUT/$n.tap" 2>"$OUT/$n.err"
        echo "$ENGINE: $n: $(grep -cE '^ok ' "$OUT/$n.tap") of $(sed -n 's/^1\.\.//p' "$OUT/$n.tap" | head -1)" >&2
        "$PODMAN" rm -af -t0 >/dev/null 2>&1
        "$PODMAN" image exists "$IMAGE" 2>/dev/null || "$PODMAN" load -q -i "$W/img/test.tar" >/dev/null 2>&1
    done
done
"$PODMAN" rm -af -t0 >/dev/null 2>&1
}

# --- what came of it
files=${FILES:-001 005 030 035 037 040 045 050 055 060 065 075 080 085 110 130 140 160 170 180 190 195 220 250 280 300 320 400 410 420}
if [ -n "${PODMAN_CONFORMANCE:-}" ]; then
    world $files
    exit
fi
results=$(mktemp -d /var/tmp/conformance-results.XXXXXX)
mkdir "$results/bin"
# Called by this name the file answers as that program would.
ln -s "$MONOPOD" "$results/bin/podman"
for engine in monopod podman; do
    case $engine in
    monopod) program=$results/bin/podman ;;
    podman) program=$(command -v podman) || { echo "SKIPPED: podman is not installed" >&2; continue; } ;;
    esac
    mkdir -p "$results/$engine"
    PODMAN_CONFORMANCE=1 ENGINE=$engine PODMAN=$program OUT=$results/$engine SUITE=$SUITE FILES=$files \
        unshare --mount --net --pid --fork --kill-child --mount-proc --propagation private -- "$self"
done
# FILE<tab>TEST<tab>passes, fails or skips
verdicts() {
    for tap in "$results/$1"/*.tap; do
        [ -f "$tap" ] || continue
        sed -nE "s/^not ok [0-9]+ (.*)/\1\tfails/p; s/^ok [0-9]+ (.*) # skip.*/\1\tskips/p; t; s/^ok [0-9]+ (.*)/\1\tpasses/p" "$tap" |
            sed "s/^/$(basename "$tap" .tap)\t/; s/ \t/\t/g"
    done
}
reasons=$HERE/podman-failures.tsv
verdicts podman >"$results/podman.tsv"
verdicts monopod >"$results/monopod.tsv"
awk -F'\t' -v reasons="$reasons" -v theirs="$results/podman.tsv" '
    BEGIN {
        while ((getline line <reasons) > 0) if (line !~ /^#/) { split(line, part, "\t"); why[part[1] "\t" part[2]] = part[3] }
        while ((getline line <theirs) > 0) { n = split(line, part, "\t"); peer[part[1] "\t" part[2]] = part[3]; if (part[3] == "passes") podman++ }
        print "| file | test | monopod | podman | why |"; print "|---|---|---|---|---|"
    }
    $3 == "passes" { monopod++ }
    $3 == "fails" {
        key = $1 "\t" $2; reason = why[key]
        if (reason == "" && peer[key] == "passes") { reason = "NOT KNOWN"; unknown++ }
        print "| " $1 " | " $2 " | fails | " (peer[key] ? peer[key] : "-") " | " reason " |"
    }
    END { print "| | passed | " monopod + 0 " | " podman + 0 " | |"; exit unknown > 0 }' "$results/monopod.tsv"
code=$?
if [ -n "${LOGS:-}" ]; then cp -r "$results" "$LOGS"; fi
rm -rf "$results"
exit $code
