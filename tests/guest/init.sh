#!/bin/sh
# The first process of the guest of scripts/test-v2, in its initramfs: the machine's own root, read-only, with an overlay in
# memory over it, becomes the guest's; then tests/guest/run.sh or systemd.sh goes on there.
fail() {
  echo "corten: the guest cannot start: $1"
  poweroff -f
}
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
while read -r module; do insmod "/modules/$module"; done </modules/order
mkdir -p /lower /upper /root
mount -t virtiofs -o ro host /lower || fail "no root"
mount -t tmpfs -o size=50% upper /upper
mkdir /upper/u /upper/w
mount -t overlay -o lowerdir=/lower,upperdir=/upper/u,workdir=/upper/w root /root || fail "no overlay"
for option in $(cat /proc/cmdline); do
  case $option in
    corten.project=*) project=${option#*=} ;;
    corten.start=*) start=${option#*=} ;;
    corten.modules=*) modules=${option#*=} ;;
    corten.run=*) run=${option#*=} ;;
  esac
done
mkdir -p /root/lib/modules /root/proc /root/sys /root/dev
rm -rf "/root/lib/modules/$(uname -r)"
ln -s "$modules" "/root/lib/modules/$(uname -r)"
for directory in proc sys dev; do mount --move "/$directory" "/root/$directory"; done
exec switch_root /root /bin/bash "$project/$start" "$run"
