#!/bin/bash
# Runs tests in the guest of scripts/test-systemd: systemd-tests.sh DIRECTORY. See run.sh.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root RUST_BACKTRACE=0
export RUST_TEST_THREADS=1
failed=0
dmesg --console-level 1
echo "corten: guest $(uname -r), $(systemctl --version | head -1), LSMs $(cat /sys/kernel/security/lsm), up $(cut -d' ' -f1 /proc/uptime) s"
if systemctl --quiet is-active corten.service; then
  while read -r directory command; do
    cd "$directory" || exit
    echo "corten: run $command"
    begun=$SECONDS
    eval "$command" </dev/null 2>&1 || { failed=$((failed + 1)); echo "corten: FAILED $command"; }
    echo "corten: took $((SECONDS - begun)) s"
  done <"$1/commands"
else
  failed=1
fi
if ((failed > 0)); then
  systemctl --no-pager status corten.service
  journalctl --no-pager --boot | tail -200
fi
echo "$failed" >/dev/ttyS1
sync
echo o >/proc/sysrq-trigger
sleep 60
