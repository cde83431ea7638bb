"""`config.json` under one set of names, with checked numbers, and the metadata that every architecture has.

Names are those of transformers' LlamaConfig; what an architecture calls otherwise is renamed by its table.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ..errors import ModelFileError, UnsupportedError
from ..gguf_file import Value
from .values import f32, text, u32

_MOST = 1 << 28  # of any size in a config
_MOST_LAYERS, _MOST_HEADS, _MOST_EXPERTS, _MOST_TOKENS = 1024, 1 << 16, 1 << 16, 1 << 24


class Config:
    """The values of a config, looked up by name; `where` begins the messages of errors."""

    def __init__(
        self, raw: Mapping[str, Any], where: str, renames: Mapping[str, str], defaults: Mapping[str, Any]
    ) -> None:
        self.where = where
        self._values = {name: value for name, value in raw.items() if value is not None}
        for ours, theirs in renames.items():
            if theirs in self._values:
                self._values[ours] = self._values[theirs]
        for name, value in defaults.items():
            self._values.setdefault(name, value)

    def set(self, values: Mapping[str, int]) -> None:
        """Put what was derived in the place of what the file says."""
        self._values.update(values)

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def get(self, name: str, default: Any = None) -> Any:
        return self._values.get(name, default)

    def wrong(self, name: str, expected: str) -> ModelFileError:
        if name not in self._values:
            return ModelFileError(f"{self.where}: {name} is missing; expected {expected}")
        return ModelFileError(
            f"{self.where}: {name} is {str(self._values[name])[:64]!r}; expected {expected}"
        )

    def size(self, name: str, default: int | None = None, most: int = _MOST) -> int:
        """A number of things, at least one."""
        value = self._values.get(name, default)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if type(value) is not int or not 1 <= value <= most:
            raise self.wrong(name, f"a whole number from 1 to {most}")
        return value

    def number(self, name: str, default: float | None = None) -> float:
        return _number(self._values.get(name, default), lambda: self.wrong(name, "a number"))

    def flag(self, name: str, default: bool = False) -> bool:
        value = self._values.get(name, default)
        if not isinstance(value, bool):
            raise self.wrong(name, "true or false")
        return value

    def require(self, name: str, *allowed: Any) -> None:
        """Refuse what the engines compute in one way only. A value that is not there is fine."""
        if name in self._values and self._values[name] not in allowed:
            raise UnsupportedError(
                f"{self.where}: {name} is {str(self._values[name])[:64]!r}, which GGUF has no place for in "
                f"this architecture; it must be {' or '.join(map(repr, allowed))}"
            )

    # Sizes that follow from others.

    @property
    def n_layer(self) -> int:
        return self.size("num_hidden_layers", most=_MOST_LAYERS)

    @property
    def n_embd(self) -> int:
        return self.size("hidden_size")

    @property
    def n_head(self) -> int:
        return self.size("num_attention_heads", most=_MOST_HEADS)

    @property
    def n_head_kv(self) -> int:
        count = self.size("num_key_value_heads", self.n_head)
        if self.n_head % count:
            raise self.wrong("num_key_value_heads", f"a divisor of the {self.n_head} heads")
        return count

    @property
    def n_vocab(self) -> int:
        return self.size("vocab_size", most=_MOST_TOKENS)

    @property
    def n_expert(self) -> int:
        return self.size("num_experts", 1, most=_MOST_EXPERTS)

    @property
    def head_dim(self) -> int:
        if "head_dim" not in self and self.n_embd % self.n_head:
            raise self.wrong("num_attention_heads", f"a divisor of the hidden size {self.n_embd}")
        return self.size("head_dim", max(self.n_embd // self.n_head, 1))

    @property
    def n_rot(self) -> int:
        """Dimensions of a head that are rotated."""
        part = self.rope().get("partial_rotary_factor", self.get("partial_rotary_factor", 1.0))
        factor = _number(part, lambda: self.wrong("partial_rotary_factor", "a number"))
        count = int(self.head_dim * factor)
        if not 2 <= count <= self.head_dim or count % 2:
            raise self.wrong("partial_rotary_factor", f"a part of the {self.head_dim} dimensions of a head")
        return count

    def layer_types(self, known: Mapping[str, bool]) -> list[bool]:
        """What `layer_types` says of each layer."""
        types = self._values.get("layer_types")
        if not isinstance(types, list) or len(types) != self.n_layer or not all(t in [*known] for t in types):
            raise self.wrong("layer_types", f"{self.n_layer} of {', '.join(known)}")
        return [known[t] for t in types]

    # Rotary positions: `rope_parameters`, in older files `rope_theta` and `rope_scaling`.

    def rope(self, layers: str = "full_attention") -> dict[str, Any]:
        """Parameters for these layers: rope_theta, rope_type, and what that type needs."""
        found = self._values.get("rope_parameters")
        if isinstance(found, dict) and isinstance(found.get(layers), dict):
            found = found[layers]
        if not isinstance(found, dict):
            scaling = self._values.get("rope_scaling", {})
            if not isinstance(scaling, dict):
                raise self.wrong("rope_scaling", "an object")
            sliding = layers == "sliding_attention"
            found = {} if sliding else dict(scaling)
            base = "rope_local_base_freq" if sliding and "rope_local_base_freq" in self else "rope_theta"
            if base in self:
                found["rope_theta"] = self._values[base]
        kind = found.get("rope_type", found.get("type")) or "default"
        if not isinstance(kind, str):
            raise self.wrong("rope_parameters", "an object with the text rope_type")
        return {**found, "rope_type": {"su": "longrope", "dynamic": "default"}.get(kind, kind)}

    def rope_number(self, name: str, default: float | None = None) -> float:
        value = self.rope().get(name)
        value = default if value is None else value
        return _number(value, lambda: self.wrong("rope_parameters", f"an object with the number {name}"))

    def rope_base(self, layers: str = "full_attention") -> float:
        value = self.rope(layers).get("rope_theta", 10000.0)
        return _number(value, lambda: self.wrong("rope_theta", "a number"))


def _number(value: Any, wrong: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise wrong()
    if abs(value) > 3e38:  # beyond what GGUF's floats hold
        raise wrong()
    return float(value)


# ---- keys --------------------------------------------------------------------------------------------------


def common_keys(c: Config, epsilon: str, rms: bool) -> dict[str, Value]:
    """Keys that all architectures share, without the architecture's name before them.

    epsilon   the config's name of the norms' epsilon
    rms       norms of the root mean square, not of the deviation from the mean
    """
    keys = {
        "vocab_size": u32(c.n_vocab),
        "block_count": u32(c.n_layer),
        "context_length": u32(c.size("max_position_embeddings")),
        "embedding_length": u32(c.n_embd),
        "feed_forward_length": u32(c.size("intermediate_size")),
        "attention.head_count": u32(c.n_head),
        "attention.head_count_kv": u32(c.n_head_kv),
    }
    keys["attention.layer_norm_rms_epsilon" if rms else "attention.layer_norm_epsilon"] = f32(
        c.number(epsilon)
    )
    if c.head_dim * c.n_head != c.n_embd or "head_dim" in c:
        keys["attention.key_length"] = keys["attention.value_length"] = u32(c.head_dim)
    return keys


def rope_keys(c: Config, also: tuple[str, ...] = ()) -> dict[str, Value]:
    """Base, rotated dimensions, and a scaling that is linear, YaRN, or one of `also`, which is no key.

    "mscale" in `also`: YaRN may have mscale_all_dim.
    """
    keys = {"rope.freq_base": f32(c.rope_base()), "rope.dimension_count": u32(c.n_rot)}
    kind = c.rope()["rope_type"]
    if kind == "linear":
        keys["rope.scaling.type"] = text("linear")
        keys["rope.scaling.factor"] = f32(c.rope_number("factor"))
    elif kind == "yarn":
        keys |= _yarn_keys(c, "mscale" in also)
    elif kind not in ("default", *also):
        raise UnsupportedError(
            f"{c.where}: rope_type is {str(kind)[:32]!r}, which is not known for this architecture; "
            f"{', '.join(('default', 'linear', 'yarn', *also))} are"
        )
    return keys


def _yarn_keys(c: Config, mscale: bool) -> dict[str, Value]:
    rope = c.rope()
    factor = c.rope_number("factor")
    scales = (rope.get("mscale"), rope.get("mscale_all_dim"))
    known = not any(scales) or (mscale and scales[0] == 1 and scales[1])
    if factor < 1 or rope.get("truncate") is False or not known:
        raise UnsupportedError(f"{c.where}: YaRN with a factor below 1, truncate or mscale is not supported")
    original = c.rope_number("original_max_position_embeddings", c.size("max_position_embeddings"))
    if not 1 <= original <= _MOST:
        raise c.wrong("rope_parameters", "an original_max_position_embeddings of at least 1")
    keys = {
        "rope.scaling.type": text("yarn"),
        "rope.scaling.factor": f32(factor),
        "rope.scaling.original_context_length": u32(int(original)),
    }
    for name, ours in (("beta_fast", "yarn_beta_fast"), ("beta_slow", "yarn_beta_slow")):
        if rope.get(name) is not None:
            keys[f"rope.scaling.{ours}"] = f32(c.rope_number(name))
    usual = 0.1 * math.log(factor) + 1  # engines apply it by themselves
    if scales[1]:
        keys["rope.scaling.yarn_log_multiplier"] = f32(c.rope_number("mscale_all_dim"))
        usual /= 0.1 * c.rope_number("mscale_all_dim") * math.log(factor) + 1
    given = c.rope_number("attention_factor", usual)
    if abs(given - usual) > 1e-6:
        keys["rope.scaling.attn_factor"] = f32(given / usual)
    return keys


def llama3_factors(c: Config) -> list[float] | None:
    """Divisors of the rotation frequencies of Llama 3.1 and later; None without that scaling.

    Frequencies whose wave is shorter than the original context stay, long ones are divided by `factor`, and
    there is a smooth way between.
    """
    if c.rope()["rope_type"] != "llama3":
        return None
    factor, low = c.rope_number("factor", 8), c.rope_number("low_freq_factor", 1)
    high = c.rope_number("high_freq_factor", 4)
    context = c.rope_number("original_max_position_embeddings", 8192)
    base = c.rope_base()
    if not (factor > 0 and 0 < low < high and context > 0 and base > 0):
        raise c.wrong("rope_parameters", "positive factors, and a low one below the high one")
    divisors = []
    for i in range(0, c.n_rot, 2):
        wave = 2 * math.pi * base ** (i / c.n_rot)
        if wave < context / high:
            divisors.append(1.0)
        elif wave > context / low:
            divisors.append(factor)
        else:
            smooth = (context / wave - low) / (high - low)
            divisors.append(1 / ((1 - smooth) / factor + smooth))
    return divisors
