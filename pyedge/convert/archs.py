"""Architectures as data: what a Hugging Face model of each family becomes in GGUF.

A table has the names of tensors with the shape that each must have, the names that the family gives to common
values of its config, and the keys that only it has.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import UnsupportedError
from .layer_normed import LAYER_NORMED
from .llama_like import LLAMA_LIKE
from .rules import Arch
from .with_experts import EXPERTS

ARCHS: tuple[Arch, ...] = (*LLAMA_LIKE, *LAYER_NORMED, *EXPERTS)


def find(raw: Mapping[str, Any], where: str) -> Arch:
    """The family of a config."""
    classes = raw.get("architectures")
    name = classes[0] if isinstance(classes, list) and classes else None
    # The second name is for models without a head, as they are published for embeddings.
    for each in (name, f"{str(name).removesuffix('Model')}ForCausalLM"):
        for arch in ARCHS:
            if each in arch.classes or (name is None and raw.get("model_type") in arch.types):
                return arch
    known = ", ".join(sorted(name for arch in ARCHS for name in arch.classes))
    shown = str(name or raw.get("model_type"))[:64]
    raise UnsupportedError(f"{where}: the architecture {shown!r} cannot be converted; these can: {known}")
