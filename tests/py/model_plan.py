"""What `tests/c/check_models.c` compares on processors without Python: models, ids, and what others gave.

    python tests/py/model_plan.py FOLDER

Writes FOLDER/plan.txt and the models that have to be made. Values and bounds are those of the reference
tests: every architecture of tests/golden/architectures.npz; the exact tiny models and the tiny model in all
file types where PYEDGE_REFS names the whole collection; and a prompt to SmolLM2 where that can be fetched.
What is left out is said.
"""

from __future__ import annotations

import json
import os
import pathlib
import sys
from typing import Any, TextIO

import arch_models as am
import numpy as np
from numpy.typing import NDArray
from reference_data import MODELS, cases

import pyedge
from pyedge import _core, hub

GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden"
EXACT = 3e-5  # float32 rounding, with room, at logits of a spread of 0.6 to 2.5
QUANTISED = 2e-3  # rms, of activations at 15 bits; 0.12 where only an engine with 8 bits has run a type
DECIDED = 0.5  # margin between logits past which engines choose the same
STEPS = 12


def write_case(
    plan: TextIO, name: str, ids: list[int], rows: dict[int, NDArray[Any]], largest: float, rms: float
) -> None:
    plan.write(f"logits {largest:g} {rms:g} {len(ids)} {len(rows)} {name}\n{' '.join(map(str, ids))}\n")
    for position, logits in rows.items():
        plan.write(f"{position} {' '.join(f'{value:.9g}' for value in logits)}\n")


def architectures(plan: TextIO, folder: pathlib.Path) -> None:
    with np.load(GOLDEN / "architectures.npz") as golden:
        for name, case in am.CASES.items():
            path = folder / f"{name}.gguf"
            path.write_bytes(case.file().to_bytes())
            plan.write(f"model f32 {path}\n")
            rows = dict(zip(am.POSITIONS, golden[name], strict=True))
            write_case(plan, name, am.ids_of(name), rows, EXACT, EXACT)


def tiny_models(plan: TextIO, refs: pathlib.Path) -> None:
    for path in sorted((refs / "models").glob("*.f16.gguf")):
        name = path.name.split(".")[0]
        bound = EXACT if name == "gemma3" else 1e-4  # as tests/py/test_references.py has it
        with np.load(refs / "models" / f"{name}.npz") as data:
            plan.write(f"model f32 {path}\n")
            rows = dict(zip(data["pos_0"].tolist(), data["hf_0"], strict=True))
            write_case(plan, f"{name}.f16", data["tok_0"].tolist(), rows, bound, bound)


def file_types(plan: TextIO, refs: pathlib.Path) -> None:
    supported = {name for name, _, _ in _core.types().values()}
    with (
        np.load(refs / "models" / "llama.npz") as inputs,
        np.load(refs / "quant" / "llama_logits.npz") as outputs,
    ):
        ids, positions = inputs["tok_0"].tolist(), inputs["pos_0"].tolist()
        for entry in json.loads((refs / "quant" / "llama.json").read_text(encoding="utf-8")):
            name, path = entry["ftype"], refs / "quant" / "llama" / f"llama.{entry['ftype']}.gguf"
            if not path.exists() or not set(entry["types"]) <= supported:
                continue
            full = f"{name}_deqf32_0" in outputs
            rows = dict(zip(positions, outputs[f"{name}_{'deqf32' if full else 'lc'}_0"], strict=True))
            bound = QUANTISED if full else 0.12
            plan.write(f"model f32 {path}\n")
            write_case(plan, f"llama.{name}", ids, rows, 6 * bound, bound)


def real_model(plan: TextIO, folder: pathlib.Path) -> None:
    path = hub.fetch(MODELS["smollm2-135m"], quiet=True)
    case = min(cases(folder, "smollm2-135m"), key=lambda case: len(case.prompt_ids))
    steps, start = case.runs["f32kv"][:STEPS], len(case.prompt_ids)
    ids = [*case.prompt_ids, *(step.id for step in steps)][:-1]
    decided = [(start - 1 + i, step.id) for i, step in enumerate(steps) if step.margin > DECIDED]
    plan.write(f"model f32 {path}\nchoices {len(ids)} {len(decided)} smollm2-135m\n")
    plan.write(f"{' '.join(map(str, ids))}\n")
    plan.writelines(f"{position} {id}\n" for position, id in decided)


def main(folder: pathlib.Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    named = os.environ.get("PYEDGE_REFS")
    with (folder / "plan.txt").open("w", encoding="utf-8") as plan:
        architectures(plan, folder)
        if named:
            tiny_models(plan, pathlib.Path(named))
            file_types(plan, pathlib.Path(named))
        else:
            print("model_plan: without file types and exact tiny models, since PYEDGE_REFS names no folder")
        try:
            real_model(plan, GOLDEN / "real")
        except pyedge.Error as error:
            print(f"model_plan: without SmolLM2, which could not be fetched: {error}")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]).resolve())
