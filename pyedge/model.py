"""A model file, opened: its tokenizer, its facts, and the doors to generation.

A `Model` is immutable and may serve any number of threads; each call that evaluates makes a session of its
own, so that an answer never depends on what ran before. Everything heavy happens in the core. NumPy is loaded
where an array is made, and not before: it takes longer to import than a model to open.
"""

from __future__ import annotations

import os
import threading
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from . import _core
from .arrays import numpy
from .completion import Completion, Piece, SamplingOptions, check_options, integer, optional
from .errors import Error, UnsupportedError
from .lora import Adapters, Lora, LoraInfo
from .session import Session, listed
from .streaming import encode

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from typing_extensions import Unpack

    from .chat import ChatTemplate

Prompt = str | bytes | Sequence[Mapping[str, Any]] | Iterable[int]


class Model:
    """`Model("model.gguf")`, or a name that `pyedge pull` knows.

    context        positions of each session; None: as many as the model was trained for (memory grows on use)
    threads        None: what the machine allows, see `pyedge doctor`
    kv_type        "f16" or "f32": how sessions keep keys and values
    memory_limit   bytes that each session may take besides the pages of the file; None: no limit
    isa            instruction set, None: the best one that the machine has
    pretokenizer   the pre-tokeniser to use where the file names none, or one that is not known: a name, such
                   as "default" or "llama-bpe". None: an unknown one is refused
    tokenizer      path of the vocabulary of a model that has none in its file (llama2.c); None: tokenizer.bin
                   beside the model
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        context: int | None = None,
        threads: int | None = None,
        kv_type: str = "f16",
        memory_limit: int | None = None,
        isa: str | None = None,
        pretokenizer: str | None = None,
        tokenizer: str | os.PathLike[str] | None = None,
    ) -> None:
        # Arguments first: nothing is fetched or opened for a call that is wrong.
        self._context = optional("context", context, 2**31 - 1, "None or an integer of 1 or more")
        self._threads = optional("threads", threads, 512, "None or an integer from 1 to 512")
        if kv_type not in ("f16", "f32"):
            raise ValueError(f"kv_type must be 'f16' or 'f32', not {kv_type!r}")
        self._kv_type = kv_type
        self._memory_limit = optional("memory_limit", memory_limit, 2**63 - 1, "None or bytes, 1 or more")
        known = [name for name, _, _ in _core.isas()]
        if isa is not None and isa not in known:
            raise ValueError(f"isa must be None or one of {', '.join(known)}, not {isa!r}")
        self._isa = isa
        if pretokenizer is not None and not isinstance(pretokenizer, str):
            raise TypeError(f"pretokenizer must be None or a name, not {pretokenizer!r}")
        from . import hub

        self.path = hub.resolve(path)
        before = time.perf_counter()
        self._core: _core.Model | None = _core.Model(self.path, pretokenizer, tokenizer)
        self.load_seconds = time.perf_counter() - before
        self._info = self._core.info()
        self._adapters = Adapters(self._core)
        self._lock = threading.Lock()
        self._metadata: dict[str, Any] | None = None
        self._template: ChatTemplate | None = None

    # ---- facts ----

    @property
    def name(self) -> str:
        return str(self._info["name"] or self.path.stem)

    @property
    def arch(self) -> str:
        return str(self._info["arch"])

    @property
    def vocab_size(self) -> int:
        return int(self._info["n_vocab"])

    @property
    def context_length(self) -> int:
        """Positions that the model was trained for."""
        return int(self._info["n_ctx_train"])

    @property
    def n_params(self) -> int:
        return int(self._info["n_params"])

    @property
    def file_size(self) -> int:
        return int(self._info["file_size"])

    @property
    def metadata(self) -> dict[str, Any]:
        """All keys of the file; read once, when first asked for."""
        with self._lock:
            if self._metadata is None:
                self._metadata = self._opened().metadata(True)
            return self._metadata

    @property
    def isa(self) -> str:
        """The instruction set that sessions use."""
        return self._isa or _core.isa_select()

    def __repr__(self) -> str:
        state = "" if self._core is not None else ", closed"
        return f"<pyedge.Model {self.name!r} ({self.arch}, {self.n_params} parameters{state})>"

    # ---- life ----

    def close(self) -> None:
        """Let go of the file. Sessions that exist keep what they need until they end."""
        self._core = None
        self._adapters.close()

    def __enter__(self) -> Model:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _opened(self) -> _core.Model:
        core = self._core
        if core is None:
            raise Error("the model is closed: open it again with pyedge.Model(path)")
        return core

    def _new_core_session(self, context: int | None = None, lora: Lora = None) -> _core.Session:
        attached = self._adapters.resolve(lora)
        core = _core.Session(
            self._opened(),
            n_ctx=self._context if context is None else context,
            n_threads=self._threads,
            kv_type=self._kv_type,
            isa=self._isa,
            memory_limit=self._memory_limit,
        )
        if attached.adapters:
            attached.to(core)
        return core

    def session(self, lora: Lora = None) -> Session:
        """A new timeline with its own cache, and adapters attached: see `generate` for `lora`."""
        return Session(self, lora)

    # ---- adapters ----

    def load_lora(self, path: str | os.PathLike[str], name: str | None = None) -> str:
        """Load a LoRA adapter for this model and keep it under a name; without one, under that of its folder
        or file. Returns the name.

        A folder of PEFT, its safetensors file, a GGUF adapter, or one of Nano; told by the content. It is
        checked whole: AdapterError says which tensor does not fit, and why. The files are not needed
        afterwards.
        """
        self._opened()
        return self._adapters.load(path, name)

    def unload_lora(self, name: str) -> None:
        """Forget an adapter; AdapterError where it is not loaded, or attached to a session."""
        self._adapters.unload(name)

    @property
    def loras(self) -> dict[str, LoraInfo]:
        """The adapters that are loaded, by name."""
        return self._adapters.infos()

    # ---- text ----

    def tokenize(
        self, text: str | bytes, *, add_special: bool = True, parse_special: bool = False
    ) -> list[int]:
        """Token ids of a text. Text is taken as UTF-8, and any bytes are accepted; lone surrogates in a str
        become the bytes that they stand for where they come from `os.fsdecode`, else their three-byte form.

        add_special     put the tokens around it that the file asks for, such as BOS
        parse_special   recognise special tokens that are written in the text
        """
        return self._opened().tokenize(encode(text), bool(add_special), bool(parse_special))

    def detokenize(self, ids: Iterable[int], *, skip_special: bool = False) -> str:
        """The text of a token list; bytes that are no UTF-8 become U+FFFD."""
        return self._opened().detokenize(listed(ids), bool(skip_special)).decode("utf-8", "replace")

    def token_bytes(self, id: int) -> bytes:
        """The bytes that a token stands for."""
        last = self.vocab_size - 1
        return self._opened().token_bytes(integer("id", id, 0, last, f"a token id, 0 to {last}"))

    def apply_chat_template(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Any] | None = None,
        add_generation_prompt: bool = True,
    ) -> str:
        """The text that the model's own template makes of a conversation."""
        template = self._chat_template()
        if template is None:
            raise UnsupportedError(
                f"{self.name} has no chat template (tokenizer.chat_template): use raw completion, "
                "or a model that was tuned for chat"
            )
        return template.render(messages, tools=tools, add_generation_prompt=add_generation_prompt)

    def _chat_template(self) -> ChatTemplate | None:
        with self._lock:
            if self._template is None and self._info["chat_template"] is not None:
                from .chat import ChatTemplate  # Jinja is loaded when a template is met

                self._template = ChatTemplate(
                    self._info["chat_template"],
                    bos_token=self._token_text(self._info["bos_id"]),
                    eos_token=self._token_text(self._info["eos_id"]),
                    where=str(self.path),
                )
            return self._template

    def _token_text(self, id: int) -> str:
        return self._opened().token_bytes(id).decode("utf-8", "replace") if id >= 0 else ""

    def _prompt_ids(self, prompt: Prompt, raw: bool) -> list[int]:
        """The tokens of whatever a caller may give as a prompt."""
        if isinstance(prompt, (str, bytes)):
            if raw or self._chat_template() is None:
                if not raw:
                    self._warn_no_template()
                return self.tokenize(prompt, add_special=True, parse_special=True)
            content = prompt if isinstance(prompt, str) else prompt.decode("utf-8", "surrogateescape")
            return self._chat_ids([{"role": "user", "content": content}])
        items = listed(prompt)
        if not any(isinstance(item, Mapping) for item in items):
            return items
        if raw:
            raise TypeError("raw=True takes a text or token ids as its prompt, not messages")
        return self._chat_ids(items)

    def _chat_ids(self, messages: Sequence[Mapping[str, Any]], *, warn: bool = True) -> list[int]:
        if self._chat_template() is None:
            from .chat import plain_text

            if warn:
                self._warn_no_template()
            return self.tokenize(plain_text(messages), add_special=True, parse_special=True)
        text = self.apply_chat_template(messages)
        # Templates that write BOS themselves must not get a second one.
        bos = self._token_text(self._info["bos_id"])
        return self.tokenize(text, add_special=not (bos and text.startswith(bos)), parse_special=True)

    def _warn_no_template(self) -> None:
        warnings.warn(
            f"{self.name} has no chat template: the prompt is completed as raw text "
            "(raw=True says that this is meant)",
            UserWarning,
            stacklevel=_stack_outside(),
        )

    # ---- generation ----

    def generate(
        self, prompt: Prompt, *, raw: bool = False, lora: Lora = None, **options: Unpack[SamplingOptions]
    ) -> Completion:
        """Answer a prompt: a text, a list of messages `{"role": ..., "content": ...}`, or token ids.

        A text is put into the model's chat template, as the message of a user; `raw=True` completes it as it
        is.

        lora=None            an adapter: a name that `load_lora` gave or a path, or a dict of these to scales
        max_tokens=256       at most so many tokens
        temperature=0.8      0 is greedy
        top_k=40, top_p=0.95, min_p=0.05, repeat_penalty=1.0
        seed=None            None: fresh entropy; the same seed gives the same tokens
        stop=()              a string or several; the text ends before the first one
        logit_bias=None      dict of token id to what is added to its logit
        logprobs=0           so many best alternatives with each token
        lookup=True          evaluate several tokens at once where the text repeats what the session holds:
                             the same answer, sooner. False: one by one; a number: so many ahead at most
        """
        started = time.perf_counter()
        timings: dict[str, float] = {}
        session, pieces = self._start(prompt, raw, lora, options, timings, started)
        return session._collect(pieces, timings)

    def stream(
        self, prompt: Prompt, *, raw: bool = False, lora: Lora = None, **options: Unpack[SamplingOptions]
    ) -> Iterator[Piece]:
        """Like `generate`, piece by piece."""
        return self._start(prompt, raw, lora, options, {}, time.perf_counter())[1]

    def _start(
        self,
        prompt: Prompt,
        raw: bool,
        lora: Lora,
        options: SamplingOptions,
        timings: dict[str, float],
        started: float,
    ) -> tuple[Session, Iterator[Piece]]:
        checked = check_options(self.vocab_size, **options)
        ids = self._prompt_ids(prompt, raw)
        session = Session(self, lora)
        session._admit(ids, checked.max_tokens)
        return session, session._steps(ids, checked, timings, started, settle=False)

    # ---- evaluation ----

    def logits(self, ids: Iterable[int], *, lora: Lora = None) -> NDArray[np.float32]:
        """Logits [len(ids), vocab_size] after each of the ids."""
        numpy()
        ids = listed(ids)
        if not ids:
            raise ValueError("ids must have at least one token id")
        return self._new_core_session(lora=lora).logits(ids)

    def _first_token(self) -> int | None:
        """What each window of a text begins with, where the model adds BOS."""
        return int(self._info["bos_id"]) if self._info["add_bos"] and self._info["bos_id"] >= 0 else None

    def perplexity(self, text: str | bytes, *, context: int = 512, lora: Lora = None) -> float:
        """exp of the mean negative log-likelihood of a text's tokens, the lower the better.

        The text is cut into windows of `context` tokens; where the model adds BOS, it replaces the first
        token of each window. The second half of each window is scored, so that every scored token has half a
        window before it. A rest that fills no window is left out; a text shorter than one window is one
        window.
        """
        np = numpy()
        context = integer("context", context, 4, 2**31 - 1, "an integer of 4 or more")
        ids = self.tokenize(text)
        size = min(context, len(ids))
        if size < 4:
            raise ValueError(f"perplexity needs a text of at least 4 tokens; this one has {len(ids)}")
        first = size // 2
        total, count = 0.0, 0
        core, bos = self._new_core_session(size, lora), self._first_token()
        for start in range(0, len(ids) - size + 1, size):
            window = ids[start : start + size]
            if bos is not None:
                window[0] = bos
            core.rewind(0)
            total -= float(core.score(window, first).sum(dtype=np.float64))
            count += size - 1 - first
        return float(np.exp(total / count))

    def embed(
        self, text: str | bytes | Iterable[int], *, normalize: bool = False, lora: Lora = None
    ) -> NDArray[np.float32]:
        """One vector [n_embd] for a text or for ids: the last hidden states, pooled as the file says (their
        mean, the first, or the last), else their mean. A file that asks for no pooling gives them all,
        [n_ids, n_embd].

        normalize   make vectors one long, so that their products are cosines; else they are as they come
        """
        numpy_ = numpy()
        ids = self.tokenize(text) if isinstance(text, str | bytes) else listed(text)
        if not ids:
            raise ValueError("embed needs a text of at least one token")
        key = f"{self.arch}.pooling_type"
        pooling = self._opened().metadata(False).get(key, 1)
        if pooling not in (0, 1, 2, 3):
            raise UnsupportedError(
                f"{self.path}: {key} is {pooling}; 0 (none), 1 (mean), 2 (first) and 3 (last) are supported"
            )
        rows = self._new_core_session(lora=lora).hidden(ids).astype(numpy_.float64)
        pooled = rows if pooling == 0 else rows.mean(axis=0) if pooling == 1 else rows[(pooling == 3) * -1]
        if normalize:
            length = numpy_.linalg.norm(pooled, axis=-1, keepdims=True)
            pooled = pooled / numpy_.where(length > 0, length, 1)
        vector: NDArray[np.float32] = pooled.astype(numpy_.float32)
        return vector


def _stack_outside() -> int:
    """The stack level of the first caller outside of this package, for a warning that points at the user's
    line."""
    import sys

    package = str(Path(__file__).parent)
    level = 1
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(package):
        frame = frame.f_back
        level += 1
    return level


# ---- the one-line doors ----

_last: dict[str, Model] = {}
_last_lock = threading.Lock()


def _shared(model: str | os.PathLike[str] | Model | None) -> Model:
    """The model for `generate` and `stream`: the last one stays open, so that a second call is quick."""
    if isinstance(model, Model):
        return model
    from . import hub

    source = hub.default_name() if model is None else model
    with _last_lock:
        path = hub.resolve(source)
        stat = path.stat()
        key = f"{path.resolve()}:{stat.st_ino}:{stat.st_size}:{stat.st_mtime_ns}"
        if key not in _last:
            opened = Model(path)
            _last.clear()
            _last[key] = opened
        return _last[key]


def generate(
    prompt: Prompt,
    *,
    model: str | os.PathLike[str] | Model | None = None,
    max_tokens: int = 256,
    temperature: float = 0.8,
    top_k: int = 40,
    top_p: float = 0.95,
    min_p: float = 0.05,
    repeat_penalty: float = 1.0,
    seed: int | None = None,
    stop: str | Sequence[str] = (),
    raw: bool = False,
    lora: Lora = None,
    lookup: bool | int = True,
) -> str:
    """The model's answer to a prompt. The default model is fetched once; see `Model.generate` for the
    options."""
    return "".join(
        stream(
            prompt,
            model=model,
            max_tokens=max_tokens,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            min_p=min_p,
            repeat_penalty=repeat_penalty,
            seed=seed,
            stop=stop,
            raw=raw,
            lora=lora,
            lookup=lookup,
        )
    )


def stream(
    prompt: Prompt,
    *,
    model: str | os.PathLike[str] | Model | None = None,
    max_tokens: int = 256,
    temperature: float = 0.8,
    top_k: int = 40,
    top_p: float = 0.95,
    min_p: float = 0.05,
    repeat_penalty: float = 1.0,
    seed: int | None = None,
    stop: str | Sequence[str] = (),
    raw: bool = False,
    lora: Lora = None,
    lookup: bool | int = True,
) -> Iterator[str]:
    """Like `generate`, in pieces of whole characters as they come."""
    options: SamplingOptions = {
        "max_tokens": max_tokens,
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "min_p": min_p,
        "repeat_penalty": repeat_penalty,
        "seed": seed,
        "stop": stop,
        "lookup": lookup,
    }
    check_options(2**31 - 1, **options)  # before a model is fetched
    pieces = _shared(model).stream(prompt, raw=raw, lora=lora, **options)
    return (piece.text for piece in pieces if piece.text)
