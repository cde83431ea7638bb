"""Speed and error of `pyedge quantize` beside llama.cpp's `llama-quantize`.

    python bench/quantize.py LLAMA_QUANTIZE [--model MODEL] [--types Q4_1,Q3_K_M] [--threads 2]

Both make each type from one F16 file, taking turns, all matrices in one type (`--pure`). Where the model is
quantised already, its weights lie on a grid that some types hit exactly: --noise moves them off it. The time
is that of the work without the start of the program, as llama-quantize prints it itself; the median of
--rounds. The error is the root mean square over the tensors that both wrote in the same type, without an
importance matrix.
"""

from __future__ import annotations

import argparse
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

import numpy as np

from pyedge import _core, hub
from pyedge.gguf_file import Bytes, GgufFile, Tensor, write
from pyedge.quantize import quantize

TYPES = (
    "Q4_0,Q4_1,Q5_0,Q5_1,Q8_0,Q2_K,Q3_K_M,Q4_K_M,Q5_K_M,Q6_K,IQ4_NL,IQ4_XS,"
    "IQ3_XXS,IQ3_S,TQ1_0,TQ2_0,MXFP4_MOE"
)


def add_noise(path: pathlib.Path, target: pathlib.Path, share: float) -> None:
    """The F16 tensors of a file with normal noise, `share` of the root mean square of each."""
    file, rng = GgufFile(path), np.random.default_rng(1)

    def pieces(tensor: Tensor) -> Iterator[Bytes]:
        data = np.asarray(file.data(tensor))
        if tensor.type_name == "F16":
            x = data.view(np.float16).astype(np.float32)
            noise = rng.standard_normal(x.size, dtype=np.float32) * np.float32(share * np.sqrt((x**2).mean()))
            data = (x + noise).astype(np.float16).view(np.uint8)
        yield data

    write(target, file.keys, list(file.tensors.values()), pieces)


def theirs_took(command: list[str]) -> float:
    done = subprocess.run(command, check=True, capture_output=True, encoding="utf-8", errors="replace")
    found = re.findall(r"quantize time = +([0-9.]+) ms", done.stdout + done.stderr)
    return float(found[-1]) / 1000


def ours_took(source: pathlib.Path, target: pathlib.Path, type: str, threads: int) -> float:
    start = time.perf_counter()
    quantize(source, target, type, pure=True, threads=threads)
    return time.perf_counter() - start


def errors(source: GgufFile, made: list[GgufFile]) -> list[float]:
    """Of each file, over the tensors that all have in the same type and the source has not."""
    squares = [0.0] * len(made)
    for tensor in source.tensors.values():
        others = [file.tensors[tensor.name] for file in made]
        if len({other.type for other in others}) > 1 or others[0].type in (0, tensor.type):
            continue
        exact = _core.dequantize(tensor.type, np.asarray(source.data(tensor)), tensor.n)
        for i, (file, other) in enumerate(zip(made, others, strict=True)):
            values = _core.dequantize(other.type, np.asarray(file.data(other)), tensor.n)
            squares[i] += float(((values - exact).astype(np.float64) ** 2).sum())
    return [square**0.5 for square in squares]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("llama_quantize", help="llama.cpp's program")
    parser.add_argument("--model", default="smollm2-135m-instruct", help="a file, or a name to fetch")
    parser.add_argument("--types", default=TYPES)
    parser.add_argument("--noise", type=float, default=0.06, help="share of the weights' size; 0: none")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    path = pathlib.Path(options.model)
    path = path if path.exists() else hub.fetch(options.model)
    print("| type | llama-quantize s | pyedge s | ratio | error, pyedge's of llama-quantize's |")
    print("|---|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        source = folder / "source.gguf"
        quantize(path, source, "F16", pure=True)
        if options.noise:
            plain = source.rename(folder / "plain.gguf")
            add_noise(plain, source, options.noise)
            plain.unlink()
        for type in options.types.split(","):
            theirs, ours = folder / "theirs.gguf", folder / "ours.gguf"
            peer = [options.llama_quantize, "--pure", *map(str, (source, theirs)), type, str(options.threads)]
            took: tuple[list[float], list[float]] = ([], [])
            for _ in range(options.rounds):
                took[0].append(theirs_took(peer))
                took[1].append(ours_took(source, ours, type, options.threads))
            slow, fast = (statistics.median(times) for times in took)
            error = errors(GgufFile(source), [GgufFile(theirs), GgufFile(ours)])
            ratio = f"{error[1] / error[0]:.3f}" if error[0] else ""
            print(f"| {type} | {slow:.2f} | {fast:.2f} | {slow / fast:.2f} | {ratio} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
