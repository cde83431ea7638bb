"""What must not matter: the number of threads, how a text is cut into calls, forks and rewinds, other
sessions, calls that fail or are cancelled. All through the public header, bit for bit.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import ggufmake as gm
import kernel_table as kt
import numpy as np
import pytest
from kernel_table import ISAS, TYPES, Floats

CHUNK = 256  # tokens that the core evaluates together at most


class Session:
    def __init__(self, model: Model, handle: Any) -> None:
        self.model, self.lib, self.ffi = model, model.core.lib, model.core.ffi
        self.handle = self.ffi.gc(handle, self.lib.pe_session_release)

    def try_eval(self, ids: Sequence[int]) -> int:
        """The status of an evaluation whose logits nobody wants."""
        return int(self.lib.pe_session_eval(self.handle, list(ids), len(ids), len(ids), self.ffi.NULL))

    def eval(self, ids: Sequence[int], first: int = 0) -> Floats:
        """Logits [len(ids) - first, n_vocab]."""
        out = np.empty((len(ids) - first, self.model.n_vocab), np.float32)
        room = self.ffi.cast("float *", out.ctypes.data)
        self.ok(self.lib.pe_session_eval(self.handle, list(ids), len(ids), first, room))
        return out

    def ok(self, status: int) -> None:
        assert status == self.lib.PE_OK, self.model.core.error()

    def rewind(self, position: int) -> None:
        self.ok(self.lib.pe_session_rewind(self.handle, position))

    def fork(self) -> Session:
        out = self.ffi.new("pe_session **")
        self.ok(self.lib.pe_session_fork(self.handle, out))
        return Session(self.model, out[0])

    @property
    def tokens(self) -> list[int]:
        count = self.lib.pe_session_position(self.handle)
        return list(self.lib.pe_session_tokens(self.handle)[0:count]) if count else []

    def top(self) -> list[tuple[int, float]]:
        ids, logprobs = self.ffi.new("int32_t[3]"), self.ffi.new("float[3]")
        self.ok(self.lib.pe_session_top(self.handle, 3, ids, logprobs))
        return list(zip(ids, logprobs, strict=True))


class Model:
    """A model in memory."""

    def __init__(self, core: Any, data: bytes) -> None:
        self.core = core
        self._room = np.zeros(len(data) + 64, np.uint8)
        start = -self._room.ctypes.data % 64
        self._room[start : start + len(data)] = np.frombuffer(data, np.uint8)
        out = core.ffi.new("pe_model **")
        status = core.lib.pe_model_open_memory(core.ffi.from_buffer(self._room) + start, len(data), out)
        assert status == core.lib.PE_OK, core.error()
        self.handle = core.ffi.gc(out[0], core.lib.pe_model_release)
        info = core.ffi.new("pe_model_info *")
        core.lib.pe_model_get_info(self.handle, info)
        self.n_vocab: int = info.n_vocab

    def ids(self, count: int, seed: int = 0) -> list[int]:
        return [int(i) for i in np.random.default_rng(seed).integers(0, self.n_vocab, count)]

    def try_session(self, **options: Any) -> tuple[int, Any]:
        kept = {
            key: self.core.ffi.new("char[]", value.encode()) if isinstance(value, str) else value
            for key, value in options.items()
        }
        out = self.core.ffi.new("pe_session **")
        chosen = self.core.ffi.new("pe_session_options *", kept)
        return int(self.core.lib.pe_session_create(self.handle, chosen, out)), out[0]

    def session(self, **options: Any) -> Session:
        status, handle = self.try_session(**{"n_ctx": 512, "n_threads": 1, **options})
        assert status == self.core.lib.PE_OK, self.core.error()
        return Session(self, handle)


def mixed_types(core: Any) -> bytes:
    """A llama with every tensor type among its weights."""
    kt.declare(core)
    sizes: dict[str, int] = {"n_embd": 256, "n_ff": 512, "n_layer": 3}
    plain = gm.tiny_llama_file(**sizes)
    rows = [row for row in TYPES.values() if row.name != "F32"]
    changed: dict[str, gm.Tensor | None] = {}
    for seed, (name, tensor) in enumerate(plain.tensors):
        if len(tensor.dims) == 1:
            continue
        (n, n_rows), row = tensor.dims, rows[seed % len(rows)]
        raw = kt.random_weights(core, row, n_rows, n, seed)
        out = np.empty(n_rows * n, np.float32)
        core.lib.pe_dequantize(
            row.number,
            core.ffi.from_buffer(raw),
            raw.size,
            core.ffi.cast("float *", out.ctypes.data),
            out.size,
        )
        if row.is_int:  # the same again, of a size that leaves activations as they were
            raw = kt.random_weights(core, row, n_rows, n, seed, spread=0.02 / float(out.std()) / n**0.5)
        else:
            continue
        changed[str(name)] = gm.Tensor(tensor.dims, raw.tobytes(), row.number)
    return gm.tiny_llama(tensors=changed, **sizes)


@pytest.fixture(scope="module", params=["plain", "mixed types", "llama", "gemma3", "Q4_K_M"])
def model(request: pytest.FixtureRequest, core: Any) -> Model:
    if request.param == "plain":
        return Model(core, gm.tiny_llama())
    if request.param == "mixed types":
        return Model(core, mixed_types(core))
    refs = request.getfixturevalue("refs")
    if request.param == "Q4_K_M":
        return Model(core, (refs / "quant" / "llama" / "llama.Q4_K_M.gguf").read_bytes())
    return Model(core, (refs / "models" / f"{request.param}.f16.gguf").read_bytes())


@pytest.fixture(scope="module")
def small(core: Any) -> Model:
    """For what depends on no kernel."""
    return Model(core, gm.tiny_llama())


@pytest.fixture(scope="module", params=ISAS)
def isa(request: pytest.FixtureRequest, core: Any) -> str:
    for name, usable, reason in kt.isa_names(core):
        if name == request.param and usable:
            return name
        if name == request.param:
            pytest.skip(f"{name} cannot run on this machine: it {reason}")
    pytest.skip(f"{request.param} is not in this build")


def assert_same(got: Floats, expected: Floats, what: str = "") -> None:
    assert np.isfinite(expected).all()
    np.testing.assert_array_equal(got.view(np.uint32), expected.view(np.uint32), err_msg=what)


def in_threads(*functions: Callable[[], None]) -> None:
    """Run them at once; the first exception is raised here."""
    errors: list[BaseException] = []

    def guarded(function: Callable[[], None]) -> None:
        try:
            function()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(function,)) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


# ---- threads and splits ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kv_type", ["f16", "f32"])
def test_threads_do_not_change_the_logits(model: Model, isa: str, kv_type: str) -> None:
    ids = model.ids(75)
    expected = model.session(isa=isa, kv_type=kv_type).eval(ids)
    following = model.ids(22, seed=1)
    for n_threads in (2, 3):
        session = model.session(isa=isa, kv_type=kv_type, n_threads=n_threads)
        assert model.core.lib.pe_session_threads(session.handle) == n_threads
        assert_same(session.eval(ids), expected, f"{n_threads} threads")
        session.rewind(40)
        single = model.session(isa=isa, kv_type=kv_type)
        single.eval(ids[:40])
        start = 0
        for size in (1, 1, 1, 2, 5, 12):  # one token and a few share out work in other ways
            part = following[start : start + size]
            assert_same(session.eval(part), single.eval(part), f"{n_threads} threads, {size} tokens")
            start += size


@pytest.mark.parametrize("kv_type", ["f16", "f32"])
def test_splits_do_not_change_the_logits(model: Model, isa: str, kv_type: str) -> None:
    ids = model.ids(80)
    expected = model.session(isa=isa, kv_type=kv_type).eval(ids)
    for sizes in ([1] * 80, [7, 73], [63, 1, 16], [64, 16], [2, 3, 5, 15, 16, 17, 22]):
        session = model.session(isa=isa, kv_type=kv_type, n_threads=2)
        start = 0
        for size in sizes:
            part = session.eval(ids[start : start + size])
            assert_same(part, expected[start : start + size], f"{sizes} at {start}")
            start += size
        assert session.tokens == ids


def check_chunks(model: Model, **options: Any) -> None:
    """One call goes through the core in chunks; where they end must not show."""
    ids = model.ids(CHUNK + 40)
    expected = model.session(n_threads=2, **options).eval(ids)
    for size in (1, 39, 100, CHUNK - 1, CHUNK):
        session = model.session(n_threads=2, **options)
        assert_same(session.eval(ids[:size]), expected[:size], f"{size} first")
        assert_same(session.eval(ids[size:]), expected[size:], f"after {size}")
    for first in (CHUNK - 1, CHUNK, CHUNK + 1, len(ids) - 1):
        assert_same(model.session(**options).eval(ids, first), expected[first:], f"logits from {first} on")


def test_chunks_do_not_change_the_logits(model: Model) -> None:
    check_chunks(model)


def test_chunks_do_not_change_the_logits_of_any_kernels(small: Model, isa: str) -> None:
    check_chunks(small, isa=isa)


def test_instruction_sets_agree(model: Model, core: Any) -> None:
    """Not in bits: they add up in other orders. But far closer than the weights are exact."""
    ids = model.ids(70)
    results = {
        name: model.session(isa=name, kv_type="f32").eval(ids)
        for name, usable, _ in kt.isa_names(core)
        if usable
    }
    for name, logits in results.items():
        scale = results["scalar"].std()
        assert np.abs(logits - results["scalar"]).max() < 2e-3 * scale, name


# ---- one timeline and its relatives ------------------------------------------------------------------------


@pytest.mark.parametrize("position", [0, 1, 37, 63, 64, 65, 128, 149])
def test_rewound_and_forked_sessions_go_on_as_fresh_ones(model: Model, position: int) -> None:
    ids, other = model.ids(150), model.ids(70, seed=1)
    session = model.session()
    session.eval(ids, len(ids) - 1)
    last = session.top()
    fork = session.fork()
    assert fork.tokens == ids and fork.top() == last
    session.rewind(position)
    assert session.tokens == ids[:position]
    fresh, longer = model.session(), model.session()
    if position:
        fresh.eval(ids[:position])
    longer.eval(ids)
    rewound = session.eval(other)
    assert_same(rewound, fresh.eval(other), "rewound")
    second = fork.fork()
    del session  # the pages that it shared stay
    assert_same(fork.eval(other), longer.eval(other), "forked")
    second.rewind(position)
    assert_same(second.eval(other), rewound, "a fork's fork, rewound")
    assert fork.tokens == ids + other


def test_forks_run_at_once(model: Model) -> None:
    """The parent and two forks write to what was one shared page."""
    ids, ends = model.ids(100), [model.ids(40, seed=i) for i in (1, 2, 3)]
    expected = [model.session().eval(ids + end, len(ids)) for end in ends]
    for _ in range(3):
        parent = model.session()
        parent.eval(ids)
        family = [parent, parent.fork(), parent.fork()]

        def go_on(index: int, family: list[Session] = family) -> None:
            for start in range(0, 40, 8):
                part = family[index].eval(ends[index][start : start + 8])
                assert_same(part, expected[index][start : start + 8])

        in_threads(*(lambda i=i: go_on(i) for i in range(3)))


def test_two_sessions_of_one_model_at_once(model: Model) -> None:
    texts = [model.ids(90, seed=i) for i in (1, 2)]
    expected = [model.session().eval(text) for text in texts]

    def run(index: int) -> None:
        for n_threads in (1, 2, 1):
            session = model.session(n_threads=n_threads)
            start = 0
            for size in (30, 1, 1, 1, 57):
                part = session.eval(texts[index][start : start + size])
                assert_same(part, expected[index][start : start + size])
                start += size

    in_threads(lambda: run(0), lambda: run(1))


def test_a_session_in_use_is_busy(small: Model) -> None:
    lib, session = small.core.lib, small.session()
    ids = small.ids(400)
    calls = ["eval", "rewind", "fork", "sample", "top", "score", "hidden", "read_weights"]
    statuses: set[int] = set()
    done = threading.Event()

    def evaluate() -> None:
        while not done.is_set():
            statuses.add(session.try_eval(ids))
            statuses.add(lib.pe_session_rewind(session.handle, 0))

    thread = threading.Thread(target=evaluate)
    thread.start()
    try:
        ffi, out = small.core.ffi, small.core.ffi.new("pe_session **")
        room, few = ffi.new("float[]", 4096), ffi.new("int32_t[8]")
        options, sampler = (
            ffi.new("pe_sampler_options *", lib.pe_sampler_defaults()),
            ffi.new("pe_sampler **"),
        )
        session.ok(lib.pe_sampler_create(options, sampler))
        attempts: dict[str, Callable[[], int]] = {
            "eval": lambda: session.try_eval([1]),
            "rewind": lambda: lib.pe_session_rewind(session.handle, 0),
            "fork": lambda: lib.pe_session_fork(session.handle, out),
            "sample": lambda: lib.pe_session_sample(session.handle, sampler[0], few, room),
            "top": lambda: lib.pe_session_top(session.handle, 3, few, room),
            "score": lambda: lib.pe_session_score(session.handle, [1, 2], 2, 0, room),
            "hidden": lambda: lib.pe_session_hidden(session.handle, [1], 1, room),
            "read_weights": lambda: lib.pe_session_read_weights(session.handle, ffi.NULL),
        }
        assert set(attempts) == set(calls)
        for name in calls:
            for _ in range(100_000):
                status = attempts[name]()
                if status == lib.PE_ERR_BUSY:
                    break
                if name == "fork" and status == lib.PE_OK:
                    lib.pe_session_release(out[0])
            assert status == lib.PE_ERR_BUSY, name
            assert "another thread" in small.core.error()
        lib.pe_sampler_release(sampler[0])
    finally:
        done.set()
        thread.join()
    assert statuses <= {lib.PE_OK, lib.PE_ERR_BUSY, lib.PE_ERR_CONTEXT, lib.PE_ERR_ARG}
    session.rewind(0)
    assert_same(session.eval(ids[:50]), small.session().eval(ids[:50]))


# ---- cancellation ------------------------------------------------------------------------------------------


def test_cancelled_before_it_starts(small: Model) -> None:
    lib, session = small.core.lib, small.session()
    ids = small.ids(20)
    session.eval(ids[:10])
    last = session.top()
    lib.pe_session_cancel(session.handle)
    assert session.try_eval(ids[10:]) == lib.PE_ERR_CANCELLED
    assert "cancel" in small.core.error()
    assert session.tokens == ids[:10] and session.top() == last
    assert_same(session.eval(ids[10:]), small.session().eval(ids, 10))  # once is enough: the next one runs


@pytest.mark.parametrize("n_threads", [1, 3])
def test_cancelled_from_another_thread_while_it_runs(model: Model, n_threads: int) -> None:
    lib, session = model.core.lib, model.session(n_ctx=4096, n_threads=n_threads)
    start, long, following = model.ids(70), model.ids(4000, seed=1), model.ids(30, seed=2)
    session.eval(start)
    last = session.top()
    expected = model.session().eval(start + following, len(start))
    cancelled = 0
    for _ in range(20):
        statuses: list[int] = []

        def evaluate(statuses: list[int] = statuses) -> None:
            while (status := session.try_eval(long)) == lib.PE_ERR_BUSY:
                pass  # the other thread was asking whether we run
            statuses.append(status)

        thread = threading.Thread(target=evaluate)
        thread.start()
        while not statuses and lib.pe_session_rewind(session.handle, len(start)) != lib.PE_ERR_BUSY:
            pass
        lib.pe_session_cancel(session.handle)
        thread.join()
        if statuses == [lib.PE_OK]:  # it was faster; then the next one is cancelled
            session.rewind(len(start))
            assert session.try_eval([1]) == lib.PE_ERR_CANCELLED
            last = None
        else:
            assert statuses == [lib.PE_ERR_CANCELLED]
            cancelled += 1
        assert session.tokens == start
        if last:
            assert session.top() == last
        if cancelled == 3:
            break
    assert cancelled, "20 evaluations of 4000 tokens ended before they could be cancelled"
    assert_same(session.eval(following), expected)


# ---- refusals ----------------------------------------------------------------------------------------------


def test_what_does_not_fit_is_refused_whole(small: Model) -> None:
    lib, session = small.core.lib, small.session(n_ctx=100)
    ids = small.ids(101)
    assert session.try_eval(ids) == lib.PE_ERR_CONTEXT
    assert "101" in small.core.error() and "100" in small.core.error()
    session.eval(ids[:60])
    last = session.top()
    assert session.try_eval(ids[60:]) == lib.PE_ERR_CONTEXT
    assert session.tokens == ids[:60] and session.top() == last
    session.eval(ids[60:100])
    assert session.try_eval([1]) == lib.PE_ERR_CONTEXT
    assert lib.pe_session_position(session.handle) == lib.pe_session_capacity(session.handle) == 100
    session.rewind(99)
    assert_same(session.eval(ids[99:100]), small.session().eval(ids[:100], 99))


def test_wrong_tokens_are_refused_and_leave_no_trace(small: Model) -> None:
    lib, session = small.core.lib, small.session()
    ids = small.ids(300)
    session.eval(ids[:10])
    last = session.top()
    for bad in (-1, small.n_vocab, 2**31 - 1, -(2**31)):
        for at in (0, 5, 289):
            wrong = [*ids[10:]]
            wrong[at] = bad
            assert session.try_eval(wrong) == lib.PE_ERR_ARG
            assert f"{bad} at index {at}" in small.core.error()
            assert str(small.n_vocab) in small.core.error()
    assert session.try_eval([]) == lib.PE_ERR_ARG
    assert (
        lib.pe_session_eval(session.handle, small.core.ffi.NULL, 3, 3, small.core.ffi.NULL) == lib.PE_ERR_ARG
    )
    assert lib.pe_session_rewind(session.handle, 11) == lib.PE_ERR_ARG
    assert session.tokens == ids[:10] and session.top() == last
    assert_same(session.eval(ids[10:]), small.session().eval(ids, 10))


def test_thread_counts(small: Model) -> None:
    lib = small.core.lib
    default = small.session(n_threads=0)
    assert lib.pe_session_threads(default.handle) == lib.pe_threads_default()
    for count in (-1, -(2**31), 10_000, 2**31 - 1):
        status, handle = small.try_session(n_threads=count)
        assert status == lib.PE_ERR_ARG and handle == small.core.ffi.NULL
        assert str(count) in small.core.error()
    many = small.session(n_threads=16)
    ids = small.ids(40)
    assert_same(many.eval(ids), small.session().eval(ids))


@pytest.mark.parametrize("text", ["0", "-1", "513", "10000", "two", "2 threads", "99999999999999999999"])
def test_environment_with_a_wrong_number_of_threads(
    small: Model, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lib, ffi = small.core.lib, small.core.ffi
    monkeypatch.setenv("PYEDGE_THREADS", text)
    status, handle = small.try_session(n_threads=0)
    assert status == lib.PE_ERR_ARG and handle == ffi.NULL
    assert f"PYEDGE_THREADS is '{text}'" in small.core.error() and "1 to 512" in small.core.error()
    forced = ffi.new("int *")
    assert lib.pe_threads_explain(ffi.NULL, ffi.NULL, forced) == lib.pe_threads_default() >= 1
    assert forced[0] == -1
    assert lib.pe_session_threads(small.session(n_threads=2).handle) == 2
    monkeypatch.setenv("PYEDGE_THREADS", "3")
    assert lib.pe_session_threads(small.session(n_threads=0).handle) == 3


def test_unknown_names(small: Model, core: Any) -> None:
    for options, status, words in (
        ({"kv_type": "q8_0"}, core.lib.PE_ERR_ARG, ("q8_0", "f16", "f32")),
        ({"kv_type": ""}, core.lib.PE_ERR_ARG, ("f16", "f32")),
        ({"isa": "sse9"}, core.lib.PE_ERR_UNSUPPORTED, ("sse9", "scalar")),
        ({"isa": ""}, core.lib.PE_ERR_UNSUPPORTED, ("scalar",)),
        ({"isa": "x" * 5000}, core.lib.PE_ERR_UNSUPPORTED, ("xxx", "scalar")),
    ):
        got, handle = small.try_session(**options)
        assert got == status and handle == core.ffi.NULL, options
        assert all(word in core.error() for word in words), core.error()


# ---- PYEDGE_ISA --------------------------------------------------------------------------------------------

ASK = """
import ctypes, sys
lib = ctypes.CDLL(sys.argv[1])
lib.pe_last_error.restype = ctypes.c_char_p
name = ctypes.c_char_p()
status = lib.pe_isa_select(ctypes.byref(name))
print(status, (lib.pe_last_error() if status else name.value).decode())
"""


def isa_chosen(core: Any, wish: str | None) -> tuple[int, str]:
    environment = {key: value for key, value in os.environ.items() if key != "PYEDGE_ISA"}
    if wish is not None:
        environment["PYEDGE_ISA"] = wish
    done = subprocess.run(
        [sys.executable, "-c", ASK, str(core.path)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    status, text = done.stdout.strip().split(" ", 1)
    return int(status), text


def names(core: Any, usable: bool) -> Iterator[str]:
    return (name for name, runs, _ in kt.isa_names(core) if runs == usable)


def test_environment_forces_an_instruction_set(core: Any) -> None:
    best = list(names(core, usable=True))[-1]
    assert isa_chosen(core, None) == (core.lib.PE_OK, best)
    assert isa_chosen(core, "") == (core.lib.PE_OK, best)
    for name in names(core, usable=True):
        assert isa_chosen(core, name) == (core.lib.PE_OK, name)


def test_environment_with_an_unknown_instruction_set(core: Any) -> None:
    status, message = isa_chosen(core, "sse9")
    assert status == core.lib.PE_ERR_UNSUPPORTED
    assert "PYEDGE_ISA" in message and "sse9" in message
    assert all(name in message for name, _, _ in kt.isa_names(core))


def test_environment_with_an_instruction_set_that_this_machine_lacks(core: Any) -> None:
    lacking = list(names(core, usable=False))
    if not lacking:
        pytest.skip("this machine runs every instruction set of this build")
    for name in lacking:
        status, message = isa_chosen(core, name)
        assert status == core.lib.PE_ERR_UNSUPPORTED
        assert "PYEDGE_ISA" in message and name in message and "lacks" in message
