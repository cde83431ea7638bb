"""A peer without a benchmark program of its own: prints what `llama-bench -o json` does.

    python bench/peer_worker.py llama-cpp -m MODEL.gguf -p 512 -n 128 -t 2
    python bench/peer_worker.py openvino --directory EXPORTED -m MODEL.gguf -p 512 -n 128 -t 2

Called by bench/peers.py. Prompts are random tokens, other ones in each run, so that no cache answers them.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from typing import Any


def numbers(text: str) -> list[int]:
    return [int(item) for item in text.split(",")]


class LlamaCpp:
    """llama-cpp-python through its low-level evaluation: no text, no filters but the arg-max."""

    def __init__(self, options: argparse.Namespace, threads: int, context: int) -> None:
        from llama_cpp import Llama

        self._llama = Llama(
            options.model,
            n_ctx=context,
            n_threads=threads,
            n_threads_batch=threads,
            verbose=False,
        )
        self.vocab_size = int(self._llama.n_vocab())

    def prompt(self, ids: list[int]) -> None:
        self._llama.reset()
        self._llama.eval(ids)

    def generate(self, count: int) -> None:
        for _ in range(count):
            self._llama.eval([self._llama.sample(temp=0.0)])


class OpenVino:
    """OpenVINO GenAI's pipeline: generation is timed as a whole, less the prompt."""

    def __init__(self, options: argparse.Namespace, threads: int, context: int) -> None:
        import openvino_genai

        self._genai: Any = openvino_genai
        self._pipeline = openvino_genai.LLMPipeline(
            options.directory, "CPU", {"INFERENCE_NUM_THREADS": threads}
        )
        self.vocab_size = len(self._pipeline.get_tokenizer().get_vocab())
        self._last: Any = None

    def _run(self, ids: list[int], count: int) -> None:
        import numpy as np
        import openvino

        config = self._genai.GenerationConfig()
        config.max_new_tokens = count
        config.ignore_eos = True
        config.do_sample = False
        tensor = openvino.Tensor(np.array([ids], np.int64))
        mask = openvino.Tensor(np.ones((1, len(ids)), np.int64))
        self._last = self._pipeline.generate(self._genai.TokenizedInputs(tensor, mask), config)

    def prompt(self, ids: list[int]) -> None:
        self._run(ids, 1)

    def generate(self, count: int) -> None:
        self._run([1], count)


def measure(options: argparse.Namespace, threads: int) -> list[dict[str, Any]]:
    lengths, steps, depths = numbers(options.p), numbers(options.n), numbers(options.d)
    kind = {"llama-cpp": LlamaCpp, "openvino": OpenVino}[options.engine]
    peer = kind(options, threads, max(depths) + max([*lengths, *steps]) + 64)
    rng = random.Random()

    def draw(count: int) -> list[int]:
        return [rng.randrange(peer.vocab_size) for _ in range(count)]

    rows = []
    for n_prompt, n_gen in [(n, 0) for n in lengths if n] + [(0, n) for n in steps if n]:
        samples = []
        for _ in range(options.r + 1):  # the first one warms up
            if n_gen:
                peer.prompt(draw(4))
            ids = draw(n_prompt)
            before = time.perf_counter()
            if n_prompt:
                peer.prompt(ids)
            else:
                peer.generate(n_gen)
            samples.append((n_prompt or n_gen) / (time.perf_counter() - before))
        rows.append(
            {
                "n_prompt": n_prompt,
                "n_gen": n_gen,
                "n_depth": 0,
                "n_threads": threads,
                "samples_ts": samples[1:],
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("engine", choices=["llama-cpp", "openvino"])
    parser.add_argument("-m", "--model", required=True)
    parser.add_argument("--directory")
    parser.add_argument("-p", default="512")
    parser.add_argument("-n", default="128")
    parser.add_argument("-d", default="0", help="only depth 0 is measured")
    parser.add_argument("-t", default="1")
    parser.add_argument("-r", type=int, default=5)
    parser.add_argument("-o", choices=["json"], default="json")
    options = parser.parse_args()
    print(json.dumps([row for threads in numbers(options.t) for row in measure(options, threads)]))


if __name__ == "__main__":
    main()
