#!/bin/bash
# The first process of the guest of scripts/test-systemd: systemd.sh DIRECTORY. Leaves of the machine's services only those that come
# with systemd itself, installs Corten from DIRECTORY/installed, and becomes systemd, which starts Corten and then the tests.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
run=$1
tests=$(dirname "$(readlink -f "$0")")
rm -rf /.dockerenv /etc/systemd/system /etc/systemd/network /etc/rc?.d /etc/fstab /var/lib/corten /var/log/journal /etc/corten
mkdir -p /etc/systemd/system/multi-user.target.wants /var/lib/corten
# Writable layers are made there: a file system that overlayfs takes.
mount -t ext4 -o prjquota /dev/vda /mnt
for directory in /var/lib/corten /tmp; do
  mkdir -p "/mnt$directory"
  mount --bind "/mnt$directory" "$directory"
done
chmod 1777 /tmp
for unit in getty.target serial-getty@ttyS0.service systemd-udev-trigger.service systemd-hwdb-update.service tmp.mount \
  ldconfig.service systemd-journal-flush.service systemd-tmpfiles-setup.service systemd-update-utmp.service systemd-logind.service; do
  ln -s /dev/null "/etc/systemd/system/$unit"
done
ln -s /lib/systemd/system/multi-user.target /etc/systemd/system/default.target
cp -a "$run/installed/." /
cat >>/etc/corten/config.toml <<'END'

[runtimes.runc]
binary = "/usr/sbin/runc"
END
cat >/etc/systemd/system/corten-test.service <<END
[Unit]
Description=Corten's tests
Wants=corten.service dbus.service
After=corten.service dbus.service

[Service]
Type=oneshot
ExecStart=/bin/bash $tests/systemd-tests.sh $run
StandardOutput=file:/dev/ttyS0
TimeoutStartSec=infinity
END
ln -s ../corten-test.service /etc/systemd/system/multi-user.target.wants/
systemctl --root=/ enable corten.service
printf '[Manager]\nShowStatus=no\nLogTarget=journal\n' >/etc/systemd/system.conf
exec /lib/systemd/systemd
