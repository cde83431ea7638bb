#!/bin/sh
# Builds the package into .venv: tools/install.sh '.[test]'. The build directory is kept, so a second run compiles
# only what has changed.
set -eu
cd "$(dirname "$0")/.."

# The compilers are named here, since the interpreter would name those that it was built with.
first() { for name in "$@"; do command -v "$name" && return 0; done; }
CC=${CC:-$(first cc gcc clang)}
zig=$PWD/.venv/bin/zig-c++
[ -x "$zig" ] || zig=
CXX=${CXX:-${zig:-$(first c++ g++ clang++)}}
export CC CXX

echo "installing pyedge into .venv" >&2
exec .venv/bin/python -m pip install -q --no-build-isolation -C build-dir=build/wheel "$1"
