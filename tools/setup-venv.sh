#!/bin/sh
# Makes .venv with everything that building pyedge needs, on a machine that has Python 3, a C compiler and make.
#
# What may be missing on a fresh machine, and what is done about it:
#   ensurepip             pip is put into the environment by the pip that is outside of it, or by virtualenv
#   C++ compiler          apt-get as root, else the compiler of the PyPI package `ziglang`, kept inside .venv
#   Python's headers      apt-get as root, else one sentence that says what to install
# Running it again is quick: a stamp file tells that all of this is done.
set -eu
cd "$(dirname "$0")/.."
venv=.venv
stamp=$venv/.tools-ready
python=${PYTHON:-python3}

say() { printf '%s\n' "setup: $*" >&2; }
fail() { say "$*"; exit 1; }

[ -f "$stamp" ] && [ "$stamp" -nt tools/setup-venv.sh ] && "$venv/bin/python" -c '' 2>/dev/null && exit 0

command -v "$python" >/dev/null 2>&1 || fail "no $python was found; install Python 3.10 or newer, or set PYTHON."
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
    fail "$("$python" --version 2>&1) is too old; pyedge needs Python 3.10 or newer (set PYTHON to choose one)."

apt_updated=
apt_install() { # as root on Debian and its kin; false where that is not possible
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1 || return 1
    say "installing $* with apt-get"
    [ -n "$apt_updated" ] || apt-get update -qq >&2 || return 1
    apt_updated=1
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

# ---- the environment and its pip ----------------------------------------------------------------------------------
if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    say "making $venv with $("$python" --version 2>&1)"
    rm -rf "$venv"
    if ! "$python" -m venv "$venv" >/dev/null 2>&1; then # Debian without python3-venv: no ensurepip
        rm -rf "$venv"
        if ! { "$python" -m venv --without-pip "$venv" && "$python" -m pip --python "$venv/bin/python" install -q pip; } \
            >/dev/null 2>&1; then # a pip older than 22.3
            rm -rf "$venv"
            extra=$(mktemp -d)
            "$python" -m pip install -q --target "$extra" virtualenv && PYTHONPATH=$extra "$python" -m virtualenv -q "$venv" ||
                { rm -rf "$extra" "$venv"; fail "no virtual environment could be made: install python3-venv or pip."; }
            rm -rf "$extra"
        fi
    fi
fi
py=$venv/bin/python

# ---- compilers and headers ----------------------------------------------------------------------------------------
have_cxx() { [ -n "${CXX:-}" ] || command -v c++ >/dev/null 2>&1 || command -v g++ >/dev/null 2>&1 || command -v clang++ >/dev/null 2>&1; }
have_headers() { "$py" -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))'; }

have_cc() { [ -n "${CC:-}" ] || command -v cc >/dev/null 2>&1 || command -v gcc >/dev/null 2>&1 || command -v clang >/dev/null 2>&1; }

have_cc || apt_install gcc libc6-dev || fail "no C compiler was found; install gcc or clang, or set CC."
if ! have_headers; then
    apt_install python3-dev || true
    have_headers ||
        fail "Python.h of $("$py" --version) is missing; install its headers (Debian: python3-dev, Fedora: python3-devel)."
fi
if ! have_cxx && ! apt_install g++; then
    say "no C++ compiler was found: using the one of the PyPI package ziglang, in $venv only"
    "$py" -m pip install -q ziglang || fail "no C++ compiler was found and ziglang could not be installed; install g++."
    printf '#!/bin/sh\nexec "%s" -m ziglang c++ "$@"\n' "$PWD/$py" >"$venv/bin/zig-c++"
    chmod +x "$venv/bin/zig-c++"
fi

"$py" -m pip install -q 'scikit-build-core>=0.10' 'pybind11>=2.13' 'cmake>=3.18' ninja ||
    fail "the build tools could not be installed from the package index; pip's message is above."
touch "$stamp"
