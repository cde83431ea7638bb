"""Instructions per token under QEMU's user emulation, ours beside llama.cpp's, for absent machines.

    python bench/instructions.py MODEL.gguf --ours PROGRAM --peer PROGRAM [--prompt 512] [--decode 4]
        --emulator "qemu-aarch64 -cpu cortex-a76" [--isa dotprod]

The two programs are bench/instructions/pyedge.c and llama.cpp, cross-built and linked statically:

    aarch64-linux-gnu-gcc -O2 -static -Icsrc bench/instructions/pyedge.c \\
        BUILD/libpyedge_core.a -lm -lpthread -o ours
    aarch64-linux-gnu-g++ -O2 -static -ILLAMA/include -ILLAMA/ggml/include bench/instructions/llama.cpp \\
        BUILD/src/libllama.a BUILD/ggml/src/libggml.a BUILD/ggml/src/libggml-cpu.a \\
        BUILD/ggml/src/libggml-base.a -lpthread -lm -ldl -o theirs

What a token costs is the difference of two runs, so that opening the model does not count: none and
--prompt tokens evaluated at once, and one and 1 + --decode tokens one after the other. Counts do not depend
on what else the machine does; they say nothing of time.
"""

from __future__ import annotations

import argparse
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile

PLUGIN = pathlib.Path(__file__).resolve().parents[1] / "tools" / "qemu_instructions.c"


def build_plugin(folder: str) -> str:
    plugin = f"{folder}/instructions.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O2", str(PLUGIN), "-o", plugin], check=True)
    return plugin


def count(emulator: list[str], program: list[str], n_prompt: int, n_decoded: int, isa: str | None) -> int:
    command = [*emulator, *program, str(n_prompt), str(n_decoded), *([isa] if isa else [])]
    done = subprocess.run(command, capture_output=True, text=True)
    found = re.search(r"^instructions: (\d+)$", done.stderr, re.M)
    if done.returncode or not found:
        sys.exit(f"{shlex.join(command)} ended with {done.returncode}: {done.stderr.strip()[-500:]}")
    return int(found[1])


def per_token(
    emulator: list[str], program: list[str], n_prompt: int, n_decoded: int, isa: str | None
) -> tuple[float, float]:
    """Millions of instructions per decoded and per prefilled token."""
    first = count(emulator, program, 0, 1, isa)
    decode = (count(emulator, program, 0, 1 + n_decoded, isa) - first) / n_decoded
    if not n_prompt:
        return decode / 1e6, float("nan")
    nothing = count(emulator, program, 0, 0, isa)
    return decode / 1e6, (count(emulator, program, n_prompt, 0, isa) - nothing) / n_prompt / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("model")
    parser.add_argument("--ours", required=True, help="bench/instructions/pyedge.c, built")
    parser.add_argument("--peer", help="bench/instructions/llama.cpp, built")
    parser.add_argument("--emulator", required=True, help='as "qemu-aarch64 -cpu cortex-a76"')
    parser.add_argument("--isa", help="ours: an instruction set other than the best one")
    parser.add_argument("--prompt", type=int, default=512, help="0: decoding only")
    parser.add_argument("--decode", type=int, default=4)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        emulator = [*shlex.split(options.emulator), "-plugin", build_plugin(folder)]
        rows = [("pyedge", options.ours, options.isa)]
        if options.peer:
            rows.append(("llama.cpp", options.peer, None))
        print(
            f"| {options.emulator} | decode, M | prefill of {options.prompt}, M |\n|---|---:|---:|",
            flush=True,
        )
        found = []
        for name, program, isa in rows:
            decode, prefill = per_token(
                emulator, [program, options.model], options.prompt, options.decode, isa
            )
            found.append((decode, prefill))
            label = f"{name}, {isa}" if isa else name
            print(f"| {label} | {decode:.1f} | {prefill:.1f} |", flush=True)
        if len(found) == 2:
            (decode, prefill), (peer_decode, peer_prefill) = found
            print(f"| ratio | {decode / peer_decode:.3f} | {prefill / peer_prefill:.3f} |")


if __name__ == "__main__":
    main()
