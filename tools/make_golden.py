"""Cut tests/golden out of the whole collection of reference data: tools/make_golden.py PATH.

A clone without the collection still tests against values that other engines computed; tests that need more
say so and are skipped. Nothing here is computed by pyedge.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np

GOLDEN = Path(__file__).resolve().parents[1] / "tests" / "golden"
TYPES = [
    *("BF16", "F16", "F32", "Q1_0", "Q2_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "MXFP4"),
    *("Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "TQ1_0", "TQ2_0"),
    *("IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S", "IQ4_NL", "IQ4_XS"),
]
RANDOM_ROWS = 32  # of 96 rows of random block bytes
REAL = ["greedy.jsonl", "hf_dequantized_gemma-3-270m.jsonl", "hf_dequantized_smollm2-135m.jsonl"]


def main(source: Path) -> None:
    for folder in ("real", "dequant"):
        (GOLDEN / folder).mkdir(parents=True, exist_ok=True)
    for name in REAL:
        shutil.copyfile(source / "real" / name, GOLDEN / "real" / name)

    sizes = json.loads((source / "dequant" / "dequant.json").read_text())
    kept = {name: entry for name, entry in sizes.items() if name in TYPES}
    (GOLDEN / "dequant" / "dequant.json").write_text(json.dumps(kept, indent=1) + "\n")
    with np.load(source / "dequant" / "dequant.npz") as arrays:
        chosen = {
            key: arrays[key][:RANDOM_ROWS] if "_r_" in key else arrays[key]
            for key in arrays.files
            if key in ("x", "imatrix") or any(key.startswith(name + "_") for name in TYPES)
        }
    np.savez_compressed(GOLDEN / "dequant" / "dequant.npz", **chosen)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: tools/make_golden.py PATH_OF_REFERENCE_DATA")
    main(Path(sys.argv[1]))
