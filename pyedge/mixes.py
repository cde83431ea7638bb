"""Which tensor gets which type: the mixes that people know by names such as Q4_K_M.

A mix has a main type; tensors that a model is sensitive to (the output, values of the attention, some layers
of the feed-forward's way down) get a better one. The rules are those that the field has settled on, seen in
the files that llama.cpp's tools make, so that a name means the same file everywhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

# Name: main type, and the number that `general.file_type` has for it.
MIXES: dict[str, tuple[str, int]] = {
    "F32": ("F32", 0),
    "F16": ("F16", 1),
    "BF16": ("BF16", 32),
    "Q4_0": ("Q4_0", 2),
    "Q4_1": ("Q4_1", 3),
    "Q5_0": ("Q5_0", 8),
    "Q5_1": ("Q5_1", 9),
    "Q8_0": ("Q8_0", 7),
    "Q2_K": ("Q2_K", 10),
    "Q2_K_S": ("Q2_K", 21),
    "Q3_K_S": ("Q3_K", 11),
    "Q3_K_M": ("Q3_K", 12),
    "Q3_K_L": ("Q3_K", 13),
    "Q4_K_S": ("Q4_K", 14),
    "Q4_K_M": ("Q4_K", 15),
    "Q5_K_S": ("Q5_K", 16),
    "Q5_K_M": ("Q5_K", 17),
    "Q6_K": ("Q6_K", 18),
    "IQ1_S": ("IQ1_S", 24),
    "IQ1_M": ("IQ1_M", 31),
    "IQ2_XXS": ("IQ2_XXS", 19),
    "IQ2_XS": ("IQ2_XS", 20),
    "IQ2_S": ("IQ2_XS", 28),
    "IQ2_M": ("IQ2_S", 29),
    "IQ3_XXS": ("IQ3_XXS", 23),
    "IQ3_XS": ("IQ3_S", 22),
    "IQ3_S": ("IQ3_S", 26),
    "IQ3_M": ("IQ3_S", 27),
    "IQ4_NL": ("IQ4_NL", 25),
    "IQ4_XS": ("IQ4_XS", 30),
    "TQ1_0": ("TQ1_0", 36),
    "TQ2_0": ("TQ2_0", 37),
    "MXFP4_MOE": ("MXFP4", 38),
    "Q1_0": ("Q1_0", 40),
    "Q2_0": ("Q2_0", 41),
}
ALIASES = {"Q3_K": "Q3_K_M", "Q4_K": "Q4_K_M", "Q5_K": "Q5_K_M"}
_FLOATS = ("F32", "F16", "BF16")
# Too few bits to spread an error evenly: of no use without an importance matrix.
NEED_IMATRIX = ("IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS")
_TWO_BITS = ("IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ2_M")  # mixes with rules of their own
_BEST_TWO = ("IQ2_S", "IQ2_M")

# Where a row is no multiple of the type's block: the next best type with a smaller one.
_FALLBACK = {
    "Q2_K": "Q4_0",
    "Q3_K": "Q4_0",
    "Q4_K": "Q5_0",
    "Q5_K": "Q5_1",
    "Q6_K": "Q8_0",
    "Q1_0": "Q4_0",
    "Q2_0": "Q4_0",
    "TQ1_0": "Q4_0",
    "TQ2_0": "Q4_0",
}

# Parts of names of tensors with two dimensions that are no matrices to multiply with, or too small and too
# sensitive: routers of experts, positions, convolutions, recurrent states.
_KEEP = re.compile(
    r"_norm\.weight$|ffn_gate_inp|altup|laurel|per_layer_model_proj|position_embd|token_types|ssm_conv1d|shortconv\.conv"
    r"|time_mix_|attn_rel_b|\.patch_embd|^mm\.|^v\."
)
_LAYER = re.compile(r"^blk\.(\d+)\.")


def known(name: str) -> str:
    """A mix by any of its spellings."""
    upper = name.upper()
    upper = ALIASES.get(upper, upper)
    if upper not in MIXES:
        raise ValueError(f"unknown type {name!r}: use one of {', '.join(MIXES)}")
    return upper


def is_weight(name: str, n_dims: int) -> bool:
    """Whether a tensor is one that quantisers take; the others stay as they are."""
    return name.endswith("weight") and n_dims >= 2 and not _KEEP.search(name)


@dataclass(frozen=True)
class Shape:
    """What the rules want to know of a model."""

    arch: str
    n_gqa: int  # query heads to a head of keys
    n_expert: int
    tied: bool  # no output matrix: the embedding is the output, too
    imatrix: bool


class Mix:
    """The rules of one mix for one model."""

    def __init__(self, name: str, shape: Shape, tensors: Iterable[str]) -> None:
        self.name = known(name)
        self.main = MIXES[self.name][0]
        self.shape = shape
        names = list(tensors)
        # Rules count layers among those that have such a tensor.
        self._places: dict[str, list[int]] = {
            kind: sorted({int(match[1]) for name in names if kind in name and (match := _LAYER.match(name))})
            for kind in ("attn_v.", "attn_qkv.", "attn_kv_b.", "ffn_down", "ffn_gate", "ffn_up")
        }

    def choose(self, name: str, n_dims: int) -> str:
        """The type of a tensor, before it is known whether its rows fit."""
        if self.name in _FLOATS:
            return self.main
        if name == "output.weight" or (self.shape.tied and name == "token_embd.weight"):
            return self._output()
        if self.name == "MXFP4_MOE":
            return "MXFP4" if n_dims == 3 else "Q8_0"
        if name == "token_embd.weight":
            return self._embedding()
        if self.name in _TWO_BITS:
            return self._two_bits(name) or self.main
        for kind, rule in (
            ("attn_v.weight", self._values),
            ("attn_k.weight", self._keys),
            ("attn_q.weight", self._queries),
            ("ffn_down", self._down),
            ("attn_output.weight", self._attention_output),
            ("attn_qkv.weight", self._fused),
            ("ffn_gate", self._gate),
            ("ffn_up", self._gate),
        ):
            if kind in name:
                return rule(name) or self.main
        return self.main

    def _place(self, name: str, kind: str) -> tuple[int, int]:
        """The number of this layer among those with such tensors, and how many there are."""
        layers, match = self._places[kind], _LAYER.match(name)
        return (layers.index(int(match[1])) if match else 0), max(len(layers), 1)

    def _early(self, name: str, kind: str, part: int = 8) -> bool:
        place, count = self._place(name, kind)
        return place < count // part

    def _more_bits(self, name: str, kind: str) -> bool:
        """The first and the last eighth of the layers, and every third between."""
        place, count = self._place(name, kind)
        eighth = count // 8
        return place < eighth or place >= 7 * count // 8 or (place - eighth) % 3 == 2

    def _output(self) -> str:
        if self.name in ("MXFP4_MOE", "Q8_0") or self.shape.arch == "falcon":
            return "Q8_0"
        return "Q5_K" if self.name in (*_TWO_BITS, "IQ3_XXS") else "Q6_K"

    def _embedding(self) -> str:
        if self.name in ("TQ1_0", "TQ2_0", "Q2_0"):
            return "Q4_K"
        if self.name in _TWO_BITS and self.name not in _BEST_TWO:
            return "Q2_K"
        return "IQ3_S" if self.name in (*_BEST_TWO, "IQ3_XXS", "IQ3_XS") else self.main

    def _two_bits(self, name: str) -> str | None:
        better = "IQ3_S" if self.name in _BEST_TWO else "Q2_K"
        if any(kind in name for kind in ("attn_v.", "attn_qkv.", "attn_kv_b.")):
            return "Q4_K" if self.shape.n_gqa >= 4 or self.shape.n_expert >= 4 else better
        if "attn_k.weight" in name and self.shape.n_expert == 8:
            return "Q4_K"
        if "ffn_down" in name:
            return better if self._early(name, "ffn_down") else None
        if "attn_output.weight" in name:
            few = {"IQ1_S": "IQ2_XXS", "IQ1_M": "IQ2_XXS", "IQ2_S": "IQ3_S", "IQ2_M": "IQ3_S"}
            return "Q5_K" if self.shape.n_expert == 8 else few.get(self.name)
        return None

    def _values(self, name: str) -> str | None:
        mix, grouped = self.name, self.shape.n_gqa >= 4
        if self.shape.n_expert == 8 and mix not in ("Q1_0", "Q2_0", "TQ1_0", "TQ2_0"):
            return "Q8_0"
        if mix == "Q2_K":
            return "Q4_K" if grouped else "Q3_K"
        if mix in ("Q2_K_S", "IQ3_XS", "IQ3_S") and grouped:
            return "Q4_K"
        if mix == "IQ3_XXS":
            return "Q4_K" if grouped else "IQ3_XXS" if self.shape.imatrix else "IQ3_S"
        if mix == "Q3_K_M":
            return "Q5_K" if self._place(name, "attn_v.")[0] < 2 else "Q4_K"
        if mix in ("Q4_K_M", "Q5_K_M") and self._more_bits(name, "attn_v."):
            return "Q6_K"
        if mix == "Q4_K_S" and self._place(name, "attn_v.")[0] < 4:
            return "Q5_K"
        if mix in ("IQ4_NL", "IQ4_XS") and grouped:
            return "Q5_K"
        return {"IQ3_M": "Q4_K", "Q3_K_L": "Q5_K"}.get(mix)

    def _keys(self, name: str) -> str | None:
        if self.shape.n_expert == 8 and self.name not in ("Q1_0", "Q2_0", "TQ1_0", "TQ2_0"):
            return "Q8_0"
        return self._queries(name)

    def _queries(self, name: str) -> str | None:
        return {"IQ3_XS": "IQ3_XXS", "IQ3_XXS": "IQ2_S"}.get(self.name)

    def _down(self, name: str) -> str | None:
        mix, kind, falcon = self.name, "ffn_down", self.shape.arch == "falcon"
        if mix == "Q2_K_S":
            return "Q4_K" if self._early(name, kind) else None
        if mix == "IQ3_XXS" and not self.shape.imatrix:
            return "Q4_K" if self._early(name, kind) else "Q3_K"
        if mix == "Q3_K_M":
            better = not falcon or self._more_bits(name, kind)
            return "Q5_K" if self._early(name, kind, 16) else "Q4_K" if better else None
        if mix == "IQ3_M" and (
            self._early(name, kind) or (self.shape.n_expert == 8 and self._more_bits(name, kind))
        ):
            return "Q4_K"
        if mix == "Q4_K_M" and falcon:
            return "Q6_K" if self._early(name, kind, 16) else "Q5_K" if self._more_bits(name, kind) else None
        if mix in ("Q4_K_M", "Q5_K_M") and self._more_bits(name, kind):
            return "Q6_K"
        if self._early(name, kind):
            if mix in ("IQ4_NL", "IQ4_XS") and not self.shape.imatrix:
                return "Q5_K"
            if mix == "Q4_K_S" and not falcon:
                return "Q5_K"
            if mix in ("Q4_0", "Q5_0") and self.shape.imatrix:
                return {"Q4_0": "Q4_1", "Q5_0": "Q5_1"}[mix]
        return {"Q2_K": "Q3_K", "Q3_K_L": "Q4_K" if falcon else "Q5_K"}.get(mix)

    def _attention_output(self, name: str) -> str | None:
        if self.shape.arch == "falcon":
            return "Q4_K" if self.name == "Q3_K_L" else None
        sparse = (
            "Q2_K",
            "Q3_K_S",
            "Q3_K_M",
            "Q4_K_S",
            "Q4_K_M",
            "IQ3_XXS",
            "IQ3_XS",
            "IQ3_S",
            "IQ3_M",
            "IQ4_NL",
        )
        if self.shape.n_expert == 8 and self.name in (*sparse, "IQ4_XS"):
            return "Q5_K"
        better = {"Q2_K": "Q3_K", "Q3_K_M": "Q4_K", "Q3_K_L": "Q5_K", "IQ3_XXS": "IQ3_S", "IQ3_M": "Q4_K"}
        return better.get(self.name)

    def _fused(self, name: str) -> str | None:
        return {"Q3_K_M": "Q4_K", "Q3_K_L": "Q4_K", "IQ3_M": "Q4_K", "Q4_K_M": "Q5_K", "Q5_K_M": "Q6_K"}.get(
            self.name
        )

    def _gate(self, name: str) -> str | None:
        if self.name != "IQ3_XS":
            return None
        place, count = self._place(name, "ffn_gate" if "ffn_gate" in name else "ffn_up")
        return "IQ3_XXS" if count // 8 <= place < 7 * count // 8 else None


def fitting(wanted: str, n_per_row: int, blocks: dict[str, int]) -> str:
    """The wanted type, or the best one for rows that its blocks do not divide; `blocks`: weights of each."""
    while n_per_row % blocks[wanted]:
        wanted = "F16" if blocks[wanted] <= 32 else _FALLBACK.get(wanted, "IQ4_NL")
    return wanted
