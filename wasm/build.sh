#!/usr/bin/env bash
# Builds the npm package into wasm/dist: four WebAssembly modules, the library, its types.
#
#   wasm/build.sh            everything
#   wasm/build.sh modules    only the modules
#   wasm/build.sh script     only the JavaScript
#   wasm/build.sh check      the check of all kernels, for Node: build/wasm/check/check_kernels.js
#   wasm/build.sh compiler   find or prepare the compiler, and say where it is
#
# Emscripten is taken from $EMCC, from PATH, or from a Debian 13 kept in $PYEDGE_EMSDK_ROOT (default: pyedge/emscripten
# in the user's cache). As root on Debian that folder is made where it is missing: about 3 GB and a few minutes, once.
set -euo pipefail
cd "$(dirname "$0")/.."
root=${PYEDGE_EMSDK_ROOT:-${XDG_CACHE_HOME:-$HOME/.cache}/pyedge/emscripten}
oldest=3.1.60

say() { printf 'wasm: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

# ---- the compiler --------------------------------------------------------------------------------------------------

new_enough() { # a command that runs emcc
    local found
    found=$("$@" --version 2>/dev/null | sed -n '1s/.* \([0-9][0-9]*\.[0-9]*\.[0-9]*\).*/\1/p')
    [ -n "$found" ] && [ "$(printf '%s\n%s\n' "$oldest" "$found" | sort -V | head -n 1)" = "$oldest" ]
}

# A command that runs emcc of the other system on this tree, which is bound into it at the same path.
wrapper() {
    mkdir -p build/wasm
    cat >build/wasm/emcc <<SH
#!/bin/sh
exec chroot '$root' sh -c 'cd "\$0" && exec emcc "\$@"' "\$PWD" "\$@"
SH
    chmod +x build/wasm/emcc
    printf '%s\n' "$PWD/build/wasm/emcc"
}

bound=()
bind() { # a file system of this machine into the other root, for the time of this script
    mountpoint -q "$root$2" && return
    mkdir -p "$root$2"
    mount "${@:3}" "$1" "$root$2"
    bound+=("$root$2")
}
release() {
    local i
    for ((i = ${#bound[@]} - 1; i >= 0; i--)); do umount "${bound[i]}" 2>/dev/null || umount -l "${bound[i]}"; done
    bound=()
}
trap release EXIT

mirror() { # of the system's own sources
    sed -n -e 's/^URIs: *\([^ ]*\).*/\1/p' -e 's/^deb  *\(\[[^]]*\] *\)\{0,1\}\([^ ]*\) .*/\2/p' \
        /etc/apt/sources.list.d/debian.sources /etc/apt/sources.list 2>/dev/null | grep -v security | head -n 1
}

prepare() {
    [ "$(id -u)" = 0 ] && [ -e /etc/debian_version ] && command -v apt-get >/dev/null || return 1
    local from
    from=$(mirror)
    [ -n "$from" ] || return 1
    if ! command -v debootstrap >/dev/null; then
        apt-get update -qq >&2 && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends debootstrap >&2 || return 1
    fi
    say "preparing Emscripten in $root (once; log: $root.log)"
    mkdir -p "$root"
    if [ ! -e "$root/.base" ]; then
        debootstrap --variant=minbase --include=ca-certificates trixie "$root" "$from" >"$root.log" 2>&1 || return 1
        touch "$root/.base"
    fi
    # Whatever this machine needs in order to reach its packages, the other system needs too.
    cp -r /etc/apt/apt.conf.d/. "$root/etc/apt/apt.conf.d/"
    [ ! -d /etc/apt/auth.conf.d ] || cp -r /etc/apt/auth.conf.d "$root/etc/apt/"
    cp -L /etc/resolv.conf "$root/etc/resolv.conf"
    bind proc /proc -t proc
    DEBIAN_FRONTEND=noninteractive chroot "$root" sh -c \
        'apt-get update -qq && apt-get install -y -qq --no-install-recommends emscripten' >>"$root.log" 2>&1
}

find_compiler() {
    if [ -n "${EMCC:-}" ]; then
        new_enough "$EMCC" || fail "EMCC=$EMCC is no Emscripten of at least $oldest"
    elif new_enough emcc; then
        EMCC=emcc
    elif [ -x "$root/usr/bin/emcc" ] || prepare; then
        [ "$(id -u)" = 0 ] || fail "the compiler in $root can only be used by root; install Emscripten $oldest or newer instead"
        bind proc /proc -t proc
        bind "$PWD" "$PWD" --bind
        EMCC=$(wrapper)
        new_enough "$EMCC" || fail "the compiler in $root does not work: remove that folder, so that it is made anew"
    else
        fail "Emscripten $oldest or newer is needed: install it (emsdk, or Debian 13's package emscripten) so that emcc" \
            "is in PATH, or set EMCC. As root on Debian it is prepared here by itself; what failed is in $root.log"
    fi
}

# ---- the parts -----------------------------------------------------------------------------------------------------

modules() {
    find_compiler
    make -f wasm/module.mk -j"$(nproc)" EMCC="$EMCC" OUT=wasm/dist
    local module
    for module in wasm/dist/*.wasm; do
        printf '%s: %s bytes, %s compressed\n' "${module##*/}" "$(stat -c %s "$module")" "$(gzip -9c "$module" | wc -c)"
    done
}

check() {
    find_compiler
    make -f wasm/module.mk -j"$(nproc)" EMCC="$EMCC" OUT=wasm/dist check
}

script() {
    command -v npm >/dev/null || fail "Node 20 or newer with npm is needed"
    [ wasm/node_modules/.package-lock.json -nt wasm/package-lock.json ] || (cd wasm && npm ci --no-audit --no-fund --silent)
    (cd wasm && node build.mjs)
}

case "${1:-all}" in
compiler) find_compiler; say "$EMCC" ;;
modules) modules ;;
script) script ;;
check) check ;;
all) modules; script ;;
*) fail "unknown: $1; see the head of this file" ;;
esac
