#!/bin/busybox sh
# The first process of the emulated machine: the tests that want a clean cgroup v2 host, or a kernel that lacks things, in
# five boots.
#   first     everything, on a disk; leaves a container running when the power goes
#   second    the same disk after that: what is told about the container
#   unfiltered    networks on a kernel without packet filters
#   watched   the same on one that has them, and cannot hand packets to transparent sockets (nft_tproxy)
#   ramfs     the store on a root file system that knows no attributes and cannot be pivoted away from
/bin/busybox --install -s /bin
export PATH=/bin HOME=/
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/shm /dev/pts
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /run
mount -t tmpfs -o mode=1777 tmpfs /tmp
mount -t cgroup2 none /sys/fs/cgroup
for module in /lib/modules/*.ko; do
    case $1/$module in
    unfiltered/*nf*) ;;
    *) insmod "$module" ;;
    esac
done
trap 'sync; poweroff -f' EXIT

ok() { echo "ok $1"; }
wrong() { echo "not ok $1: $2"; }
same() { # NAME EXPECTED GOT
    if [ "$2" = "$3" ]; then ok "$1"; else wrong "$1" "expected '$2', got '$3'"; fi
}
code() { # NAME CODE COMMAND…
    name=$1 expected=$2
    shift 2
    "$@" >/tmp/out 2>&1
    got=$?
    if [ "$got" = "$expected" ]; then ok "$name"; else wrong "$name" "expected code $expected, got $got: $(cat /tmp/out)"; fi
}
inside() { # FLAGS… -- SCRIPT: output of a container
    flags=
    while [ "$1" != -- ]; do flags="$flags $1"; shift; done
    monopod run --rm $flags busybox sh -c "$2" 2>&1
}

case $1 in
first)
    mke2fs /dev/vda >/dev/null 2>&1
    ;;
esac
case $1 in
first | second)
    mount -t ext4 /dev/vda /disk || { wrong "the disk" "cannot be mounted"; exit; }
    mkdir -p /disk/monopod /var/lib
    ln -s /disk/monopod /var/lib/monopod
    ;;
esac

if [ "$1" = second ]; then
    same "after a power cut, what ran has exited" "exited 137" "$(monopod inspect --format '{{.State.Status}} {{.State.ExitCode}}' survivor 2>&1)"
    same "nothing runs" "" "$(monopod ps -q 2>&1)"
    code "it starts again" 0 monopod start survivor
    same "and runs" "true" "$(monopod inspect --format '{{.State.Running}}' survivor 2>&1)"
    code "and is removed" 0 monopod rm -f -t 0 survivor
    same "the image is still there" "fine" "$(inside -- 'echo fine')"
    echo "end of tests"
    exit
fi

code "load" 0 monopod load -q -i /image.tar

if [ "$1" = unfiltered ] || [ "$1" = watched ]; then
    # Another host behind a cable.
    ip link set lo up
    unshare -n sleep 1000 &
    other=$!
    far() { nsenter -t $other -n "$@"; }
    until [ "$(readlink /proc/$other/ns/net)" != "$(readlink /proc/self/ns/net)" ]; do :; done
    ip link add cable0 type veth
    end=$(cd /sys/class/net && echo veth*)
    ip link set "$end" netns $other
    ip addr add 192.0.2.7/24 dev cable0
    ip link set cable0 up
    ip route add default via 192.0.2.1
    far ip addr add 192.0.2.1/24 dev "$end"
    far ip link set "$end" up
    echo '0 2147483647' >/proc/sys/net/ipv4/ping_group_range
    who() { # DIRECTORY: for a server that tells who asks
        echo "mkdir -p $1/cgi-bin; printf '#!/bin/sh\nprintf \"\\\\r\\\\n\$REMOTE_ADDR\\\\n\"\n' >$1/cgi-bin/who; chmod 755 $1/cgi-bin/who"
    }
    eval "$(who /www)"
    far httpd -p 80 -h /www
    ask="wget -qO- http://192.0.2.1/cgi-bin/who | tr -d '[]' | sed s/::ffff://"
    same "root reaches the world as the host" 192.0.2.7 "$(inside -- "$ask")"
    case $(inside -- 'wget -qO- http://192.0.2.1:9/') in
    *refused*) ok "a refusal is a refusal" ;;
    *) wrong "a refusal is a refusal" "it was not" ;;
    esac
    same "an echo comes back" 1 "$(inside --cap-add net_raw -- 'ping -c 1 -W 5 192.0.2.1' | grep -c '1 packets received')"
    code "a published server" 0 monopod run -d --name web -p 8080:80 busybox sh -c "$(who /w); exec httpd -f -p 80 -h /w"
    until far nc -w 1 192.0.2.7 8080 </dev/null 2>/dev/null; do :; done
    same "sees its client" 192.0.2.1 "$(far wget -qO- http://192.0.2.7:8080/cgi-bin/who | tr -d '[]' | sed s/::ffff://)"
    missing="monopod this kernel has no packet filter"
    [ "$1" = unfiltered ] || missing="monopod "
    case $(monopod info --format '{{.Host.NetworkBackend}} {{.Host.NetworkMissing}}' 2>&1) in
    "$missing"*) ok "info says what is missing" ;;
    *) wrong "info says what is missing" "it does not" ;;
    esac
    code "the server goes" 0 monopod rm -f -t 0 web
    mkdir -p /tmp/user
    cp /image.tar /tmp/user/
    eval "$(who /tmp/user/www)"
    chown -R user /tmp/user
    as_user="monopod --root /tmp/user/root --runroot /tmp/user/run"
    of_user() { su user -c "$as_user $1" 2>&1; }
    same "another user reaches the world as the host" 192.0.2.7 \
        "$(of_user "run --rm oci-archive:/tmp/user/image.tar sh -c \"$ask\"")"
    of_user "load -q -i /tmp/user/image.tar" >/dev/null
    of_user "run -d --name web -p 8081:80 -v /tmp/user/www:/w busybox httpd -f -p 80 -h /w" >/dev/null
    lacks="this kernel cannot hand packets to transparent sockets (nft_tproxy)"
    [ "$1" = watched ] || lacks="this kernel has no packet filter"
    case $(of_user "info --format '{{.Host.NetworkMissing}}'") in
    "$lacks"*) ok "the user is told what is missing" ;;
    *) wrong "the user is told what is missing" "$(of_user "info --format '{{.Host.NetworkMissing}}'")" ;;
    esac
    until far nc -w 1 192.0.2.7 8081 </dev/null 2>/dev/null; do :; done
    same "a server of the user's sees its client" 192.0.2.1 \
        "$(far wget -qO- http://192.0.2.7:8081/cgi-bin/who | tr -d '[]' | sed s/::ffff://)"
    of_user "rm -f -t 0 web" >/dev/null
    echo "end of tests"
    exit
fi
same "run" "hello" "$(inside -- 'echo hello')"
code "exit code" 7 monopod run --rm busybox sh -c 'exit 7'
same "a private cgroup namespace" "0::/" "$(inside -- 'cat /proc/self/cgroup')"

if [ "$1" = first ]; then
    # Networks on a device of the host's: nothing but their kind of link is asked of the kernel.
    for driver in macvlan ipvlan; do
        device=${driver}0
        ip link add $device type dummy
        ip addr add 192.0.2.1/24 dev $device
        ip link set $device up
        code "a network of $driver" 0 monopod network create -d $driver -o parent=$device --subnet 192.0.2.0/24 --gateway 192.0.2.254 $driver
        code "a server in $driver" 0 monopod run -d --name server --network $driver:ip=192.0.2.10 busybox nc -ll -p 80 -e echo hello
        same "$driver: neighbours meet" "hello" "$(inside --network $driver -- 'until nc -w 1 192.0.2.10 80 </dev/null 2>/dev/null; do :; done')"
        same "$driver: address and route" "192.0.2.3/24 default via 192.0.2.254 dev eth0 metric 100" "$(inside --network $driver -- 'echo $(ip -o -4 addr show eth0 | while read a b c d e; do echo $d; done) $(ip route | grep default)')"
        code "$driver: no ports of the host lead there" 125 monopod run --rm --network $driver -p 8080:80 busybox true
        code "$driver: the server goes" 0 monopod rm -f -t 0 server
        code "$driver: the network goes" 0 monopod network rm $driver
        same "$driver: the device stays" "$device" "$(cd /sys/class/net && echo $device*)"
        ip link delete $device
    done

    # A bridge that heeds VLANs.
    code "a network in a VLAN" 0 monopod network create -o vlan=7 tagged
    code "a server in a VLAN" 0 monopod run -d --name server --network tagged:ip=10.89.0.10 busybox nc -ll -p 80 -e echo hello
    same "its neighbours meet" "hello" "$(inside --network tagged -- 'until nc -w 1 10.89.0.10 80 </dev/null 2>/dev/null; do :; done')"
    same "so do the host and they" "hello" "$(nc -w 1 10.89.0.10 80 </dev/null 2>&1)"
    code "the server in a VLAN goes" 0 monopod rm -f -t 0 server
    code "the network in a VLAN goes" 0 monopod network rm tagged
fi

same "memory limit" 16777216 "$(inside --memory 16m -- 'cat /sys/fs/cgroup/memory.max')"
code "memory limit hit" 137 monopod run --name oom --memory 16m busybox sh -c 'exec tail -c 200m /dev/zero'
same "OOMKilled" "true 137" "$(monopod inspect --format '{{.State.OOMKilled}} {{.State.ExitCode}}' oom 2>&1)"
monopod run --name fine --memory 16m busybox true
same "not OOMKilled" "false 0" "$(monopod inspect --format '{{.State.OOMKilled}} {{.State.ExitCode}}' fine 2>&1)"
code "rm" 0 monopod rm oom fine

same "default pids limit" 2048 "$(inside -- 'cat /sys/fs/cgroup/pids.max')"
same "pids limit" 8 "$(inside --pids-limit 8 -- 'cat /sys/fs/cgroup/pids.max')"
case $(inside --pids-limit 8 -- 'for i in 1 2 3 4 5 6 7 8 9 10; do sleep 2 & done') in
*fork*) ok "pids limit hit" ;;
*) wrong "pids limit hit" "ten processes under a limit of eight" ;;
esac

same "cpu quota" "50000 100000" "$(inside --cpus 0.5 -- 'cat /sys/fs/cgroup/cpu.max')"
throttled=$(inside --cpus 0.1 -- 'timeout 2 sh -c "while :; do :; done"; grep ^nr_throttled /sys/fs/cgroup/cpu.stat')
case $throttled in
*"nr_throttled "[1-9]*) ok "cpu quota hit" ;;
*) wrong "cpu quota hit" "$throttled" ;;
esac
same "cpuset" 1 "$(inside --cpuset-cpus 1 -- 'cat /sys/fs/cgroup/cpuset.cpus.effective')"
if [ "$1" = first ]; then
    same "io limit" "254:0 rbps=1048576 wbps=max riops=max wiops=max" \
        "$(inside --device-read-bps /dev/vda:1m -- 'cat /sys/fs/cgroup/io.max' | sed "s/^$(cat /sys/block/vda/dev) /254:0 /")"
fi

case $(inside --cap-add MKNOD -- 'mknod /k c 1 11 && head -c 1 /k; echo; echo x >/dev/null && echo null works') in
*"not permitted"*"null works") ok "device filter" ;;
*) wrong "device filter" "/dev/kmsg could be read, or /dev/null not written" ;;
esac
same "a device that is given" 1024 "$(inside --device /dev/vda -- 'head -c 1024 /dev/vda | wc -c')"
same "all devices of the privileged" "fine" "$(inside --privileged -- 'mknod /k c 1 5 && head -c 1 /k | wc -c >/dev/null && echo fine')"

monopod run -d --name busy busybox sh -c 'while :; do echo x; usleep 20000; done' >/dev/null
code "pause" 0 monopod pause busy
same "paused" paused "$(monopod inspect --format '{{.State.Status}}' busy)"
before=$(monopod logs busy | wc -l)
sleep 1
same "stands still" "$before" "$(monopod logs busy | wc -l)"
code "no exec while paused" 255 monopod exec busy true
code "unpause" 0 monopod unpause busy
sleep 1
[ "$(monopod logs busy | wc -l)" -gt "$before" ] && ok "goes on" || wrong "goes on" "no new line"
code "stop" 0 monopod stop -t 1 busy
id=$(monopod inspect --format '{{.Id}}' busy)
code "rm" 0 monopod rm busy
same "no cgroup is left" "" "$(find /sys/fs/cgroup -name "*$id*")"

# The runtime by itself, as other engines call it.
bundle=/tmp/bundle
mkdir -p $bundle/rootfs
for directory in bin proc sys dev; do mkdir $bundle/rootfs/$directory; done
cp /bin/busybox $bundle/rootfs/bin/
for name in sh sleep cat echo true; do ln -s busybox $bundle/rootfs/bin/$name; done
runtime="monopod runtime --root /run/bundles"
code "spec" 0 $runtime spec -b $bundle
limits='"memory":{"limit":33554432,"swap":67108864},"pids":{"limit":9},"cpu":{"quota":50000,"period":100000,"burst":1000,"idle":1},"unified":{"memory.high":"16777216"},'
sed -i 's/"terminal": true/"terminal": false/; s/^ *"sh"$/"sleep", "100000"/; s|"linux": {|"linux": {"cgroupsPath":"/bundles/one",|; s|"resources": {|"resources": {'"$limits|" $bundle/config.json
code "the runtime creates" 0 $runtime create -b $bundle one
limit() { cat "/sys/fs/cgroup/bundles/one/$1" 2>&1; }
for expected in memory.max=33554432 memory.high=16777216 memory.swap.max=33554432 pids.max=9 "cpu.max=50000 100000" cpu.max.burst=1000 cpu.idle=1; do
    same "the runtime's limit ${expected%%=*}" "${expected#*=}" "$(limit "${expected%%=*}")"
done
code "the runtime starts" 0 $runtime start one
same "the runtime executes one more" "0::/" "$($runtime exec one cat /proc/self/cgroup 2>&1)"
code "devices are filtered" 1 $runtime exec one sh -c 'exec 2>/dev/null; cat </dev/mem'
code "the runtime updates" 0 $runtime update --memory 67108864 --memory-swap 100663296 --pids-limit 7 --cpu-quota 20000 one
same "to other limits" "67108864 33554432 7 20000 100000" "$(echo $(limit memory.max) $(limit memory.swap.max) $(limit pids.max) $(limit cpu.max))"
case $($runtime events --stats one 2>&1) in
*'"limit":67108864'*) ok "the runtime counts" ;;
*) wrong "the runtime counts" "no memory limit" ;;
esac
code "the runtime pauses" 0 $runtime pause one
same "it is frozen" 1 "$(limit cgroup.freeze)"
code "the runtime resumes" 0 $runtime resume one
same "it is not frozen" 0 "$(limit cgroup.freeze)"
mkdir /sys/fs/cgroup/bundles/one/part
code "to a group below" 0 $runtime exec -d --cgroup part one sleep 100000
same "it is there" 1 "$(limit part/cgroup.procs | wc -l)"
code "the runtime kills all" 0 $runtime kill --all one KILL
until $runtime state one | grep -q stopped; do :; done
code "the runtime deletes" 0 $runtime delete one
same "no group of it is left" "" "$(find /sys/fs/cgroup/bundles -name 'one*')"

# A user without newuidmap, without a delegated cgroup.
mkdir -p /tmp/user
[ "$1" != first ] || { mkdir -p /disk/user && mount --bind /disk/user /tmp/user; }
cp /image.tar /tmp/user/
chown -R user /tmp/user
as_user="monopod --root /tmp/user/root --runroot /tmp/user/run"
same "a user without newuidmap" "0 1" \
    "$(su user -c "$as_user run --rm oci-archive:/tmp/user/image.tar sh -c 'echo \$(id -u) \$\$'" 2>&1)"
case $(su user -c "$as_user run --rm --memory 64m oci-archive:/tmp/user/image.tar true" 2>&1) in
Error:*memory*) ok "a limit that cannot be had is refused" ;;
*) wrong "a limit that cannot be had is refused" "it was not" ;;
esac

monopod run -d --name survivor busybox sleep 100000 >/dev/null
same "left running" true "$(monopod inspect --format '{{.State.Running}}' survivor)"
echo "end of tests"
