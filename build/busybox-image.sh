#!/bin/sh
# Makes an OCI archive out of this machine's static busybox: one gzip layer with a link for every applet.
#   build/busybox-image.sh FILE [NAME]
# Needs nothing but what every Debian has; the result is the same for the same busybox.
set -eu

out=${1:?usage: $0 FILE [NAME]}
name=${2:-localhost/busybox:latest}
busybox=$(command -v busybox) || { echo "$0: no busybox: install busybox-static" >&2; exit 1; }
case $(uname -m) in
x86_64) architecture=amd64 ;;
aarch64) architecture=arm64 ;;
*) architecture=$(uname -m) ;;
esac

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
pack() { # DIRECTORY FILE: a tar archive without anything of the moment or of who made it
    (cd "$1" && tar --sort=name --owner=0 --group=0 --numeric-owner --mtime=@1700000000 -cf - -- *) >"$2"
}

root=$work/root
mkdir -p "$root/bin" "$root/dev" "$root/etc" "$root/home" "$root/proc" "$root/root" "$root/run" "$root/sys" "$root/var"
mkdir -m 1777 "$root/tmp"
cp "$busybox" "$root/bin/busybox"
chmod 755 "$root/bin/busybox"
for applet in $("$busybox" --list); do
    [ "$applet" = busybox ] || ln -s busybox "$root/bin/$applet"
done
printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n' >"$root/etc/passwd"
printf 'root:x:0:\nnobody:x:65534:\n' >"$root/etc/group"
pack "$root" "$work/layer.tar"
gzip -n -6 -c "$work/layer.tar" >"$work/layer.tar.gz"

blobs=$work/image/blobs/sha256
mkdir -p "$blobs"
blob() { # FILE: moves it among the blobs; sets digest and size
    digest=$(sha256sum "$1" | cut -d' ' -f1)
    size=$(stat -c %s "$1")
    mv "$1" "$blobs/$digest"
}
diff_id=$(sha256sum "$work/layer.tar" | cut -d' ' -f1)
blob "$work/layer.tar.gz"
layer="{\"mediaType\":\"application/vnd.oci.image.layer.v1.tar+gzip\",\"digest\":\"sha256:$digest\",\"size\":$size}"
printf '{"architecture":"%s","os":"linux","created":"2023-11-14T22:13:20Z","config":{"Env":["PATH=/bin"],"Cmd":["sh"]},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' \
    "$architecture" "$diff_id" >"$work/config"
blob "$work/config"
printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:%s","size":%s},"layers":[%s]}' \
    "$digest" "$size" "$layer" >"$work/manifest"
blob "$work/manifest"
printf '{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:%s","size":%s,"annotations":{"org.opencontainers.image.ref.name":"%s"}}]}' \
    "$digest" "$size" "$name" >"$work/image/index.json"
printf '{"imageLayoutVersion":"1.0.0"}' >"$work/image/oci-layout"
pack "$work/image" "$out"
