# Runs test programs as the guests of scripts/test-v2 and scripts/test-systemd do. To be sourced, with the run's directory as $1.
# shellcheck shell=bash
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root RUST_BACKTRACE=0
CARGO=$(<"$1/cargo")
export CARGO RUST_TEST_THREADS=${RUST_TEST_THREADS:-3}
most=3
# As systemd gives it to a node's services; else it is 1024 and 4096.
ulimit -n 1048576
source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../../scripts/failures.sh"

# A test program with its arguments. What fails is run once more, alone, as scripts/test-twice does.
run() {
  local log names name
  log=$(mktemp)
  "$@" </dev/null 2>&1 | tee "$log"
  ((PIPESTATUS[0] == 0)) && return
  mapfile -t names < <(failed "$log")
  panics "$log" >>/run/panics
  ((${#names[@]} > 0 && ${#names[@]} <= most)) || return 1
  for name in "${names[@]}"; do
    echo "corten: run once more, alone: $name"
    "$1" --exact "$name" </dev/null 2>&1 | tee "$log"
    ((PIPESTATUS[0] == 0)) && grep -qxF "test $name ... ok" "$log" || return 1
    flaky+=("$name")
  done
}

# Those of a list: a program a line, with the directory it is to run in before it and its arguments after it. Leaves the names of those
# that failed in $failed.
run_all() {
  local line words begun
  failed=() flaky=()
  while read -r line; do
    eval "words=($line)"
    cd "${words[0]}" || exit
    echo "corten: run ${words[*]:1}"
    begun=$SECONDS
    run "${words[@]:1}" || failed+=("$(basename "${words[1]}")")
    echo "corten: took $((SECONDS - begun)) s"
  done <<<"$1"
  [[ -n $1 ]] || failed=("nothing to run")
  echo
  [[ ! -s /run/panics ]] || cat /run/panics
  ((${#flaky[@]} == 0)) || echo "corten: FLAKY in the guest, failed among others and passed alone: ${flaky[*]}"
  ((${#failed[@]} == 0)) || echo "corten: FAILED in the guest: ${failed[*]}"
}

# Says on the second serial line how many failed, which says nothing if the guest did not come to an end, and ends the machine.
finish() {
  echo "${#failed[@]}" >/dev/ttyS1
  sync
  echo o >/proc/sysrq-trigger
  sleep 60
}
