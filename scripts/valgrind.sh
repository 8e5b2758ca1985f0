#!/bin/bash
# Runs a program on the addons under valgrind, by default test/native/programs/valgrind.mjs against a
# swtpm of its own. Fails on any error or definite leak whose stack enters one of our addons.
# Usage: scripts/valgrind.sh [PROGRAM [ARG...]]
set -euo pipefail
cd "$(dirname "$0")/.."

work=$(mktemp -d -t akd-vg-XXXXXX)
swtpm_pid=
clean_up() {
  [ -z "$swtpm_pid" ] || kill "$swtpm_pid" 2>/dev/null || true
  rm -rf "$work"
}
trap clean_up EXIT

if [ $# -eq 0 ]; then
  mkdir "$work/state"
  swtpm socket --tpm2 --tpmstate "dir=$work/state" --flags not-need-init,startup-clear \
    --server "type=unixio,path=$work/tpm" --ctrl "type=unixio,path=$work/tpm.ctrl" 2>/dev/null &
  swtpm_pid=$!
  for _ in $(seq 100); do
    [ -S "$work/tpm" ] && [ -S "$work/tpm.ctrl" ] && break
    sleep 0.05
  done
  set -- test/native/programs/valgrind.mjs "swtpm:path=$work/tpm" "$work"
fi

# Without the just-in-time compiler: valgrind need not watch code that changes.
valgrind --quiet --leak-check=full --show-leak-kinds=definite --num-callers=50 \
  --suppressions=native/valgrind.supp --xml=yes --xml-file="$work/report.xml" \
  node_modules/.bin/node --jitless "$@"

awk '
  /<error>/   { inside = 1; record = ""; ours = 0 }
  inside      { record = record $0 "\n" }
  inside && /<obj>.*\/(esys|peercred|process_control|verify)\.node<\/obj>/ { ours = 1 }
  /<\/error>/ { inside = 0; total++; if (ours) { found++; printf "%s", record } }
  /<\/valgrindoutput>/ { complete = 1 }
  END {
    printf "valgrind: %d in our addons, %d elsewhere\n", found, total - found
    exit !(complete && found == 0)
  }' "$work/report.xml"
