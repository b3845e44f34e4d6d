#!/bin/bash
# Runs tests in the guest of scripts/test-systemd: systemd-tests.sh DIRECTORY, whose file `commands` is the list of test programs. The
# daemons that they start have systemd make their cgroups.
# shellcheck source=tests/guest/programs.sh
source "$(dirname "$(readlink -f "$0")")/programs.sh"
export CORTEN_E2E_CGROUP_DRIVER=systemd
dmesg --console-level 1
echo "corten: guest $(uname -r), $(systemctl --version | head -1), LSMs $(cat /sys/kernel/security/lsm), up $(cut -d' ' -f1 /proc/uptime) s"
failed=(corten.service)
! systemctl --quiet is-active corten.service || run_all "$(<"$1/commands")"
if ((${#failed[@]} > 0)); then
  systemctl --no-pager status corten.service
  journalctl --no-pager --boot | tail -200
fi
finish
