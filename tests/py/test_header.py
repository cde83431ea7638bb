"""The public C header, used by cffi as a C program would use it, against the library in the package."""

from __future__ import annotations

import importlib.metadata
import pathlib
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

CSRC = pathlib.Path(__file__).resolve().parents[2] / "csrc"
SPECIAL, PARSE = 1, 2
PROMPT = b"The capital of France is"


class Api:
    """Calls of the header with their status checked: `api.ok(call)`, `api.fails(status, call, message)`."""

    def __init__(self, library: Any) -> None:
        self.ffi, self.lib = library.ffi, library.lib
        self.message = library.error

    def ok(self, status: int) -> None:
        assert status == self.lib.PE_OK, self.message()

    def fails(self, expected: int, status: int, pattern: str = "") -> None:
        assert status == expected
        message = self.message()
        assert re.search(pattern, message), message

    def open(self, path: pathlib.Path) -> Any:
        out = self.ffi.new("pe_model **")
        self.ok(self.lib.pe_model_open(str(path).encode(), out))
        return out[0]

    def info(self, model: Any) -> Any:
        info = self.ffi.new("pe_model_info *")
        self.lib.pe_model_get_info(model, info)
        return info

    def session(self, model: Any, **options: Any) -> Any:
        """A session that is released with the Python object."""
        chosen = self.ffi.new("pe_session_options *", {"n_ctx": 256, **options})
        out = self.ffi.new("pe_session **")
        self.ok(self.lib.pe_session_create(model, chosen, out))
        return self.ffi.gc(out[0], self.lib.pe_session_release)

    def sampler(self, **options: Any) -> Any:
        chosen = self.ffi.new("pe_sampler_options *", self.lib.pe_sampler_defaults())
        for name, value in options.items():
            setattr(chosen, name, value)
        out = self.ffi.new("pe_sampler **")
        self.ok(self.lib.pe_sampler_create(chosen, out))
        return self.ffi.gc(out[0], self.lib.pe_sampler_release)

    def tokenize(self, model: Any, text: bytes, flags: int = SPECIAL) -> list[int]:
        ids, count = self.ffi.new("int32_t[]", len(text) + 8), self.ffi.new("size_t *")
        self.ok(self.lib.pe_tokenize(model, text, len(text), flags, ids, len(ids), count))
        return list(ids[0 : count[0]])

    def eval(self, session: Any, ids: list[int], first: int = 0) -> np.ndarray:
        """Logits [len(ids) - first, n_vocab]."""
        logits = np.empty((len(ids) - first, self.n_vocab), np.float32)
        out = self.ffi.from_buffer("float[]", logits, require_writable=True) if logits.size else self.ffi.NULL
        self.ok(self.lib.pe_session_eval(session, ids, len(ids), first, out))
        return logits

    n_vocab = 0


@pytest.fixture(scope="module")
def api(header: Any) -> Api:
    return Api(header)


@pytest.fixture(scope="module")
def model(api: Api, smollm2: pathlib.Path) -> Iterator[Any]:
    model = api.open(smollm2)
    api.n_vocab = api.info(model).n_vocab
    yield model
    api.lib.pe_model_release(model)


# ---- the header as a text ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("compiler", "options"), [("cc", ["-std=c11", "-x", "c"]), ("c++", ["-std=c++17", "-x", "c++"])]
)
def test_compiles_alone_in_both_languages(compiler: str, options: list[str], tmp_path: pathlib.Path) -> None:
    if not shutil.which(compiler):
        pytest.skip(f"{compiler} is not installed")
    source = tmp_path / "user.c"
    source.write_text('#include "pyedge.h"\nint main(void) { return pe_version()[0] == 0; }\n')
    flags = ["-Wall", "-Wextra", "-pedantic", "-Werror", "-fsyntax-only", f"-I{CSRC}"]
    done = subprocess.run([compiler, *options, *flags, str(source)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_structs_are_laid_out_as_the_compiler_lays_them_out(api: Api, tmp_path: pathlib.Path) -> None:
    if not shutil.which("cc"):
        pytest.skip("cc is not installed")
    names = re.findall(r"^typedef struct (pe_\w+) \{", (CSRC / "pyedge.h").read_text(), flags=re.M)
    rows = "".join(f'printf("{name} %zu\\n", sizeof({name}));' for name in names)
    source, program = tmp_path / "sizes.c", tmp_path / "sizes"
    source.write_text(f'#include "pyedge.h"\n#include <stdio.h>\nint main(void) {{ {rows} return 0; }}\n')
    subprocess.run(["cc", "-std=c11", f"-I{CSRC}", "-o", str(program), str(source)], check=True)
    lines = subprocess.run([str(program)], check=True, capture_output=True, text=True).stdout.splitlines()
    assert len(lines) >= 6
    for line in lines:
        name, size = line.split()
        assert api.ffi.sizeof(name) == int(size), name


def test_version_is_the_packages(api: Api) -> None:
    assert api.ffi.string(api.lib.pe_version()).decode() == importlib.metadata.version("pyedge")


# ---- machine -----------------------------------------------------------------------------------------------


def test_instruction_sets(api: Api) -> None:
    row, usable = api.ffi.new("pe_isa_info *"), []
    index = 0
    while api.lib.pe_isa_get(index, row):
        assert api.ffi.string(row.reason)
        if row.usable:
            usable.append(api.ffi.string(row.name))
        index += 1
    assert usable[0] == b"scalar"
    chosen = api.ffi.new("char **")
    api.ok(api.lib.pe_isa_select(chosen))
    assert api.ffi.string(chosen[0]) in usable
    assert not api.lib.pe_isa_get(2**40, row)


def test_threads(api: Api) -> None:
    allowed, quota, forced = (api.ffi.new(kind) for kind in ("int *", "double *", "int *"))
    count = api.lib.pe_threads_explain(allowed, quota, forced)
    assert 1 <= count == api.lib.pe_threads_default()
    assert allowed[0] >= 1 and quota[0] >= 0
    assert forced[0] > 0 or count <= allowed[0]


# ---- tensor types ------------------------------------------------------------------------------------------


def test_types_and_dequantize(api: Api) -> None:
    row, types = api.ffi.new("pe_type_info *"), {}
    while api.lib.pe_type_get(len(types), row):
        types[api.ffi.string(row.name).decode()] = (row.type, row.block_elements, row.block_bytes)
    assert {"F32", "F16", "BF16", "Q4_1", "Q5_0", "Q8_0", "Q4_K", "Q6_K"} <= set(types)
    assert types["Q4_1"] == (3, 32, 20)

    values, out = np.arange(8, dtype=np.float32), np.empty(8, np.float32)
    data, room = api.ffi.from_buffer(values), api.ffi.from_buffer("float[]", out, require_writable=True)
    api.ok(api.lib.pe_dequantize(types["F32"][0], data, 32, room, 8))
    assert np.array_equal(values, out)
    api.fails(api.lib.PE_ERR_ARG, api.lib.pe_dequantize(types["F32"][0], data, 31, room, 8), "31")
    assert api.lib.pe_dequantize(types["Q4_1"][0], data, 20, room, 8) == api.lib.PE_ERR_ARG
    assert api.lib.pe_dequantize(9999, data, 32, room, 8) != api.lib.PE_OK
    assert "9999" in api.message()


# ---- model -------------------------------------------------------------------------------------------------


def test_missing_file_and_wrong_arguments(api: Api, tmp_path: pathlib.Path) -> None:
    out = api.ffi.new("pe_model **")
    missing = str(tmp_path / "none.gguf")
    api.fails(api.lib.PE_ERR_IO, api.lib.pe_model_open(missing.encode(), out), "none.gguf")
    assert out[0] == api.ffi.NULL
    assert api.lib.pe_model_open(api.ffi.NULL, out) == api.lib.PE_ERR_ARG
    assert api.lib.pe_model_open(missing.encode(), api.ffi.NULL) == api.lib.PE_ERR_ARG
    for release in ("pe_model_release", "pe_session_release", "pe_sampler_release"):
        getattr(api.lib, release)(api.ffi.NULL)


def test_info_metadata_and_tensors(api: Api, model: Any, smollm2: pathlib.Path) -> None:
    info = api.info(model)
    assert api.ffi.string(info.arch) == b"llama"
    assert (info.n_vocab, info.n_embd, info.n_layer, info.n_head, info.n_head_kv) == (49152, 576, 30, 9, 3)
    assert info.file_size == smollm2.stat().st_size
    assert b"im_start" in api.ffi.string(info.chat_template)

    meta, seen = api.ffi.new("pe_meta *"), {}
    for index in range(api.lib.pe_model_meta_count(model)):
        api.ok(api.lib.pe_model_meta(model, index, meta))
        seen[api.ffi.string(meta.key).decode()] = (index, meta.type, meta.n_items)
    index, kind, count = seen["tokenizer.ggml.tokens"]
    assert (kind, count) == (api.lib.PE_META_ARRAY, 49152)
    api.ok(api.lib.pe_model_meta_item(model, index, 1, meta))
    assert api.ffi.buffer(meta.string, meta.string_size)[:] == b"<|im_start|>"
    assert api.lib.pe_model_meta_item(model, index, 49152, meta) == api.lib.PE_ERR_ARG
    assert api.lib.pe_model_meta(model, len(seen), meta) == api.lib.PE_ERR_ARG

    tensor, total = api.ffi.new("pe_tensor_info *"), 0
    count = api.lib.pe_model_tensor_count(model)
    for index in range(count):
        api.ok(api.lib.pe_model_tensor(model, index, tensor))
        assert tensor.offset + tensor.size <= info.file_size
        total += int(np.prod(list(tensor.dims[0 : tensor.n_dims])))
    assert total == info.n_params
    assert api.lib.pe_model_tensor(model, count, tensor) == api.lib.PE_ERR_ARG


def test_open_from_memory_gives_the_same_logits(api: Api, model: Any, smollm2: pathlib.Path) -> None:
    size = smollm2.stat().st_size
    room = np.empty(size + 64, np.uint8)
    start = -room.ctypes.data % 64
    room[start : start + size] = np.fromfile(smollm2, np.uint8)
    out = api.ffi.new("pe_model **")
    api.ok(api.lib.pe_model_open_memory(api.ffi.from_buffer(room) + start, size, out))
    ids = api.tokenize(model, PROMPT)
    assert api.tokenize(out[0], PROMPT) == ids
    assert np.array_equal(api.eval(api.session(out[0]), ids), api.eval(api.session(model), ids))
    api.lib.pe_model_release(out[0])


def test_session_keeps_a_released_model_alive(api: Api, model: Any, smollm2: pathlib.Path) -> None:
    other = api.open(smollm2)
    session = api.session(other)
    api.lib.pe_model_release(other)
    ids = api.tokenize(model, PROMPT)
    assert np.array_equal(api.eval(session, ids), api.eval(api.session(model), ids))


# ---- text --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [PROMPT, b"", b"\x00\x80\xe2( caf\xc3\xa9 \xf0\x9f\x98\x80\n", b"a" * 3000])
def test_text_there_and_back(api: Api, model: Any, text: bytes) -> None:
    ids = api.tokenize(model, text, 0)
    count = api.ffi.new("size_t *")
    api.ok(api.lib.pe_detokenize(model, ids, len(ids), False, api.ffi.NULL, 0, count))
    assert count[0] == len(text)
    room = api.ffi.new("char[]", len(text) + 1)
    api.ok(api.lib.pe_detokenize(model, ids, len(ids), False, room, len(room), count))
    assert api.ffi.buffer(room, count[0])[:] == text


def test_short_room_gets_the_whole_count(api: Api, model: Any) -> None:
    ids, count = api.ffi.new("int32_t[2]"), api.ffi.new("size_t *")
    whole = api.tokenize(model, PROMPT)
    api.ok(api.lib.pe_tokenize(model, PROMPT, len(PROMPT), SPECIAL, ids, 2, count))
    assert count[0] == len(whole) and list(ids) == whole[:2]


def test_special_tokens_only_on_request(api: Api, model: Any) -> None:
    text = b"<|im_start|>"
    parsed = api.tokenize(model, text, PARSE)
    assert len(parsed) == 1 and len(api.tokenize(model, text, 0)) > 1
    assert api.lib.pe_token_attributes(model, parsed[0]) & api.lib.PE_TOKEN_CONTROL
    end = api.tokenize(model, b"<|im_end|>", PARSE)[0]
    assert api.lib.pe_token_attributes(model, end) & api.lib.PE_TOKEN_END
    assert api.lib.pe_token_attributes(model, -1) == api.lib.pe_token_attributes(model, 1 << 30) == 0
    data, size = api.ffi.new("char **"), api.ffi.new("size_t *")
    api.ok(api.lib.pe_token_bytes(model, parsed[0], data, size))
    assert api.ffi.buffer(data[0], size[0])[:] == text
    assert api.lib.pe_token_bytes(model, 49152, data, size) == api.lib.PE_ERR_ARG


# ---- session -----------------------------------------------------------------------------------------------


def test_one_call_or_many_give_the_same_bits(api: Api, model: Any) -> None:
    ids = api.tokenize(model, PROMPT * 3)
    together = api.eval(api.session(model), ids)
    assert np.isfinite(together).all()
    alone = api.session(model)
    for index, token in enumerate(ids):
        assert np.array_equal(api.eval(alone, [token])[0], together[index]), index
    assert api.lib.pe_session_position(alone) == len(ids)
    assert list(api.lib.pe_session_tokens(alone)[0 : len(ids)]) == ids


def test_thread_counts_give_the_same_bits(api: Api, model: Any) -> None:
    ids = api.tokenize(model, PROMPT)
    one, three = (api.session(model, n_threads=count) for count in (1, 3))
    assert api.lib.pe_session_threads(three) == 3
    assert np.array_equal(api.eval(one, ids), api.eval(three, ids))


def test_rows_of_logits_on_request(api: Api, model: Any) -> None:
    ids = api.tokenize(model, PROMPT)
    every = api.eval(api.session(model), ids)
    assert np.array_equal(api.eval(api.session(model), ids, len(ids) - 1), every[-1:])
    silent = api.session(model)
    api.eval(silent, ids, len(ids))
    assert api.lib.pe_session_position(silent) == len(ids)


def test_wrong_input_leaves_the_session_as_it_was(api: Api, model: Any) -> None:
    lib, session = api.lib, api.session(model, n_ctx=16)
    ids = api.tokenize(model, PROMPT)
    api.eval(session, ids)
    null = api.ffi.NULL
    for bad in (-1, 49152, 2**31 - 1):
        api.fails(lib.PE_ERR_ARG, lib.pe_session_eval(session, [bad], 1, 1, null), str(bad))
    api.fails(
        lib.PE_ERR_CONTEXT, lib.pe_session_eval(session, ids * 4, len(ids) * 4, len(ids) * 4, null), "16"
    )
    assert lib.pe_session_eval(session, ids, len(ids), len(ids) + 1, null) == lib.PE_ERR_ARG
    assert lib.pe_session_rewind(session, len(ids) + 1) == lib.PE_ERR_ARG
    assert lib.pe_session_position(session) == len(ids)
    assert np.array_equal(api.eval(session, ids[:1]), api.eval(api.session(model), [*ids, ids[0]], len(ids)))


def test_wrong_session_options(api: Api, model: Any) -> None:
    out = api.ffi.new("pe_session **")
    for options in ({"kv_type": b"f99"}, {"isa": b"none"}, {"n_threads": -1}, {"n_threads": 100000}):
        kept = {
            key: api.ffi.new("char[]", value) if isinstance(value, bytes) else value
            for key, value in options.items()
        }
        status = api.lib.pe_session_create(model, api.ffi.new("pe_session_options *", kept), out)
        assert status in (api.lib.PE_ERR_ARG, api.lib.PE_ERR_UNSUPPORTED), options
        assert api.message() and out[0] == api.ffi.NULL


def test_memory_limit(api: Api, model: Any) -> None:
    lib, out = api.lib, api.ffi.new("pe_session **")
    need = lib.pe_model_session_bytes(model, 256, api.ffi.NULL)
    assert 0 < need < lib.pe_model_session_bytes(model, 2048, api.ffi.NULL)
    small = api.ffi.new("pe_session_options *", {"n_ctx": 256, "memory_limit": 4096})
    status = lib.pe_session_create(model, small, out)
    if status == lib.PE_OK:  # memory is taken on use: then the first evaluation has to refuse
        session = api.ffi.gc(out[0], lib.pe_session_release)
        status = lib.pe_session_eval(session, [1], 1, 1, api.ffi.NULL)
        assert lib.pe_session_position(session) == 0
    assert status == lib.PE_ERR_NOMEM and "4096" in api.message()
    session = api.session(model)
    api.eval(session, api.tokenize(model, PROMPT))
    assert 0 < lib.pe_session_bytes(session) <= need


def test_rewind_fork_save_and_load(api: Api, model: Any, tmp_path: pathlib.Path) -> None:
    lib, session = api.lib, api.session(model)
    ids = api.tokenize(model, PROMPT * 20)  # more than one page of the cache
    expected = api.eval(session, ids)
    api.ok(lib.pe_session_rewind(session, 70))
    assert np.array_equal(api.eval(session, ids[70:]), expected[70:])

    out = api.ffi.new("pe_session **")
    api.ok(lib.pe_session_fork(session, out))
    fork = api.ffi.gc(out[0], lib.pe_session_release)
    following = api.eval(fork, [504])
    assert lib.pe_session_position(session) == len(ids)
    path = str(tmp_path / "state").encode()
    api.ok(lib.pe_session_save(session, path))
    assert np.array_equal(api.eval(session, [504]), following)

    other = api.session(model)
    api.ok(lib.pe_session_load(other, path))
    assert list(lib.pe_session_tokens(other)[0 : len(ids)]) == ids
    assert np.array_equal(api.eval(other, [504]), following)

    (tmp_path / "broken").write_bytes((tmp_path / "state").read_bytes()[:-100])
    assert lib.pe_session_load(other, str(tmp_path / "broken").encode()) != lib.PE_OK
    assert lib.pe_session_position(other) == len(ids) + 1 and api.message()


def test_cancel_and_busy(api: Api, model: Any) -> None:
    lib, session = api.lib, api.session(model, n_ctx=2048)
    ids, statuses = api.tokenize(model, PROMPT), []
    lib.pe_session_cancel(session)
    api.fails(lib.PE_ERR_CANCELLED, lib.pe_session_eval(session, ids, len(ids), len(ids), api.ffi.NULL))
    assert lib.pe_session_position(session) == 0

    long = (ids * 400)[:2000]

    def run() -> None:
        status = lib.PE_ERR_BUSY  # this thread may be the second caller as well: then it tries again
        while status == lib.PE_ERR_BUSY:
            status = lib.pe_session_eval(session, long, len(long), len(long), api.ffi.NULL)
        statuses.append(status)

    thread = threading.Thread(target=run)
    thread.start()
    while lib.pe_session_rewind(session, 0) == lib.PE_OK and not statuses:
        pass
    api.fails(lib.PE_ERR_BUSY, lib.pe_session_eval(session, ids, len(ids), len(ids), api.ffi.NULL), "session")
    lib.pe_session_cancel(session)
    thread.join()
    assert statuses == [lib.PE_ERR_CANCELLED]
    api.ok(lib.pe_session_rewind(session, 0))
    assert np.array_equal(api.eval(session, ids), api.eval(api.session(model), ids))


def test_score_is_the_log_softmax_of_the_logits(api: Api, model: Any) -> None:
    ids = api.tokenize(model, PROMPT)
    logits = api.eval(api.session(model), ids).astype(np.float64)
    peak = logits.max(axis=1, keepdims=True)
    logprobs = logits - peak - np.log(np.exp(logits - peak).sum(axis=1, keepdims=True))
    out = api.ffi.new("float[]", len(ids) - 1)
    api.ok(api.lib.pe_session_score(api.session(model), ids, len(ids), 0, out))
    expected = [logprobs[i, ids[i + 1]] for i in range(len(ids) - 1)]
    assert np.allclose(list(out), expected, atol=1e-4)


def test_hidden_rows(api: Api, model: Any) -> None:
    ids = api.tokenize(model, PROMPT)
    out = api.ffi.new("float[]", len(ids) * 576)
    api.ok(api.lib.pe_session_hidden(api.session(model), ids, len(ids), out))
    rows = np.frombuffer(api.ffi.buffer(out), np.float32).reshape(len(ids), 576)
    assert np.isfinite(rows).all() and (np.abs(rows).sum(axis=1) > 0).all()


# ---- sampling ----------------------------------------------------------------------------------------------


def sample(api: Api, sampler: Any, logits: np.ndarray) -> tuple[int, float]:
    token, logprob = api.ffi.new("int32_t *"), api.ffi.new("float *")
    api.ok(
        api.lib.pe_sampler_sample(
            sampler, api.ffi.from_buffer("float[]", logits), logits.size, token, logprob
        )
    )
    return token[0], logprob[0]


def test_greedy_and_its_logprob(api: Api) -> None:
    logits = np.random.default_rng(1).normal(size=1000).astype(np.float32) * 4
    token, logprob = sample(api, api.sampler(temperature=0), logits)
    exact = logits.astype(np.float64)
    assert token == int(logits.argmax())
    assert logprob == pytest.approx(exact[token] - np.log(np.exp(exact).sum()), abs=1e-4)


def test_seed_decides_and_is_told(api: Api) -> None:
    logits = np.zeros(500, np.float32)

    def draw(**options: Any) -> tuple[int, ...]:
        sampler = api.sampler(temperature=1, top_k=0, top_p=1, min_p=0, **options)
        return tuple(sample(api, sampler, logits)[0] for _ in range(20))

    assert draw(seed=7, has_seed=True) == draw(seed=7, has_seed=True) != draw(seed=8, has_seed=True)
    assert draw() != draw()
    fresh = api.sampler()
    assert api.lib.pe_sampler_seed(fresh) != api.lib.pe_sampler_seed(api.sampler())
    assert api.lib.pe_sampler_seed(api.sampler(seed=2**64 - 1, has_seed=True)) == 2**64 - 1


def test_filters_bias_and_penalty(api: Api) -> None:
    logits = np.log(np.array([0.5, 0.25, 0.15, 0.07, 0.03], np.float32))

    def support(**options: Any) -> set[int]:
        free = {"temperature": 1, "top_k": 0, "top_p": 1, "min_p": 0, "seed": 3, "has_seed": True}
        sampler = api.sampler(**{**free, **options})
        return {sample(api, sampler, logits)[0] for _ in range(400)}

    assert support() == {0, 1, 2, 3, 4}
    assert support(top_k=2) == {0, 1}
    assert support(top_p=0.7) == {0, 1}
    assert support(min_p=0.2) == {0, 1, 2}
    bias = api.ffi.new("pe_logit_bias[1]", [{"id": 0, "bias": -np.inf}])
    assert support(bias=bias, n_bias=1) == {1, 2, 3, 4}

    sampler = api.sampler(temperature=0, repeat_penalty=5, repeat_last_n=-1)
    assert sample(api, sampler, logits)[0] == 0
    api.lib.pe_sampler_accept(sampler, 0)
    assert sample(api, sampler, logits)[0] == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [("temperature", -1), ("temperature", float("nan")), ("top_k", -1), ("top_p", 0), ("top_p", 1.5),
     ("min_p", -0.1), ("repeat_penalty", 0), ("repeat_last_n", -2)],
)  # fmt: skip
def test_wrong_sampler_options(api: Api, name: str, value: float) -> None:
    options = api.ffi.new("pe_sampler_options *", api.lib.pe_sampler_defaults())
    setattr(options, name, value)
    out = api.ffi.new("pe_sampler **")
    api.fails(api.lib.PE_ERR_ARG, api.lib.pe_sampler_create(options, out), name)


def test_session_sampling_and_top(api: Api, model: Any) -> None:
    lib, session = api.lib, api.session(model)
    token, logprob = api.ffi.new("int32_t *"), api.ffi.new("float *")
    greedy = api.sampler(temperature=0)
    assert (
        lib.pe_session_sample(session, greedy, token, logprob) == lib.PE_ERR_ARG
    )  # nothing was evaluated yet
    last = api.eval(session, api.tokenize(model, PROMPT))[-1]
    api.ok(lib.pe_session_sample(session, greedy, token, logprob))
    assert token[0] == int(last.argmax())
    ids, logprobs = api.ffi.new("int32_t[5]"), api.ffi.new("float[5]")
    api.ok(lib.pe_session_top(session, 5, ids, logprobs))
    assert list(ids) == list(np.argsort(-last, kind="stable")[:5])
    assert logprobs[0] == pytest.approx(logprob[0], abs=1e-4)
    assert list(logprobs) == sorted(logprobs, reverse=True)
