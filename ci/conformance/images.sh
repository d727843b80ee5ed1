#!/bin/bash
# Sends one image round: between monopod and Debian's docker-registry (with TLS and passwords), skopeo, podman, buildah and umoci, in
# each direction, and compares the digests of its manifest and configuration after every step. Prints one line for each step.
#
#   MONOPOD=FILE ci/conformance/images.sh
#
# Needs root, and docker-registry, apache2-utils (htpasswd), openssl, skopeo, podman, buildah and umoci from Debian; the steps of one
# that is missing are skipped, loudly. Each engine has a store of its own below a directory that goes at the end.
# Ends with 1 if a step fails or a digest differs.
set -u
cd "$(dirname "$(realpath "$0")")/../.."
[ "$(id -u)" = 0 ] || { echo "$0: needs root" >&2; exit 1; }
MONOPOD=$(realpath "${MONOPOD:-target/$(uname -m)-unknown-linux-musl/release/monopod}") || exit 1
[ -x "$MONOPOD" ] || { echo "$0: no $MONOPOD: run build/release.sh" >&2; exit 1; }
work=$(mktemp -d /var/tmp/conformance-images.XXXXXX)
registry=
finish() {
    [ -z "$registry" ] || kill "$registry" 2>/dev/null
    rm -rf "$work"
}
trap finish EXIT
failed=0
has() {
    command -v "$1" >/dev/null && return
    echo "SKIPPED: $1 is not installed" >&2
    return 1
}
for needed in docker-registry htpasswd openssl skopeo; do has "$needed" || exit 0; done

# The registry: an authority with one certificate, one user.
(
    cd "$work" || exit 1
    openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.crt -days 2 -subj /CN=conformance
    openssl req -newkey rsa:2048 -nodes -keyout server.key -out server.csr -subj /CN=localhost
    printf 'subjectAltName=IP:127.0.0.1,DNS:localhost\nbasicConstraints=CA:FALSE\n' >server.ext
    openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile server.ext -out server.crt
) >/dev/null 2>&1
mkdir "$work/certs"
cp "$work/ca.crt" "$work/certs/ca.crt"
htpasswd -Bbn someone secret >"$work/htpasswd" 2>/dev/null
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
cat >"$work/registry.yml" <<END
version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: $work/registry}}
http: {addr: "127.0.0.1:$port", tls: {certificate: $work/server.crt, key: $work/server.key}}
auth: {htpasswd: {realm: conformance, path: $work/htpasswd}}
END
OTEL_TRACES_EXPORTER=none docker-registry serve "$work/registry.yml" >"$work/registry.log" 2>&1 &
registry=$!
for _ in $(seq 200); do
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && break
    sleep 0.05
done
at=127.0.0.1:$port
auth=$work/auth.json

ours() { "$MONOPOD" --root "$work/ours" --runroot "$work/ours-run" "$@"; }
copy() { skopeo --insecure-policy "$@"; }
engine() { "$1" --root "$work/$1" --runroot "$work/$1-run" --storage-driver vfs "${@:2}"; }
sha() { sha256sum | cut -d' ' -f1; }
manifest() { # REFERENCE: digests of manifest and configuration, as skopeo reads them
    copy inspect --raw --authfile "$auth" --cert-dir "$work/certs" "$1" >"$work/raw" 2>"$work/log" || return 1
    echo "$(sha <"$work/raw") $(python3 -c 'import json, sys; print(json.load(sys.stdin)["config"]["digest"])' <"$work/raw")"
}
step() { # TITLE COMMAND…
    if "${@:2}" >"$work/log" 2>&1; then echo "done    $1"; else
        echo "FAILED  $1"
        sed 's/^/        /' "$work/log"
        failed=1
        return 1
    fi
}
same() { # TITLE EXPECTED FOUND
    if [ -n "$2" ] && [ "$2" = "$3" ]; then echo "same    $1"; else
        echo "DIFFERS $1: ${3:-nothing} instead of ${2:-nothing}"
        failed=1
    fi
}

build/busybox-image.sh "$work/image.tar" localhost/round:1 >/dev/null || exit 1
origin=$(manifest "oci-archive:$work/image.tar")
id=${origin#* sha256:}

step "monopod logs in, with TLS" ours login --authfile "$auth" --cert-dir "$work/certs" -u someone -p secret "$at"
! ours login --authfile "$work/none" --cert-dir "$work/certs" -u someone -p wrong "$at" >/dev/null 2>&1 || {
    echo "FAILED  a wrong password is taken"
    failed=1
}
step "monopod loads" ours load -q -i "$work/image.tar"
step "monopod pushes" ours push -q --authfile "$auth" --cert-dir "$work/certs" localhost/round:1 "$at/ours:1"
same "monopod → registry" "$origin" "$(manifest "docker://$at/ours:1")"
step "skopeo copies out of the registry" copy copy --src-authfile "$auth" --src-cert-dir "$work/certs" "docker://$at/ours:1" \
    "oci:$work/by-skopeo:1"
same "registry → skopeo" "$origin" "$(manifest "oci:$work/by-skopeo:1")"
step "skopeo copies into the registry" copy copy --dest-authfile "$auth" --dest-cert-dir "$work/certs" "oci:$work/by-skopeo:1" \
    "docker://$at/skopeo:1"
ours rmi -f -a >/dev/null
step "monopod pulls what skopeo sent" ours pull -q --authfile "$auth" --cert-dir "$work/certs" "$at/skopeo:1"
same "skopeo → registry → monopod" "sha256:${origin% *}" "$(ours images --format '{{.Digest}}' "$at/skopeo")"
for form in oci-archive docker-archive oci docker-dir; do
    case $form in
    oci) step "monopod saves as oci-dir" ours save -q --format oci-dir -o "$work/saved-$form" "$at/skopeo:1" ;;
    docker-dir)
        step "monopod saves as $form" ours save -q --format $form -o "$work/saved-$form" "$at/skopeo:1"
        found=$(manifest "dir:$work/saved-$form")
        same "monopod → $form → skopeo, configuration" "sha256:$id" "${found#* }"
        continue
        ;;
    *) step "monopod saves as $form" ours save -q --format $form -o "$work/saved-$form" "$at/skopeo:1" ;;
    esac
    found=$(manifest "$form:$work/saved-$form")
    case $form in
    docker-archive) same "monopod → $form → skopeo, configuration" "sha256:$id" "${found#* }" ;;
    *) same "monopod → $form → skopeo" "$origin" "$found" ;;
    esac
done

# Layers without blobs, and an image of an additional store.
ours rmi -f -a >/dev/null
step "monopod pulls without blobs" ours pull -q --no-blobs --authfile "$auth" --cert-dir "$work/certs" "$at/skopeo:1"
step "monopod saves what has no blobs" ours save -q -o "$work/rebuilt" "$at/skopeo:1"
same "without blobs, docker-archive" "$(sha <"$work/saved-docker-archive")" "$(sha <"$work/rebuilt")"
step "monopod pushes what has no blobs" ours push -q --authfile "$auth" --cert-dir "$work/certs" "$at/skopeo:1" "$at/rebuilt:1"
same "without blobs → registry that has them" "$origin" "$(manifest "docker://$at/rebuilt:1")"
step "monopod saves an image of an additional store" "$MONOPOD" --root "$work/third" --runroot "$work/third-run" \
    --imagestore "$work/ours" save -q -o "$work/lent" "$at/skopeo:1"
same "additional store, docker-archive" "$(sha <"$work/rebuilt")" "$(sha <"$work/lent")"
ours rmi -f -a >/dev/null
step "monopod pulls it again" ours pull -q --authfile "$auth" --cert-dir "$work/certs" "$at/skopeo:1"

if has umoci; then
    step "umoci unpacks what monopod saved" umoci unpack --image "$work/saved-oci:$at/skopeo:1" "$work/bundle"
    step "umoci packs a change" sh -c "echo changed >$work/bundle/rootfs/changed && umoci repack --image $work/saved-oci:changed $work/bundle"
    step "monopod pulls what umoci packed" ours pull -q "oci:$work/saved-oci:changed"
    step "monopod runs it" ours run --rm --network none "oci:$work/saved-oci:changed" grep -q changed /changed
    same "umoci → monopod" "$(manifest "oci:$work/saved-oci:changed" | cut -d' ' -f1)" \
        "$(ours images --format '{{.Digest}}' | sed 's/^sha256://' | grep -v "${origin% *}" | sort -u)"
fi

for name in podman buildah; do
    has "$name" || continue
    step "$name pulls what monopod pushed" engine $name pull -q --authfile "$auth" --cert-dir "$work/certs" "$at/ours:1"
    case $name in
    podman) got=$(engine podman images -q --no-trunc "$at/ours:1") ;;
    *) got=sha256:$(engine buildah images -q --no-trunc "$at/ours:1" | sed 's/^sha256://') ;;
    esac
    same "monopod → registry → $name, configuration" "sha256:$id" "$got"
    step "$name pushes" engine $name push -q --authfile "$auth" --cert-dir "$work/certs" "$at/ours:1" "docker://$at/$name:1"
    ours rmi -f -a >/dev/null
    step "monopod pulls what $name pushed" ours pull -q --authfile "$auth" --cert-dir "$work/certs" "$at/$name:1"
    same "$name → registry → monopod, configuration" "sha256:$id" "$(ours images -q --no-trunc "$at/$name")"
    step "monopod runs it" ours run --rm --network none "$at/$name:1" true
    step "monopod writes to the store of $name" ours copy -q "docker://$at/$name:1" --src-authfile "$auth" --src-cert-dir "$work/certs" \
        "containers-storage:[overlay@$work/shared+$work/shared-run]localhost/shared:$name"
    step "$name reads it there" "$name" --root "$work/shared" --runroot "$work/shared-run" --storage-driver overlay \
        inspect $([ $name = buildah ] && echo --type image) "localhost/shared:$name"
    ours rmi -f -a >/dev/null
    step "monopod reads it there" ours pull -q "containers-storage:[overlay@$work/shared+$work/shared-run]localhost/shared:$name"
    same "monopod → containers-storage → monopod, configuration" "sha256:$id" "$(ours images -q --no-trunc)"
done

if has podman; then
    step "podman saves for monopod" engine podman save -q --format oci-archive -o "$work/by-podman.tar" "$at/ours:1"
    ours rmi -f -a >/dev/null
    step "monopod loads podman's oci-archive" ours load -q -i "$work/by-podman.tar"
    same "podman → oci-archive → monopod, configuration" "sha256:$id" "$(ours images -q --no-trunc)"
    # Last: what podman has loaded from such an archive it saves with another configuration.
    step "podman loads monopod's docker-archive" engine podman load -q -i "$work/saved-docker-archive"
    same "monopod → docker-archive → podman, configuration" "sha256:$id" "$(engine podman images -q --no-trunc "$at/skopeo:1")"
fi
[ $failed = 0 ] && echo "all as it should be"
exit $failed
