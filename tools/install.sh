#!/bin/sh
# Builds the package into .venv: tools/install.sh '.[test]'. The build directory is kept, so a second run compiles
# only what has changed.
set -eu
cd "$(dirname "$0")/.."
[ -x .venv/bin/zig-c++ ] && [ -z "${CXX:-}" ] && CXX=$PWD/.venv/bin/zig-c++ && export CXX
echo "installing pyedge into .venv" >&2
exec .venv/bin/python -m pip install -q --no-build-isolation -C build-dir=build/wheel "$1"
