"""Looking ahead (prompt lookup) changes nothing but the time: what is right is going token by token."""

from __future__ import annotations

import json
import pathlib
import random
import subprocess
import sys
from typing import Any

import ggufmake as gm
import numpy as np
import pytest

import pyedge
from pyedge import _core
from pyedge.completion import check_options

AHEAD, SHORTEST, LONGEST = 11, 2, 8  # csrc/run/lookup.h
CYCLE = list(range(40, 57))  # the tokens that follow each other in the model `steady`
END = 2  # the end token of the vocabulary
PROMPT = CYCLE * 2


def steady() -> bytes:
    """A model whose next token hangs on the last one alone, and nearly always goes round CYCLE."""
    n_vocab, n_embd = gm.N_VOCAB["bpe"], 64
    embeddings = np.random.default_rng(1).standard_normal((n_vocab, n_embd)).astype("<f4")
    output = np.random.default_rng(2).standard_normal((n_vocab, n_embd)).astype("<f4") / 8
    for token, following in zip(CYCLE, CYCLE[1:] + CYCLE[:1], strict=True):
        output[following] += embeddings[token] / 8
    silent = {"attn_output": (n_embd, n_embd), "ffn_down": (96, n_embd)}
    return gm.tiny_llama(
        tensors={
            "token_embd.weight": gm.Tensor((n_embd, n_vocab), embeddings.tobytes()),
            "output.weight": gm.Tensor((n_embd, n_vocab), output.tobytes()),
            "output_norm.weight": gm.Tensor((n_embd,), np.ones(n_embd, "<f4").tobytes()),
            **{
                f"blk.{layer}.{name}.weight": gm.Tensor.zeros(dims)
                for layer in range(2)
                for name, dims in silent.items()
            },
        }
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("lookup")
    (folder / "steady.gguf").write_bytes(steady())
    (folder / "random.gguf").write_bytes(gm.tiny_llama())
    return folder


@pytest.fixture(scope="module", params=["steady", "random"])
def model(request: pytest.FixtureRequest, folder: pathlib.Path) -> pyedge.Model:
    return pyedge.Model(folder / f"{request.param}.gguf")


@pytest.fixture(scope="module")
def sure(folder: pathlib.Path) -> pyedge.Model:
    """The steady model: what is drafted there comes."""
    return pyedge.Model(folder / "steady.gguf")


# ---- finding a draft ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lookup(core: Any) -> Any:
    core.declare_header("run/lookup.h")
    return core


def find(lookup: Any, tokens: list[int], cap: int) -> tuple[int, list[int]]:
    draft, match = lookup.ffi.new("int32_t[]", cap + 1), lookup.ffi.new("size_t *")
    draft[cap] = -7
    count = lookup.lib.pe_lookup_find(lookup.ffi.new("int32_t[]", tokens), len(tokens), draft, cap, match)
    assert count <= cap and draft[cap] == -7
    return match[0], list(draft[0:count])


def expected(tokens: list[int], cap: int) -> tuple[int, list[int]]:
    """By definition: the longest end, of 8 to 2 tokens, that occurs before, and there the latest one."""
    for size in range(min(LONGEST, len(tokens) - 1), SHORTEST - 1, -1):
        for start in range(len(tokens) - size - 1, -1, -1):
            if tokens[start : start + size] == tokens[-size:]:
                going_on = list(tokens)
                for i in range(cap):
                    going_on.append(going_on[start + size + i])
                return size, going_on[len(tokens) :]
    return 0, []


@pytest.mark.parametrize("n_symbols", [2, 3, 8])
def test_the_latest_of_the_longest_matches_is_found(lookup: Any, n_symbols: int) -> None:
    pick = random.Random(n_symbols)
    for _ in range(400):
        tokens = [pick.randrange(n_symbols) for _ in range(pick.randrange(40))]
        cap = pick.randrange(1, AHEAD + 1)
        assert find(lookup, tokens, cap) == expected(tokens, cap), tokens


# ---- how much of it to try ---------------------------------------------------------------------------------


class Simulation:
    """A machine where a batch of n tokens takes `cost(n)`, and a text whose drafts come true by `comes`."""

    def __init__(self, lookup: Any, cost: Any, comes: Any, match: int) -> None:
        self.lib, self.cost, self.comes, self.match = lookup.lib, cost, comes, match
        self.state = lookup.ffi.new("pe_lookup *")
        self.lib.pe_lookup_init(self.state)
        self.time, self.tokens, self.largest = 0.0, 0, 0

    def run(self, n_tokens: int) -> None:
        while self.tokens < n_tokens:
            k = self.lib.pe_lookup_plan(self.state, self.match, AHEAD)
            assert 0 <= k <= AHEAD
            self.largest = max(self.largest, k)
            self.time += self.cost(k + 1)
            self.lib.pe_lookup_evaluated(self.state, k + 1, self.cost(k + 1))
            used = 0
            while used < k and self.comes():
                used += 1
            self.lib.pe_lookup_end(self.state, k - used, used < k)
            self.tokens += used + 1


COSTS = {
    "flat": lambda n: 1 + 0.03 * (n - 1),
    "step": lambda n: 1 if n == 1 else 2.8,
    "linear": float,
}


@pytest.mark.parametrize("match", [2, 4, 8])
@pytest.mark.parametrize("cost", COSTS)
def test_drafts_that_never_come_cost_next_to_nothing(lookup: Any, cost: str, match: int) -> None:
    run = Simulation(lookup, COSTS[cost], lambda: False, match)
    run.run(20000)
    assert run.time < 20000 * 1.012
    early = Simulation(lookup, COSTS["flat"], lambda: False, match)
    early.run(200)
    assert early.time < 200 * 1.02


def test_where_a_batch_costs_as_much_as_its_tokens_nothing_is_lost(lookup: Any) -> None:
    run = Simulation(lookup, COSTS["linear"], lambda: True, 8)
    run.run(20000)
    assert run.time < 20000 * 1.01


def test_a_text_that_repeats_is_taken_in_long_steps(lookup: Any) -> None:
    for cost, least in (("flat", 6.0), ("step", 3.0)):
        run = Simulation(lookup, COSTS[cost], lambda: True, 8)
        run.run(1000)
        assert run.largest == AHEAD and 1000 / run.time > least


def test_a_text_that_starts_to_repeat_is_noticed(lookup: Any) -> None:
    coming = False
    run = Simulation(lookup, COSTS["flat"], lambda: coming, 4)
    run.run(2000)
    before, coming = run.time, True
    run.run(4000)
    assert run.time - before < 1000


# ---- steps of a session, against plain evaluation ----------------------------------------------------------


def core_session(model: pyedge.Model) -> _core.Session:
    return model._new_core_session()


def state(session: _core.Session, vocab_size: int) -> tuple[Any, ...]:
    """All that can be seen of a session, the last logits to the bit."""
    return session.position, session.tokens, session.top(vocab_size)


def prepared(model: pyedge.Model, tokens: list[int]) -> _core.Session:
    """A session that has looked ahead: past `tokens`, it waits with the tokens that CYCLE brings next."""
    session = core_session(model)
    session.advance(tokens[:-2])
    session.step(tokens[-2], AHEAD)  # the first step only learns what one costs
    session.step(tokens[-1], AHEAD)
    assert session.lookups[0] > 0 and session.position == len(tokens)
    return session


def plain(model: pyedge.Model, tokens: list[int]) -> _core.Session:
    session = core_session(model)
    session.advance(tokens)
    return session


def test_a_step_shows_nothing_of_what_it_foresees(model: pyedge.Model) -> None:
    size = model.vocab_size
    assert state(prepared(model, PROMPT), size) == state(plain(model, PROMPT), size)


@pytest.mark.parametrize("wrong", range(4))
def test_foreseen_and_other_tokens_give_the_same(model: pyedge.Model, wrong: int) -> None:
    session, tokens = prepared(model, PROMPT), list(PROMPT)
    for id in [*CYCLE[:wrong], 100, *CYCLE[5:7]]:
        session.step(id, AHEAD)
        tokens.append(id)
        assert state(session, model.vocab_size) == state(plain(model, tokens), model.vocab_size)
    assert session.lookups[1] >= wrong


def test_evaluation_takes_what_was_foreseen_or_drops_it(model: pyedge.Model) -> None:
    session = prepared(model, PROMPT)
    got = session.eval(CYCLE[:1])
    assert session.lookups[1] == 1
    np.testing.assert_array_equal(got, core_session(model).logits([*PROMPT, CYCLE[0]])[-1])
    session.advance([9, 8])
    assert session.lookups[1] == 1
    assert state(session, model.vocab_size) == state(
        plain(model, [*PROMPT, CYCLE[0], 9, 8]), model.vocab_size
    )


def test_fork_of_a_session_that_looked_ahead(model: pyedge.Model) -> None:
    session = prepared(model, PROMPT)
    fork = session.fork()
    fork.advance([100, 101, 102])  # overwrites in its own copy what the first one foresees
    for id in CYCLE[:3]:
        session.step(id, AHEAD)
    assert session.lookups[1] == 3
    assert state(session, model.vocab_size) == state(plain(model, PROMPT + CYCLE[:3]), model.vocab_size)
    assert state(fork, model.vocab_size) == state(plain(model, [*PROMPT, 100, 101, 102]), model.vocab_size)


def test_rewind_and_load_forget_what_was_foreseen(model: pyedge.Model, tmp_path: pathlib.Path) -> None:
    session = prepared(model, PROMPT)
    session.save(tmp_path / "saved")
    session.rewind(20)
    with pytest.raises(ValueError, match="no logits"):
        session.top(1)
    session.step(PROMPT[20], AHEAD)
    assert state(session, model.vocab_size) == state(plain(model, PROMPT[:21]), model.vocab_size)
    session.load(tmp_path / "saved")
    assert state(session, model.vocab_size) == state(plain(model, PROMPT), model.vocab_size)
    session.step(CYCLE[0], 0)
    assert state(session, model.vocab_size) == state(plain(model, [*PROMPT, CYCLE[0]]), model.vocab_size)


def test_another_timeline_from_a_file(model: pyedge.Model, tmp_path: pathlib.Path) -> None:
    plain(model, PROMPT[5:25]).save(tmp_path / "other")
    session = prepared(model, PROMPT)
    session.load(tmp_path / "other")
    for id in (PROMPT[20], CYCLE[0]):  # what lies behind the tokens of the file, and what was foreseen
        fork = session.fork()
        session.step(id, AHEAD)
        tokens = [*PROMPT[5:25], id]
        assert state(session, model.vocab_size) == state(plain(model, tokens), model.vocab_size)
        session = fork


def test_cancel_reaches_a_foreseen_token_too(model: pyedge.Model) -> None:
    for take in (lambda s: s.step(CYCLE[0], AHEAD), lambda s: s.advance(CYCLE[:1])):
        session = prepared(model, PROMPT)
        session.cancel()
        with pytest.raises(pyedge.CancelledError):
            take(session)
        assert state(session, model.vocab_size) == state(plain(model, PROMPT), model.vocab_size)
        take(session)
        tokens = [*PROMPT, CYCLE[0]]
        assert state(session, model.vocab_size) == state(plain(model, tokens), model.vocab_size)


def test_wrong_tokens_change_nothing(model: pyedge.Model) -> None:
    tokens = (CYCLE * 4)[:62]  # what is foreseen lies on two pages of the cache
    session = prepared(model, tokens)
    for id in (-1, model.vocab_size):
        with pytest.raises(ValueError, match="out of range"):
            session.step(id, AHEAD)
        with pytest.raises(ValueError, match="out of range"):
            session.advance([5, id])
    assert state(session, model.vocab_size) == state(plain(model, tokens), model.vocab_size)
    for id in (CYCLE * 5)[62:70]:
        session.step(id, AHEAD)
    assert state(session, model.vocab_size) == state(plain(model, (CYCLE * 5)[:70]), model.vocab_size)


def test_the_end_of_the_context_is_not_passed(folder: pathlib.Path) -> None:
    model = pyedge.Model(folder / "steady.gguf", context=len(PROMPT) + 3)
    session = prepared(model, PROMPT)
    assert session.lookups[0] == 3
    for id in CYCLE[:3]:
        session.step(id, AHEAD)
    with pytest.raises(pyedge.ContextOverflowError):
        session.step(CYCLE[3], AHEAD)
    tokens = PROMPT + CYCLE[:3]
    assert state(session, model.vocab_size) == state(plain(model, tokens), model.vocab_size)


def test_drafts_that_fail_become_rare(folder: pathlib.Path) -> None:
    """The same two tokens, and each time another one after them."""
    model = pyedge.Model(folder / "steady.gguf", context=800)
    session = core_session(model)
    for id in range(10, 260):
        session.step(5, 0)
        session.step(6, 1)
        session.step(id, 0)
    assert session.lookups[1] == 0 and session.lookups[0] <= 50


def test_nothing_is_evaluated_from_an_end_token_on(sure: pyedge.Model) -> None:
    tokens = [*CYCLE[:10], *CYCLE[10:12], END, *CYCLE[:10]]
    assert prepared(sure, tokens).lookups[0] == 2


@pytest.mark.parametrize("seed", range(8))
def test_any_course_of_calls(model: pyedge.Model, seed: int, tmp_path: pathlib.Path) -> None:
    """Steps, most of them along the cycle, and everything else that a session can be asked for."""
    pick = random.Random(seed)
    looked, simple = prepared(model, PROMPT), plain(model, PROMPT)
    for _ in range(120):
        tokens = simple.tokens
        kind = pick.random()
        if kind < 0.85 and len(tokens) < looked.capacity:
            follows = CYCLE[(CYCLE.index(tokens[-1]) + 1) % len(CYCLE)] if tokens[-1] in CYCLE else CYCLE[0]
            id = follows if pick.random() < 0.9 else pick.randrange(model.vocab_size)
            if pick.random() < 0.9:
                looked.step(id, pick.choice([1, 3, AHEAD, 1000]))
            else:
                looked.advance([id])
            simple.advance([id])
        elif kind < 0.88 or len(tokens) == looked.capacity:
            keep = pick.randrange(1, len(tokens))
            for session in (looked, simple):
                session.rewind(keep)
                session.advance(tokens[keep - 1 : keep] if keep < session.capacity else [])
        elif kind < 0.92:
            spare = looked.fork()
            looked, spare = (spare, looked) if pick.random() < 0.5 else (looked, spare)
            spare.advance([pick.randrange(model.vocab_size)])
        elif kind < 0.96:
            looked.save(tmp_path / "saved")
            looked.load(tmp_path / "saved")
        else:
            looked.cancel()
            with pytest.raises(pyedge.CancelledError):
                looked.step(CYCLE[0], AHEAD)
        assert state(looked, model.vocab_size) == state(simple, model.vocab_size)


def test_memory_is_counted_and_the_limit_is_kept(folder: pathlib.Path) -> None:
    path = folder / "steady.gguf"
    model = pyedge.Model(path)
    whole = _core.Model(path).session_bytes(model.context_length, "f16")
    rows = AHEAD * model.vocab_size * 4
    session = plain(model, PROMPT[:-2])
    session.step(PROMPT[-2], AHEAD)
    before = session.bytes
    session.step(PROMPT[-1], AHEAD)
    assert before + rows == session.bytes <= whole
    # With a limit that has no room for the rows, the session works, and does not look ahead.
    for limit, looks in ((whole, True), (whole - rows, False)):
        limited = pyedge.Model(path, memory_limit=limit)
        answer = limited.generate(PROMPT, temperature=0, max_tokens=40)
        assert (answer.timings["drafted_tokens"] > 0) is looks
        assert answer.tokens == model.generate(PROMPT, temperature=0, max_tokens=40, lookup=False).tokens


# ---- generation, with and without --------------------------------------------------------------------------

OPTIONS: dict[str, dict[str, Any]] = {
    "greedy": {"temperature": 0},
    "sampled": {"temperature": 0.8, "seed": 7},
    "hot": {"temperature": 1.5, "seed": 3, "top_k": 0, "min_p": 0},
    "penalty": {"temperature": 0.7, "seed": 5, "repeat_penalty": 1.3},
    "bias": {"temperature": 0.7, "seed": 5, "logit_bias": {41: -2.0, 45: float("-inf")}},
    "tops": {"temperature": 0.5, "seed": 9, "logprobs": 4},
    "short": {"temperature": 0, "max_tokens": 5},
    "to the end of the context": {"temperature": 0, "max_tokens": 1000},
    "stop": {"temperature": 0, "stop": ["<none>", "=>"]},
}


def both(model: pyedge.Model, prompt: list[int], options: dict[str, Any]) -> tuple[Any, Any, Any, Any]:
    """Completions and sessions, plain and with lookup; the same answer is what is asserted."""
    sessions = [model.session(), model.session()]
    answers = [
        session.generate(prompt, **{"max_tokens": 60, **options, "lookup": lookup})
        for session, lookup in zip(sessions, (False, True), strict=True)
    ]
    assert answers[0].timings["drafted_tokens"] == 0
    for name in ("text", "tokens", "finish_reason", "logprobs", "top_logprobs"):
        assert getattr(answers[0], name) == getattr(answers[1], name)
    assert sessions[0].position == sessions[1].position and sessions[0].tokens == sessions[1].tokens
    return answers[0], answers[1], *sessions


@pytest.mark.parametrize("kind", OPTIONS)
def test_the_answer_is_the_same(model: pyedge.Model, kind: str) -> None:
    _, answer, first, second = both(model, PROMPT, OPTIONS[kind])
    if first.position < first.capacity and answer.finish_reason != "stop":  # and so is what comes after it
        going_on = {"temperature": 0, "max_tokens": 20}
        assert first.generate(**going_on, lookup=False).tokens == second.generate(**going_on).tokens


@pytest.mark.parametrize("kind", ["greedy", "sampled", "tops"])
def test_drafts_are_used(sure: pyedge.Model, kind: str) -> None:
    timings = both(sure, PROMPT, OPTIONS[kind])[1].timings
    assert timings["drafted_tokens"] >= timings["accepted_tokens"] > 0


@pytest.mark.parametrize("place", range(2, 16, 3))
def test_a_stop_string_inside_a_draft(sure: pyedge.Model, place: int) -> None:
    whole = sure.generate(PROMPT, temperature=0, max_tokens=60, lookup=False)
    stop = sure.detokenize(whole.tokens[place : place + 1])
    answer = both(sure, PROMPT, {"temperature": 0, "stop": stop})[1]
    assert answer.finish_reason == "stop" and len(answer.tokens) == place + 1


def test_a_number_bounds_the_draft(sure: pyedge.Model) -> None:
    session = core_session(sure)
    session.advance(PROMPT[:-2])
    session.step(PROMPT[-2], 1)
    session.step(PROMPT[-1], 1)
    assert session.lookups == (1, 0)
    answer = sure.generate(PROMPT, temperature=0, max_tokens=6, lookup=2)
    assert answer.timings["drafted_tokens"] == 2 and answer.timings["accepted_tokens"] == 2


def test_nothing_is_drafted_past_the_tokens_asked_for(sure: pyedge.Model) -> None:
    assert sure.generate(PROMPT, temperature=0, max_tokens=3).timings["drafted_tokens"] == 0
    assert sure.generate(PROMPT, temperature=0, max_tokens=4).timings["drafted_tokens"] == 1


@pytest.mark.parametrize("taken", range(1, 24, 2))
@pytest.mark.parametrize("how", ["close", "cancel"])
def test_a_stream_that_is_left(sure: pyedge.Model, taken: int, how: str) -> None:
    """The session is where token by token leaves it, and goes on alike, also from the last logits."""
    sessions, said = [sure.session(), sure.session()], []
    for session, lookup in zip(sessions, (False, True), strict=True):
        stream = session.stream(PROMPT, temperature=0, max_tokens=60, lookup=lookup)
        pieces = [next(stream) for _ in range(taken)]
        if how == "cancel":
            session.cancel()
            pieces += list(stream)
            assert pieces[-1].finish_reason == "cancelled"
        else:
            stream.close()
        pieces += session.fork().stream((), temperature=0, max_tokens=9)
        pieces += session.stream((), temperature=0, max_tokens=9)
        said.append((pieces, session.position, session.tokens))
    assert said[0] == said[1]


@pytest.mark.parametrize(
    ("value", "error"), [(-1, ValueError), ("yes", TypeError), (1.5, TypeError), (None, TypeError)]
)
def test_wrong_values_are_told(value: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="lookup"):
        check_options(100, lookup=value)


# ---- the real models ---------------------------------------------------------------------------------------

TEXT = (
    "The harbour of Port Elin lies on the north side of the island, behind a long wall of grey stone. "
    "Fishing boats leave before sunrise and come back in the afternoon with herring and cod."
)
BEGUN = " ".join(TEXT.split()[:12])


@pytest.mark.parametrize("name", ["smollm2", "gemma3"])
def test_a_real_model_that_copies(request: pytest.FixtureRequest, name: str) -> None:
    model = pyedge.Model(request.getfixturevalue(name), context=512)
    ids = model.tokenize(f"{TEXT}\n\nThe same text again:\n\n{BEGUN}")
    _, answer, first, second = both(model, ids, {"temperature": 0, "max_tokens": 24, "logprobs": 2})
    assert answer.timings["accepted_tokens"] > 0
    assert second.memory - first.memory <= 16 * 2**20


def test_command_line(smollm2: pathlib.Path) -> None:
    def run(*options: str) -> dict[str, Any]:
        command = [sys.executable, "-m", "pyedge", "generate", "-m", str(smollm2), "--json", "--raw"]
        said = subprocess.run(
            [*command, "--temp", "0", "-n", "24", *options, f"{TEXT} {BEGUN}"],
            capture_output=True,
            check=True,
        )
        answer: dict[str, Any] = json.loads(said.stdout)
        return answer

    looked, single = run(), run("--no-lookup")
    assert looked["tokens"] == single["tokens"]
    assert looked["timings"]["drafted_tokens"] > 0 and single["timings"]["drafted_tokens"] == 0
