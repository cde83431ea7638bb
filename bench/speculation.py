"""Prompt lookup on a prompt whose answer copies most of it, against decoding token by token.

    python bench/speculation.py [MODEL...] [-n 160] [-r 5] [-t 2] [--text FILE]

The model is asked to edit a text that stands in the prompt; the answer is greedy. A prompt of another kind
("free", sampled with a seed) shows what looking ahead costs where little repeats. Both ways run in turn,
and the medians over rounds are compared: decoding alone, without the prompt. The tokens and their
probabilities must be the same bits: it is an error if they are not.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path
from typing import Any

import pyedge

TEXT = """\
The harbuor of Port Elin lies on the north side of the island, behind a long wall of grey stone. Fishing \
boats leave before sunrise and come back in the aftrenoon with herring and cod. In the summer the ferry \
from the mainland brings visitors twice a day, at nine in the morning and at four in the afternoon, and \
the small hotel by the market is full from June to the end of August. In winter there is only one \
crossing a day, and when the wind blows from the west there may be none for a week. The people of the \
island bake their own bread, repair their own nets, and keep a list of who still has coal. The lighthouse \
at the far end of the wall was built in 1874 and has been dark only twice since then: once in a storm \
that broke the lamp, and once during the war. Its keeper, Anna Lind, climbs the 112 steps every evening \
to see that everything is in order, although the light has been automatic for thirty years."""
MODELS = ["smollm2-135m-instruct", "gemma-3-270m"]


def prompts(model: pyedge.Model, text: str) -> dict[str, Any]:
    """What to complete, by kind; messages where the model has a template for them."""
    free = "Tell me about the first people who sailed across the Pacific."
    edit = f"Correct the spelling mistakes in this text and write the whole text again:\n\n{text}"
    if model.metadata.get("tokenizer.chat_template"):
        return {
            "edit": [{"role": "user", "content": edit}],
            "free": [{"role": "user", "content": free}],
        }
    return {"edit": f"{edit}\n\nThe corrected text:\n\n", "free": f"{free}\n\n"}


def measure(model: pyedge.Model, prompt: Any, temperature: float, options: argparse.Namespace) -> list[Any]:
    """Tokens, medians of tokens per second without and with lookup, their ratio, drafted, accepted."""
    rates: dict[bool, list[float]] = {False: [], True: []}
    first: Any = None
    for turn in range(options.r):
        for lookup in (turn % 2 == 1, turn % 2 == 0):
            done = model.generate(
                prompt,
                raw=isinstance(prompt, str),
                temperature=temperature,
                seed=1,
                max_tokens=options.n,
                lookup=lookup,
            )
            first = first or done
            if (done.tokens, done.logprobs) != (first.tokens, first.logprobs):
                sys.exit(f"{model.name}: lookup={lookup} gives other tokens or probabilities")
            rates[lookup].append(done.timings["decode_tokens"] / done.timings["decode_seconds"])
            if lookup:
                counts = [int(done.timings[name]) for name in ("drafted_tokens", "accepted_tokens")]
    plain, looked = (statistics.median(rates[lookup]) for lookup in (False, True))
    return [len(first.tokens), f"{plain:.1f}", f"{looked:.1f}", f"{looked / plain:.2f}", *counts]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("models", nargs="*", default=MODELS, help="GGUF files, or names of known models")
    parser.add_argument("-n", type=int, default=160, help="tokens generated at most")
    parser.add_argument("-r", type=int, default=5, help="rounds")
    parser.add_argument("-t", type=int, help="threads")
    parser.add_argument("--text", type=Path, help="a text to edit, in place of the one in here")
    options = parser.parse_args()
    text = options.text.read_text(encoding="utf-8") if options.text else TEXT
    print("| model | prompt | tokens | plain t/s | lookup t/s | ratio | drafted | accepted |")
    print("|---|---|---:|---:|---:|---:|---:|---:|")
    for source in options.models:
        with pyedge.Model(source, threads=options.t) as model:
            for kind, prompt in prompts(model, text).items():
                row = [model.name, kind, *measure(model, prompt, 1.0 if kind == "free" else 0.0, options)]
                print(f"| {' | '.join(map(str, row))} |", flush=True)


if __name__ == "__main__":
    main()
