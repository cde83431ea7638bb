"""Small models for the browser's tests: `PYTHONPATH=tests/py python tests/web/models.py FOLDER`.

A llama of some megabytes that writes letters, whole and in three parts; an adapter that changes what it
writes, and one that is made for a model of another size.
"""

from __future__ import annotations

import pathlib
import sys

import ggufmake as gm
import numpy as np

EMBD, LAYERS = 128, 8
TEMPLATE = "{% for m in messages %}<|im_start|>{{ m.role }} {{ m.content }}<|im_end|>{% endfor %}<|im_start|>"


def model() -> gm.Gguf:
    """Only letters have rows in the head: what random weights answer can be read, and has no end."""
    letters = [3 + gm.byte_alphabet().index(letter) for letter in "abcdefghijklmnoprstuvwy"]
    head = np.zeros((gm.N_VOCAB["bpe"], EMBD), "<f4")
    head[letters] = 6 * np.random.default_rng(1).standard_normal((len(letters), EMBD))
    return gm.tiny_llama_file(
        keys={"general.name": gm.text("Letters"), "tokenizer.chat_template": gm.text(TEMPLATE)},
        tensors={"output.weight": gm.Tensor(head.shape[::-1], head.tobytes())},
        n_layer=LAYERS,
        n_embd=EMBD,
        n_ff=384,
        n_ctx=1024,
    )


def adapter(n_embd: int, rank: int = 4) -> gm.Gguf:
    rng = np.random.default_rng(2)
    tensors = []
    for layer in range(LAYERS):
        for letter, shape in (("a", (n_embd, rank)), ("b", (rank, n_embd))):
            values = rng.standard_normal(shape[::-1]).astype("<f4")
            name = f"blk.{layer}.attn_output.weight.lora_{letter}"
            tensors.append((name, gm.Tensor(shape, values.tobytes())))
    keys = [
        ("general.type", gm.text("adapter")),
        ("general.architecture", gm.text("llama")),
        ("adapter.type", gm.text("lora")),
        ("adapter.lora.alpha", gm.f32(4.0)),
    ]
    return gm.Gguf(keys=keys, tensors=tensors)


def main() -> None:
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    whole = model()
    (folder / "letters.gguf").write_bytes(whole.to_bytes())
    for name, part in zip(gm.part_names("split", 3), gm.split(whole, 3), strict=True):
        (folder / name).write_bytes(part.to_bytes())
    (folder / "fits.gguf").write_bytes(adapter(EMBD).to_bytes())
    (folder / "foreign.gguf").write_bytes(adapter(2 * EMBD).to_bytes())


main()
