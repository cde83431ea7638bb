#!/bin/sh
# Installs manylinux wheels in a clean root of each architecture and runs them: tools/check_wheels.sh [DIST] [ARCH...]
#
# A root is a fresh Debian of that architecture (debootstrap, unpacked and not configured, so that nothing of it has to
# run), entered with chroot; processors other than this one's are emulated by qemu-user-static through binfmt_misc. In
# it, `pip install` finds the wheel as a user's would and gets the dependencies from the index; then the command answers
# with a tiny model. Needs root, debootstrap, qemu-user-static. ROOTS names a folder where roots are kept; without
# it they are made anew and removed.
#
# There is no Debian on musl, so musllinux wheels are not installed here: tools/wheels.py checks what their modules
# load, and the static command, from the same sources against the same musl, runs instead.
set -eu
cd "$(dirname "$0")/.."
dist=${1:-dist}
[ $# -gt 0 ] && shift
[ $# -gt 0 ] || set -- amd64 arm64 armhf
suite=${SUITE:-bookworm}
roots=${ROOTS:-$(mktemp -d)}
[ -n "${ROOTS:-}" ] || trap 'rm -rf "$roots"' EXIT
mirror=$(sed -n 's/^URIs: *\(.*debian\)$/\1/p; s/^deb  *\([^ ]*debian\) .*/\1/p' /etc/apt/sources.list.d/* /etc/apt/sources.list \
    2>/dev/null | head -n 1)

register() { # the emulator of a foreign processor, once
    [ -e /proc/sys/fs/binfmt_misc/register ] || mount -t binfmt_misc none /proc/sys/fs/binfmt_misc
    [ -e "/proc/sys/fs/binfmt_misc/qemu-$1" ] ||
        grep '^:' "/usr/lib/binfmt.d/qemu-$1.conf" >/proc/sys/fs/binfmt_misc/register
}

make_root() {
    root=$roots/$1
    [ -e "$root/.ready" ] && return
    debootstrap --foreign --arch="$1" --variant=minbase --include=python3,python3-venv "$suite" "$root" "$mirror" >/dev/null
    for package in "$root"/var/cache/apt/archives/*.deb; do dpkg-deb -x "$package" "$root"; done
    cp -L /etc/resolv.conf "$root/etc/"
    mkdir -p "$root/etc/ssl"
    cp -rL /etc/ssl/certs "$root/etc/ssl/"
    touch "$root/.ready"
}

PYTHONPATH=tests/py ${PYTHON:-.venv/bin/python} -c '
import sys
import ggufmake as gm
template = "{% for m in messages %}{{ m.role + m.content }}{% endfor %}"
sys.stdout.buffer.write(gm.tiny_llama(keys={"tokenizer.chat_template": gm.text(template)}))' >"$roots/tiny.gguf"

for arch in "$@"; do
    case $arch in
    amd64) machine=x86_64 ;;
    arm64) machine=aarch64 && register aarch64 ;;
    armhf) machine=armv7l && register arm ;;
    *) echo "unknown architecture $arch" >&2 && exit 2 ;;
    esac
    make_root "$arch"
    root=$roots/$arch
    rm -rf "$root/wheels" "$root/venv"
    mkdir "$root/wheels"
    cp "$dist"/pyedge-*manylinux*"$machine"*.whl "$roots/tiny.gguf" "$root/wheels/"
    chroot "$root" python3 -m venv /venv
    # No compiler is there: what has no wheel fails to install.
    chroot "$root" /venv/bin/pip install -q --only-binary pyedge --find-links /wheels pyedge
    answer=$(chroot "$root" env HOME=/nonexistent /venv/bin/pyedge generate Hello -m /wheels/tiny.gguf -n 8 --temp 0 --json)
    chroot "$root" env HOME=/nonexistent /venv/bin/pyedge doctor | grep -E '^(Python|kernels)' | head -n 2
    echo "$arch: $answer"
done
