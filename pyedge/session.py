"""One timeline of tokens: a key/value cache and a position, with the sampling loop on top of it.

A session serves one caller at a time. The lock below is taken without waiting, for a whole generation too, so
that a second caller gets a clear error and never a mixture of two answers; `cancel` alone needs no lock.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from . import _core
from .arrays import numpy
from .completion import Completion, FinishReason, Options, Piece, SamplingOptions, check_options
from .errors import CancelledError, ContextOverflowError, Error
from .streaming import TextStream, encode

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from typing_extensions import Unpack

    from .lora import Adapters, Lora
    from .model import Model


class Session:
    """Made by `Model.session()`. It keeps what it needs of the model, which may be closed meanwhile."""

    def __init__(self, model: Model, lora: Lora = None) -> None:
        self._setup(model._opened(), model._new_core_session(), model._adapters, model.load_seconds)
        if lora is not None:
            self.set_lora(lora)

    def _setup(
        self, model: _core.Model, core: _core.Session, adapters: Adapters, load_seconds: float
    ) -> None:
        self._model = model
        self._core = core
        self._adapters = adapters
        self._lora: dict[str, float] = {}
        self._load_seconds = load_seconds
        self._busy = threading.Lock()

    @contextmanager
    def _exclusive(self) -> Iterator[_core.Session]:
        if not self._busy.acquire(blocking=False):
            raise Error(
                "the session is in use by another call (an evaluation or a generation that has not ended): "
                "use one session for each thread"
            )
        try:
            yield self._core
        finally:
            self._busy.release()

    # ---- the timeline ----

    @property
    def position(self) -> int:
        """Tokens evaluated so far."""
        return self._core.position

    @property
    def capacity(self) -> int:
        """Tokens that fit."""
        return self._core.capacity

    @property
    def tokens(self) -> list[int]:
        """The tokens evaluated so far."""
        return self._core.tokens

    @property
    def isa(self) -> str:
        """The instruction set that this session computes with."""
        return self._core.isa

    @property
    def threads(self) -> int:
        return self._core.threads

    @property
    def memory(self) -> int:
        """Bytes allocated now for cache and scratch; the weights are pages of the file and are not
        counted."""
        return self._core.bytes

    def eval(self, ids: Iterable[int]) -> NDArray[np.float32]:
        """Evaluate token ids after what is there; the logits [vocab_size] of the last one."""
        numpy()
        ids = listed(ids)
        with self._exclusive() as core:
            return core.eval(ids)

    def rewind(self, n: int | None = None, *, to: int | None = None) -> None:
        """Forget the last `n` tokens, or all past the first `to`."""
        if (n is None) == (to is None):
            raise TypeError("rewind takes either n (tokens to forget) or to=position")
        with self._exclusive() as core:
            position = core.position
            target = to if to is not None else position - int(n or 0)
            if not 0 <= target <= position:
                raise ValueError(
                    f"cannot rewind to position {target}: the session has {position} tokens, "
                    f"so to is 0 to {position} and n is 0 to {position}"
                )
            core.rewind(target)

    def fork(self) -> Session:
        """A second, independent timeline from here on."""
        other = Session.__new__(Session)
        with self._exclusive() as core:
            other._setup(self._model, core.fork(), self._adapters, self._load_seconds)
            other._lora = dict(self._lora)
        return other

    # ---- adapters ----

    @property
    def lora(self) -> dict[str, float]:
        """The adapters that are attached, by name, with their scales."""
        return dict(self._lora)

    def set_lora(self, lora: Lora) -> None:
        """Attach exactly these adapters from the next token on: a name that `Model.load_lora` gave, a path,
        or a dict of these to scales of any sign; None: none.

        The tokens that are there count as said under the new set: the next call that needs them evaluates
        them anew (timings tell how many, `reevaluated_tokens`, and how long that took), so that everything
        after is bit for bit that of a session that had these adapters from the start. Going back to the set
        before, without having evaluated anything, costs nothing. AdapterError leaves the session as it was.
        """
        attached = self._adapters.resolve(lora)
        with self._exclusive() as core:
            attached.to(core)
            self._lora = attached.scales

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the timeline to a file."""
        with self._exclusive() as core:
            core.save(path)

    def load(self, path: str | os.PathLike[str]) -> None:
        """Take over a timeline that `save` wrote with the same model."""
        with self._exclusive() as core:
            core.load(path)

    def cancel(self) -> None:
        """From any thread: the running evaluation, or else the next one, ends with `CancelledError`; a
        generation ends with what it has, and the finish reason "cancelled"."""
        self._core.cancel()

    # ---- generation ----

    def generate(
        self, prompt: str | bytes | Iterable[int] = (), **options: Unpack[SamplingOptions]
    ) -> Completion:
        """Evaluate `prompt` (text as it is, or token ids) after what is there, and complete it.

        The options are those of `Model.generate`, without `raw`. Afterwards the session holds the prompt and
        the generated tokens, without the end token; an empty prompt goes on from there.
        """
        timings: dict[str, float] = {}
        return self._collect(self._start(prompt, options, timings), timings)

    def stream(
        self, prompt: str | bytes | Iterable[int] = (), **options: Unpack[SamplingOptions]
    ) -> Iterator[Piece]:
        """Like `generate`, piece by piece."""
        return self._start(prompt, options, {})

    def _start(
        self, prompt: str | bytes | Iterable[int], options: SamplingOptions, timings: dict[str, float]
    ) -> Iterator[Piece]:
        started = time.perf_counter()
        info = self._model.info()
        checked = check_options(info["n_vocab"], **options)
        if isinstance(prompt, (str, bytes)):
            ids = self._model.tokenize(encode(prompt), self._core.position == 0, False)
        else:
            ids = listed(prompt)
        return self._steps(ids, checked, timings, started, settle=True)

    def _steps(
        self, ids: list[int], options: Options, timings: dict[str, float], started: float, *, settle: bool
    ) -> Iterator[Piece]:
        """The sampling loop. With `settle`, the last token of an unfinished answer is evaluated as well, so
        that the session can go on; a session that is thrown away need not."""
        with self._exclusive() as core:
            self._admit(ids, options.max_tokens)
            timings.update(
                prompt_tokens=len(ids),
                prompt_seconds=0.0,
                decode_tokens=0,
                decode_seconds=0.0,
                ttft_seconds=0.0,
                load_seconds=self._load_seconds,
                reevaluated_tokens=0,
                reevaluate_seconds=0.0,
                drafted_tokens=0,
                accepted_tokens=0,
            )
            reevaluated = core.reevaluated
            drafted, accepted = core.lookups
            sampler = _core.Sampler(
                temperature=options.temperature,
                top_k=options.top_k,
                top_p=options.top_p,
                min_p=options.min_p,
                repeat_penalty=options.repeat_penalty,
                seed=options.seed,
                logit_bias=list(options.logit_bias),
            )
            if options.repeat_penalty != 1:
                sampler.accept(core.tokens + ids)
            text = TextStream(options.stop)
            try:
                if ids:
                    before = time.perf_counter()
                    core.advance(ids)
                    anew = core.reevaluated[1] - reevaluated[1]
                    timings["prompt_seconds"] = time.perf_counter() - before - anew
                if options.max_tokens == 0:
                    yield Piece("", None, None, (), "length")
                    return
                pending: int | None = None
                for step in range(1, options.max_tokens + 1):
                    before = time.perf_counter()
                    if pending is not None:
                        core.step(pending, min(options.lookup, options.max_tokens - step))
                    id, logprob = core.sample(sampler)
                    if pending is None:
                        timings["ttft_seconds"] = time.perf_counter() - started
                    else:
                        timings["decode_tokens"] += 1
                        timings["decode_seconds"] += time.perf_counter() - before
                    top = tuple(zip(*core.top(options.logprobs), strict=True)) if options.logprobs else ()
                    attributes = self._model.token_attributes(id)
                    if attributes & _core.TOKEN_END:
                        yield Piece(text.finish(), id, logprob, top, "stop")
                        return
                    sampler.accept((id,))
                    shown = text.push(
                        b"" if attributes & _core.TOKEN_CONTROL else self._model.token_bytes(id)
                    )
                    full = core.position >= core.capacity
                    if not (text.stopped or full or step == options.max_tokens):
                        yield Piece(shown, id, logprob, top)
                        pending = id
                        continue
                    if not text.stopped:
                        shown += text.finish()
                    reason: FinishReason = "stop" if text.stopped else "length"
                    if settle and not full:
                        try:
                            core.advance((id,))
                        except CancelledError:
                            reason = "cancelled"
                    yield Piece(shown, id, logprob, top, reason)
                    return
            except CancelledError:
                yield Piece(text.finish(), None, None, (), "cancelled")
            finally:
                tokens, seconds = core.reevaluated
                timings["reevaluated_tokens"] = tokens - reevaluated[0]
                timings["reevaluate_seconds"] = seconds - reevaluated[1]
                timings["drafted_tokens"] = core.lookups[0] - drafted
                timings["accepted_tokens"] = core.lookups[1] - accepted

    def _collect(self, pieces: Iterator[Piece], timings: dict[str, float]) -> Completion:
        """Run a stream to its end."""
        steps = list(pieces)
        # The end token is no part of the text, unlike the token that completed a stop string.
        kept = [
            (step.token, step.logprob, step.top_logprobs)
            for step in steps
            if step.token is not None
            and step.logprob is not None
            and not self._model.token_attributes(step.token) & _core.TOKEN_END
        ]
        return Completion(
            text="".join(step.text for step in steps),
            tokens=[token for token, _, _ in kept],
            finish_reason=steps[-1].finish_reason or "stop",
            logprobs=[logprob for _, logprob, _ in kept],
            timings=timings,
            top_logprobs=[top for _, _, top in kept if top],
        )

    def _admit(self, ids: list[int], max_tokens: int) -> None:
        position, capacity = self._core.position, self._core.capacity
        if not ids and position == 0:
            raise ValueError("the prompt is empty: give at least one token to continue from")
        if position + len(ids) > capacity:
            before = f" after {position} that are there" if position else ""
            raise ContextOverflowError(
                f"the prompt has {len(ids)} tokens{before}, and {max_tokens} more were asked for: "
                f"{position + len(ids) + max_tokens} needed, but the context holds {capacity}",
                needed=position + len(ids) + max_tokens,
                capacity=capacity,
            )


def listed(ids: Iterable[Any]) -> list[Any]:
    """Token ids, or whatever else a prompt lists, as a list."""
    if isinstance(ids, (str, bytes)):
        raise TypeError("token ids must be a sequence of integers, not text: use tokenize() first")
    ndarray = getattr(sys.modules.get("numpy"), "ndarray", ())  # no NumPy loaded: no array
    return ids.tolist() if isinstance(ids, ndarray) else list(ids)
