#!/bin/bash
# Builds the OPA that test/pdp runs against, from the Go module proxy, into a cache outside the project, and prints
# where it is. Prints nothing where it can not be built: the test is then skipped and says so (in CI this fails).
set -euo pipefail

version=v1.22.3
cache=${XDG_CACHE_HOME:-$HOME/.cache}/agentkeyd/opa-$version

give_up() {
  echo "build-opa: $1; the test against a real decision point is SKIPPED" >&2
  if [ -n "${CI:-}" ]; then exit 1; fi
  exit 0
}

if [ ! -x "$cache/opa" ]; then
  command -v go > /dev/null || give_up 'Go is not installed'
  mkdir -p "$cache"
  # OPA is a module of its own and no part of this project: nothing here is read or changed by it.
  (cd "$cache" && GOBIN="$cache" go install "github.com/open-policy-agent/opa@$version" >&2) \
    || give_up "OPA $version could not be built"
fi
echo "$cache/opa"
