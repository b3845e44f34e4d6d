#!/bin/sh
# The guest's init: does what comes over the second serial line, a command a line: `NUMBER COMMAND`. Each runs beside the
# others; its output comes back as `NUMBER |LINE`, its end as `NUMBER =STATUS`.
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs run /run
mount -t cgroup2 cgroup /sys/fs/cgroup
mkdir -p /run/commands
# The disk's driver comes later: until then nothing of the disk can be in the guest's memory.
while read -r module; do
  [ "$module" = virtio_blk.ko ] || insmod "/modules/$module"
done </modules/order
ip link set lo up
ip link set eth0 up
ip address add 10.0.2.15/24 dev eth0
ip route add default via 10.0.2.2
export CONTAINER_RUNTIME_ENDPOINT=unix:///run/corten.sock
stty -F /dev/ttyS1 raw -echo

run() {
  (eval "$2") >"/run/commands/$1" 2>&1 </dev/null
  status=$?
  sed "s/^/$1 |/" "/run/commands/$1"
  echo "$1 =$status"
}

# A shell loses what it reads when a child of it ends meanwhile. So this one, which is not process 1, has none for long.
obey() {
  echo "0 =0"
  while read -r number command; do
    (run "$number" "$command" &)
  done
}

obey <>/dev/ttyS1 >&0 &
while true; do wait; done
