#!/usr/bin/env bash
# Holds the import rule, and proves that the check itself works: every module of src/ is cruised, and a
# planted violation is caught. (Under TypeScript 7 dependency-cruiser reads nothing and exits 0.)
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/node_modules/.bin:$PATH"

depcruise --config .dependency-cruiser.cjs src

cruised=$(depcruise --config .dependency-cruiser.cjs --output-type json src |
  node -e 'let s="";process.stdin.on("data",d=>s+=d).on("end",()=>console.log(JSON.parse(s).modules.filter(m=>/^src\/.*\.ts$/.test(m.source)).length))')
tracked=$(git ls-files 'src/*.ts' | wc -l)
if [ "$cruised" -lt "$tracked" ]; then
  echo "check-imports: only $cruised of $tracked modules were read; the rule is not being held" >&2
  exit 1
fi

plant=$(mktemp -d)
trap 'rm -rf "$plant"' EXIT
cp -r src package.json tsconfig.json .dependency-cruiser.cjs "$plant/"
ln -s "$PWD/node_modules" "$plant/node_modules"
echo "import '../backend/backend.ts';" >"$plant/src/wire/planted-violation.ts"
if (cd "$plant" && depcruise --config .dependency-cruiser.cjs src >report.txt); then
  echo 'check-imports: a planted violation was not caught' >&2
  exit 1
fi
if ! grep -q 'room-wire: src/wire/planted-violation.ts' "$plant/report.txt"; then
  echo 'check-imports: the planted violation failed for another reason:' >&2
  cat "$plant/report.txt" >&2
  exit 1
fi
echo "check-imports: $cruised modules, rule holds, planted violation caught"
