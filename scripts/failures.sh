# What a log of cargo's or of a test program's says of failed tests. To be sourced.
# shellcheck shell=bash

# The panics of the failed tests of a log, without traces and the daemons' logs.
panics() {
  awk '/^---- .* stdout ----$/ { print; next }
    /panicked at/ { lines = 12 }
    /^(stack backtrace:|note: run with)/ { lines = 0 }
    lines-- > 0' "$1" | head -n 60
}

# The names in a log's last lists of failures.
failed() {
  awk '/^failures:$/ { list = 1; next }
    /^$/ { if (named) list = named = 0; next }
    list && sub(/^    /, "") { named = 1; print; next }
    { list = named = 0 }' "$1"
}
