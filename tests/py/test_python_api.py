"""The Python package through its public names, with a real model: facts, text, generation, sessions."""

from __future__ import annotations

import os
import pathlib
import signal
import threading
import time
import warnings

import numpy as np
import pytest

import pyedge

QUESTION = [{"role": "user", "content": "What is the capital of France?"}]


@pytest.fixture(scope="module")
def model(smollm2):
    with pyedge.Model(smollm2) as opened:
        yield opened


# ---- facts and text ----------------------------------------------------------------------------------------


def test_facts(model, smollm2):
    assert model.arch == "llama"
    assert model.name.lower().startswith("smollm2")
    assert model.vocab_size == 49152 and model.context_length == 8192
    assert model.file_size == os.path.getsize(smollm2) == 98362432
    assert 134e6 < model.n_params < 136e6
    assert model.metadata["general.architecture"] == "llama"
    assert model.metadata["llama.block_count"] == 30
    assert len(model.metadata["tokenizer.ggml.tokens"]) == 49152
    assert (model.isa in repr(model.isa) and "SmolLM2" in repr(model)) or model.name in repr(model)


def test_path_types(smollm2):
    with pyedge.Model(str(smollm2)) as by_text, pyedge.Model(pathlib.Path(smollm2)) as by_path:
        assert by_text.name == by_path.name


def test_tokenize_and_back(model):
    for text in ("Hello world", "", "naïve 🙂 日本", "\x00\n\t", "a" * 1000):
        ids = model.tokenize(text)
        assert all(isinstance(id, int) for id in ids)
        assert model.detokenize(ids) == text
    assert model.tokenize(b"\xff\xfe") == model.tokenize("\udcff\udcfe")
    assert b"".join(model.token_bytes(id) for id in model.tokenize("äöü")) == "äöü".encode()
    assert model.tokenize("<|im_start|>", parse_special=True) == [1]
    assert len(model.tokenize("<|im_start|>")) > 1
    assert model.detokenize([1], skip_special=True) == ""
    assert model.detokenize(np.array(model.tokenize("numpy"))) == "numpy"


def test_wrong_ids(model):
    with pytest.raises(ValueError):
        model.detokenize([49152])
    with pytest.raises(ValueError, match="0 to 49151"):
        model.token_bytes(-1)
    with pytest.raises(TypeError, match="tokenize"):
        model.logits("text")
    with pytest.raises(TypeError):
        model.logits([1.5])
    with pytest.raises(ValueError):
        model.logits([])
    with pytest.raises(ValueError):
        model.logits([49152])
    with pytest.raises(ValueError):
        model.logits([2**40])


def test_closed_model(smollm2):
    model = pyedge.Model(smollm2)
    session = model.session()
    model.close()
    model.close()
    with pytest.raises(pyedge.Error, match="closed"):
        model.tokenize("x")
    assert session.eval([1, 2, 3]).shape == (49152,)  # what runs keeps what it needs


# ---- generation --------------------------------------------------------------------------------------------


def test_greedy_answer(model):
    completion = model.generate("What is the capital of France?", temperature=0, max_tokens=32)
    assert "Paris" in completion.text
    assert completion.finish_reason == "stop"
    assert completion.text == model.detokenize(completion.tokens) == str(completion)
    assert len(completion.logprobs) == len(completion.tokens)
    assert all(logprob <= 0 for logprob in completion.logprobs)
    assert model.generate(QUESTION, temperature=0, max_tokens=32).tokens == completion.tokens
    ids = model.tokenize(model.apply_chat_template(QUESTION), parse_special=True)
    assert model.generate(ids, temperature=0, max_tokens=32).tokens == completion.tokens
    timings = completion.timings
    assert timings["prompt_tokens"] == len(ids)
    assert timings["decode_tokens"] == len(completion.tokens)
    assert set(timings) == {
        "prompt_tokens", "prompt_seconds", "decode_tokens", "decode_seconds", "ttft_seconds", "load_seconds",
        "drafted_tokens", "accepted_tokens", "reevaluated_tokens", "reevaluate_seconds",
    }  # fmt: skip
    maybe_none = ("drafted_tokens", "accepted_tokens", "reevaluated_tokens", "reevaluate_seconds")
    assert all(value > 0 for name, value in timings.items() if name not in maybe_none)


def test_stream_is_the_same_in_pieces(model):
    options = {"seed": 7, "max_tokens": 40}
    completion = model.generate("Tell me a story with emoji.", **options)
    pieces = list(model.stream("Tell me a story with emoji.", **options))
    assert "".join(piece.text for piece in pieces) == completion.text
    assert [piece.token for piece in pieces][: len(completion.tokens)] == completion.tokens
    assert [piece.finish_reason for piece in pieces[:-1]] == [None] * (len(pieces) - 1)
    assert pieces[-1].finish_reason == completion.finish_reason


def test_seed(model):
    def tokens(seed: int | None) -> list[int]:
        return model.generate("Invent a word.", seed=seed, temperature=1.5, max_tokens=20).tokens

    assert tokens(1) == tokens(1)
    assert tokens(1) != tokens(2)
    assert tokens(None) != tokens(None)


def test_lengths(model):
    assert model.generate("Count to one hundred.", max_tokens=5, temperature=0).finish_reason == "length"
    nothing = model.generate("Hello", max_tokens=0)
    assert (nothing.text, nothing.tokens, nothing.finish_reason) == ("", [], "length")


def test_stop_strings(model):
    options = {"raw": True, "temperature": 0, "max_tokens": 40}
    whole = model.generate("1, 2, 3, 4,", **options).text
    for stop in (whole[10:14], whole[7:20], (whole[12:15], "never seen")):
        completion = model.generate("1, 2, 3, 4,", stop=stop, **options)
        first = stop if isinstance(stop, str) else stop[0]
        assert completion.finish_reason == "stop"
        assert completion.text == whole[: whole.index(first)]
        streamed = "".join(piece.text for piece in model.stream("1, 2, 3, 4,", stop=stop, **options))
        assert streamed == completion.text


def test_logprobs_and_bias(model):
    completion = model.generate(QUESTION, temperature=0, max_tokens=3, logprobs=5)
    ids = model.tokenize(model.apply_chat_template(QUESTION), parse_special=True)
    row = model.logits(ids)[-1].astype(np.float64)
    expected = row - row.max() - np.log(np.exp(row - row.max()).sum())
    best = np.argsort(-expected)[:5]
    assert [id for id, _ in completion.top_logprobs[0]] == list(best)
    assert np.allclose([logprob for _, logprob in completion.top_logprobs[0]], expected[best], atol=1e-4)
    assert completion.logprobs[0] == pytest.approx(expected[best[0]], abs=1e-4)
    forbidden = {completion.tokens[0]: -float("inf")}
    other = model.generate(QUESTION, temperature=0, max_tokens=1, logit_bias=forbidden)
    assert other.tokens == [int(best[1])]
    forced = model.generate(QUESTION, max_tokens=2, logit_bias={100: 1000.0})
    assert forced.tokens == [100, 100]


def test_repeat_penalty_changes_the_answer(model):
    options = {"raw": True, "temperature": 0, "max_tokens": 30}
    plain = model.generate("la la la la la la", **options)
    assert model.generate("la la la la la la", repeat_penalty=5.0, **options).tokens != plain.tokens


def test_prompts(model):
    for wrong in ([], (), ""):
        with pytest.raises(ValueError):
            model.generate(wrong, raw=True)
    with pytest.raises(TypeError, match="raw"):
        model.generate(QUESTION, raw=True)
    with pytest.raises(ValueError, match="role"):
        model.generate([{"content": "x"}])
    with pytest.raises(TypeError, match="temprature"):
        model.stream("x", temprature=1)  # at the call, not at the first piece


def test_module_doors(smollm2, model):
    text = pyedge.generate("What is the capital of France?", model=smollm2, temperature=0, max_tokens=16)
    assert "Paris" in text
    pieces = list(
        pyedge.stream("What is the capital of France?", model=smollm2, temperature=0, max_tokens=16)
    )
    assert "".join(pieces) == text and all(isinstance(piece, str) and piece for piece in pieces)
    assert pyedge.generate(QUESTION, model=model, temperature=0, max_tokens=16) == text
    with pytest.raises(ValueError, match="temperature"):
        pyedge.stream("x", model="never-fetched", temperature=-1)


def test_no_template_warns_and_completes(gemma3):
    with pyedge.Model(gemma3) as model:
        with pytest.warns(UserWarning, match="no chat template") as caught:
            answer = model.generate("The capital of France is", temperature=0, max_tokens=4)
        assert caught[0].filename == __file__
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            raw = model.generate("The capital of France is", temperature=0, max_tokens=4, raw=True)
        assert raw.tokens == answer.tokens and len(raw.tokens) == 4
        with pytest.warns(UserWarning, match="no chat template"):
            model.generate(QUESTION, max_tokens=1)
        with pytest.raises(pyedge.UnsupportedError, match=r"tokenizer\.chat_template"):
            model.apply_chat_template(QUESTION)
        assert model.tokenize("x")[0] == 2  # BOS


# ---- context -----------------------------------------------------------------------------------------------


def test_context_overflow_has_both_numbers(smollm2):
    with pyedge.Model(smollm2, context=16) as model:
        with pytest.raises(pyedge.ContextOverflowError, match=r"20 tokens.*30 needed.*16") as caught:
            model.generate(list(range(20, 40)), max_tokens=10)
        assert (caught.value.needed, caught.value.capacity) == (30, 16)
        with pytest.raises(pyedge.ContextOverflowError) as caught:
            model.logits(range(17))
        assert (caught.value.needed, caught.value.capacity) == (17, 16)
        session = model.session()
        session.eval(range(20, 30))
        with pytest.raises(pyedge.ContextOverflowError) as caught:
            session.eval(range(7))
        assert (caught.value.needed, caught.value.capacity) == (17, 16)
        assert session.position == 10
        full = model.generate(list(range(20, 32)), max_tokens=100, logit_bias={2: -float("inf")})
        assert full.finish_reason == "length" and len(full.tokens) == 5  # 4 positions, and one more to tell


def test_memory_limit(smollm2):
    with (
        pytest.raises(pyedge.OutOfMemoryError, match="limit"),
        pyedge.Model(smollm2, memory_limit=1 << 20) as model,
    ):
        model.generate("x", max_tokens=1)


# ---- sessions ----------------------------------------------------------------------------------------------


def test_session_timeline(model):
    ids = model.tokenize("The quick brown fox jumps over the lazy dog")
    whole = model.logits(ids)
    session = model.session()
    assert session.position == 0 and session.capacity == 8192
    row = session.eval(ids[:4])
    assert row.shape == (49152,) and row.dtype == np.float32
    assert np.allclose(row, whole[3], atol=0.05)
    session.eval(np.array(ids[4:]))
    assert session.position == len(ids) and session.tokens == ids
    session.rewind(2)
    assert session.tokens == ids[:-2]
    session.rewind(to=4)
    again = session.eval(ids[4:5])
    assert np.allclose(again, whole[4], atol=0.05)
    for wrong in ({"n": 6}, {"to": 6}, {"n": -1}, {"to": -1}):
        with pytest.raises(ValueError, match="cannot rewind"):
            session.rewind(**wrong)
    with pytest.raises(TypeError):
        session.rewind()
    with pytest.raises(ValueError):
        session.eval([])


def test_failed_eval_changes_nothing(model):
    session = model.session()
    session.eval([10, 11, 12])
    with pytest.raises(ValueError, match=r"49152|range"):
        session.eval([13, 49152])
    assert session.position == 3 and session.tokens == [10, 11, 12]


def test_fork(model):
    session = model.session()
    session.eval(model.tokenize("Once upon a time"))
    other = session.fork()
    assert other.position == session.position
    first = session.generate(" there was", temperature=0, max_tokens=8)
    assert other.generate(" there was", temperature=0, max_tokens=8).tokens == first.tokens
    other.rewind(to=0)
    assert session.position > 0


def test_save_and_load(model, tmp_path):
    session = model.session()
    session.eval(model.tokenize("Once upon a time"))
    session.save(tmp_path / "state")
    expected = session.generate(" there", temperature=0, max_tokens=6)
    other = model.session()
    other.load(tmp_path / "state")
    assert other.position == 4
    assert other.generate(" there", temperature=0, max_tokens=6).tokens == expected.tokens
    with pytest.raises(pyedge.Error):
        other.load(tmp_path / "missing")
    (tmp_path / "bad").write_bytes(b"no session")
    with pytest.raises(pyedge.Error):
        other.load(tmp_path / "bad")


def test_session_goes_on_where_it_ended(model):
    whole = model.session().generate("1, 2, 3,", temperature=0, max_tokens=20)
    session = model.session()
    first = session.generate("1, 2, 3,", temperature=0, max_tokens=8)
    assert session.position == first.timings["prompt_tokens"] + 8
    second = session.generate(temperature=0, max_tokens=12)
    assert first.tokens + second.tokens == whole.tokens
    with pytest.raises(ValueError, match="empty"):
        model.session().generate()


def test_threads_on_one_model(model):
    expected = [model.generate(f"Say {n}", temperature=0, max_tokens=12).tokens for n in range(2)]
    got: dict[int, list[int]] = {}

    def work(n: int) -> None:
        got[n] = model.generate(f"Say {n}", temperature=0, max_tokens=12).tokens

    threads = [threading.Thread(target=work, args=(n,)) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [got[0], got[1]] == expected


def test_two_threads_on_one_session(model):
    session = model.session()
    failed: list[BaseException] = []
    started = threading.Event()

    def work() -> None:
        started.set()
        try:
            session.eval([10] * 2000)
        except pyedge.CancelledError:
            pass
        except pyedge.Error as error:
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    started.wait()
    deadline = time.monotonic() + 60
    while not session._busy.locked() and time.monotonic() < deadline:
        time.sleep(0.001)
    with pytest.raises(pyedge.Error, match="in use"):
        session.eval([1])
    session.cancel()
    thread.join()
    assert not failed


def test_interleaved_generations_on_one_session_are_refused(model):
    session = model.session()
    stream = session.stream("Once", max_tokens=5)
    next(stream)
    with pytest.raises(pyedge.Error, match="in use"):
        session.generate("Twice", max_tokens=1)
    stream.close()
    session.generate("Twice", max_tokens=1)


def test_cancel_during_prefill(model):
    session = model.session()
    session.eval([5, 6, 7])
    timer = threading.Timer(0.15, session.cancel)
    timer.start()
    with pytest.raises(pyedge.CancelledError):
        session.eval([10] * 6000)
    assert session.position == 3 and session.tokens == [5, 6, 7]
    session.eval([8])
    assert session.position == 4


def test_cancel_a_generation(model):
    session = model.session()
    stream = session.stream("Count: 1, 2, 3,", temperature=0, max_tokens=500)
    text = [next(stream).text for _ in range(3)]
    session.cancel()
    rest = list(stream)
    assert len(rest) == 1 and rest[0].finish_reason == "cancelled" and rest[0].token is None
    assert text
    session.cancel()
    assert session.generate(" 4", max_tokens=5).finish_reason == "cancelled"
    assert session.generate(" 4", max_tokens=5, temperature=0).finish_reason != "cancelled"


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_interrupt_during_prefill(model):
    session = model.session()
    session.eval([5, 6, 7])
    with pytest.raises(KeyboardInterrupt):
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
        session.eval([10] * 6000)
    assert session.tokens == [5, 6, 7]
    session.eval([8])  # and no cancel is left over
    assert session.position == 4


def test_lock_is_released_while_evaluating(model):
    """Another thread goes on while this one evaluates."""
    ticks = 0
    done = threading.Event()

    def tick() -> None:
        nonlocal ticks
        while not done.is_set():
            ticks += 1
            time.sleep(0.001)

    thread = threading.Thread(target=tick)
    thread.start()
    before = ticks
    model.logits([10] * 200)
    during = ticks - before
    done.set()
    thread.join()
    assert during >= 3


# ---- evaluation --------------------------------------------------------------------------------------------


def test_logits_and_embed(model):
    ids = model.tokenize("Hello world, this is a test.")
    rows = model.logits(ids)
    assert rows.shape == (len(ids), 49152) and rows.dtype == np.float32 and np.isfinite(rows).all()
    vector = model.embed("Hello world, this is a test.")
    assert vector.shape == (576,) and vector.dtype == np.float32 and np.isfinite(vector).all()
    near = model.embed("Hello world, this is a test!")
    far = model.embed("Quarterly revenue fell by four percent")

    def cosine(a: np.ndarray, b: np.ndarray) -> float:
        return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))

    assert cosine(vector, near) > cosine(vector, far)
    with pytest.raises(ValueError):
        model.embed("")


def test_perplexity_by_hand(model):
    """Windows of 16, the second half of each scored: the same from the logits."""
    text = "The mitochondria is the powerhouse of the cell. " * 8
    ids = model.tokenize(text)
    total, count = 0.0, 0
    for start in range(0, len(ids) - 15, 16):
        window = ids[start : start + 16]
        rows = model.logits(window).astype(np.float64)
        rows -= rows.max(axis=1, keepdims=True)
        logprobs = rows - np.log(np.exp(rows).sum(axis=1, keepdims=True))
        for position in range(8, 15):
            total -= logprobs[position, window[position + 1]]
            count += 1
    assert model.perplexity(text, context=16) == pytest.approx(float(np.exp(total / count)), rel=1e-3)
    assert model.perplexity("Hello there, how are you?") > 1
    for wrong in ("", "Hi"):
        with pytest.raises(ValueError, match="at least 4 tokens"):
            model.perplexity(wrong)
    with pytest.raises(ValueError, match="context"):
        model.perplexity(text, context=1)


@pytest.mark.slow
def test_perplexity_of_the_reference_text(model, refs):
    text = (refs / "real" / "ppl.txt").read_text(encoding="utf-8")
    assert model.perplexity(text) == pytest.approx(10.4599, rel=5e-3)
