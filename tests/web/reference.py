"""What the WebAssembly build is held against: `python tests/web/reference.py OUT.json`.

From the native build on its plain C kernels, which have the same operations as the module without relaxed
SIMD: greedy tokens with the margin of each step, tokens drawn with a seed, an embedding. From `PYEDGE_REFS`,
where it is: token ids of other tokenizers, and logits of transformers on tiny models.
"""

from __future__ import annotations

import json
import os
import pathlib
import sys
from typing import Any

import numpy as np

import pyedge
from pyedge import hub

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODEL = "smollm2-135m-instruct"
STEPS = 24
RAW = b"a\xff\xfe\xf0\x9f b\x00c"
TINY = ("llama", "gemma3", "qwen2", "qwen3", "phi3", "gpt2")


def prompts() -> list[list[int]]:
    lines = (ROOT / "tests/golden/real/greedy.jsonl").read_text(encoding="utf-8").splitlines()
    runs = [json.loads(line) for line in lines]
    return [run["f32kv"]["prompt_ids"] for run in runs if run["model"] == "smollm2-135m"][:4]


def run(model: pyedge.Model, ids: list[int], **options: Any) -> dict[str, Any]:
    done = model.generate(ids, max_tokens=STEPS, logprobs=2, **options)
    margins = [top[0][1] - top[1][1] for top in done.top_logprobs]
    return {"prompt": ids, "tokens": done.tokens, "logprobs": done.logprobs, "margins": margins}


def native() -> dict[str, Any]:
    with pyedge.Model(MODEL, isa="scalar", context=1024) as model:
        messages = [
            {"role": "system", "content": "Answer in one word."},
            {"role": "user", "content": "What colour is the sky?"},
        ]
        text = "Der Himmel ist blau \N{SNOWMAN} 天空是蓝色的。\n\n  x = [1, 2];\t<|im_end|>"
        return {
            "model": str(hub.resolve(MODEL)),
            "greedy": [run(model, ids, temperature=0) for ids in prompts()],
            "drawn": [
                run(model, ids, temperature=1.0, seed=seed) for seed, ids in enumerate(prompts()[:2], 5)
            ],
            "penalised": run(
                model, prompts()[0], temperature=0.9, top_k=0, repeat_penalty=1.3, seed=2**63 + 11
            ),
            "messages": messages,
            "template": model.apply_chat_template(messages),
            "text": text,
            "text_ids": model.tokenize(text),
            "raw": list(RAW),
            "raw_ids": model.tokenize(RAW),
            "text_parsed": model.tokenize(text, parse_special=True),
            "embedding": model.embed("The sky is blue.").tolist(),
            "params": model.n_params,
        }


def lora_runs(folder: pathlib.Path) -> dict[str, Any]:
    lora = json.loads((folder / "lora/references.json").read_text(encoding="utf-8"))
    answers = {}
    for run, name in (("neko@1", "neko"), ("pirate@1", "pirate")):
        peer = lora["results"][run]["p0"]["transformers"]  # on full weights: our file has fewer bits
        sure = next((i for i, margin in enumerate(peer["margin"]) if margin < 1), len(peer["margin"]))
        answers[name] = [id for id in peer["ids"][:sure] if id != lora["eos"]][:16]
    return {
        "prompt": lora["prompts"]["p0"]["ids"],
        "answers": answers,
        "sources": {
            "neko": str(folder / "lora/adapters/neko/adapter_model.safetensors"),
            "pirate": str(folder / "lora/adapters/pirate.gguf"),
        },
    }


def references(folder: pathlib.Path) -> dict[str, Any]:
    with np.load(folder / "tok/mixed_smollm2-135m.npz") as ids:
        tokens = {name: ids[name].tolist() for name in ("plain", "add_special", "parse_special")}
    tiny = []
    for name in TINY:
        with np.load(folder / f"models/{name}.npz") as data:
            tiny.append(
                {
                    "name": name,
                    "file": str(folder / f"models/{name}.f16.gguf"),
                    "ids": data["tok_0"].tolist(),
                    "logits": data["hf_0"][-1].tolist(),
                }
            )
    adapters = lora_runs(folder) if hasattr(pyedge.Model, "load_lora") else None
    return {"adapters": adapters, "mixed": str(folder / "tok/mixed.txt"), "tokens": tokens, "tiny": tiny}


def main() -> None:
    out: dict[str, Any] = {"native": native()}
    folder = os.environ.get("PYEDGE_REFS", str(ROOT.parent / "shared/refs"))
    if pathlib.Path(folder, "tok").is_dir():
        out["references"] = references(pathlib.Path(folder))
    pathlib.Path(sys.argv[1]).write_text(json.dumps(out), encoding="utf-8")


main()
