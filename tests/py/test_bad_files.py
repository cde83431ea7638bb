"""Files that break the rules of GGUF, each in one place: refused with a sentence that helps.

Every case is one mistake in a file that opens without it. What counts is that the message names the file
and the offset, key or tensor; the process lives; and nothing is taken for valid that evaluation could trip
over.
"""

from __future__ import annotations

import os
import pathlib
import random
import struct
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import ggufmake as gm
import numpy as np
import pytest
from ggufmake import Tensor, Value
from refusal import NAME, on_disk, opened, path_refused, refused

import pyedge

HUGE = 2**64 - 1
NORM = "blk.0.attn_norm.weight"


# ---- controls: the same files without the mistake ----------------------------------------------------------


@pytest.mark.parametrize("vocab", ["bpe", "spm"])
@pytest.mark.parametrize("version", [2, 3])
def test_control_opens(vocab: str, version: int) -> None:
    file = gm.tiny_llama_file(vocab=vocab)
    file.version = version
    with opened(file.to_bytes()) as model:
        assert model.arch == "llama"
        assert model.vocab_size == gm.N_VOCAB[vocab]
        ids = model.tokenize("the and <x>\x00é")
        assert model.detokenize(ids, skip_special=True).strip() == "the and <x>\x00é"
        assert model.logits(ids).shape == (len(ids), model.vocab_size)


PLAIN_TYPES = {
    "I8": (24, "<i1"),
    "I16": (25, "<i2"),
    "I32": (26, "<i4"),
    "I64": (27, "<i8"),
    "F64": (28, "<f8"),
}


@pytest.mark.parametrize("name", PLAIN_TYPES)
def test_control_plain_types(name: str) -> None:
    """Embeddings, matrices and norms of such a type give the logits of the same numbers as floats."""
    kind, dtype = PLAIN_TYPES[name]
    file = gm.tiny_llama_file()
    floats, others = [], []
    for tensor_name, tensor in file.tensors:
        numbers = np.rint(np.frombuffer(tensor.data, "<f4") * 30)
        floats.append((tensor_name, Tensor(tensor.dims, numbers.astype("<f4").tobytes())))
        others.append((tensor_name, Tensor(tensor.dims, numbers.astype(dtype).tobytes(), kind)))
    with (
        opened(replace(file, tensors=floats).to_bytes()) as expected,
        opened(replace(file, tensors=others).to_bytes()) as model,
    ):
        ids = model.tokenize("the and an")
        assert np.isfinite(model.logits(ids)).all()
        assert (model.logits(ids) == expected.logits(ids)).all()


def test_control_alignment() -> None:
    for alignment in (8, 64, 4096):
        file = gm.tiny_llama_file(keys={"general.alignment": gm.u32(alignment)})
        file.alignment = alignment
        opened(file.to_bytes()).close()


# ---- the file as the system sees it ------------------------------------------------------------------------


def test_empty() -> None:
    refused(b"", r"empty \(0 bytes\)")


def test_missing(tmp_path: pathlib.Path) -> None:
    path_refused(tmp_path / "absent.gguf", r"(?i)no such file|not found|does not exist|no model")


def test_directory(tmp_path: pathlib.Path) -> None:
    folder = tmp_path / "folder.gguf"
    folder.mkdir()
    path_refused(folder, r"is a (directory|folder)")


@pytest.mark.skipif(sys.platform == "win32", reason="pipes have no path there")
def test_pipe(tmp_path: pathlib.Path) -> None:
    """Opening must not wait for a writer."""
    pipe = tmp_path / "pipe.gguf"
    os.mkfifo(pipe)
    path_refused(pipe, r"regular file")


@contextmanager
def as_nobody() -> Iterator[None]:
    """Root may read everything: give that up for a moment."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.skipif(sys.platform == "win32", reason="permissions work differently there")
def test_no_permission() -> None:
    opened(gm.tiny_llama()).close()  # whatever is imported late is imported with permission
    with on_disk(gm.tiny_llama()) as path:
        path.parent.chmod(0o755)
        path.chmod(0)
        with as_nobody():
            path_refused(path, r"(?i)permission")


# ---- header ------------------------------------------------------------------------------------------------

HEADER_CASES = {
    "other magic": (lambda f: setattr(f, "magic", b"GGML"), r"offset 0: .*47 47 55 46 .*47 47 4d 4c"),
    "zip": (lambda f: setattr(f, "magic", b"PK\x03\x04"), r"offset 0: .*ZIP"),
    "web page": (lambda f: setattr(f, "magic", b"<!DO"), r"offset 0: .*web page"),
    "version 0": (lambda f: setattr(f, "version", 0), r"offset 4: .*version 0 .*2 and 3"),
    "version 1": (lambda f: setattr(f, "version", 1), r"offset 4: .*version 1 .*version 3"),
    "big-endian": (lambda f: setattr(f, "version", 3 << 24), r"offset 4: .*big-endian"),
    "big-endian magic": (lambda f: setattr(f, "magic", b"FUGG"), r"offset 0: .*big-endian"),
    "2^64-1 tensors": (lambda f: setattr(f, "n_tensors", HUGE), rf"offset 8: {HUGE} tensors"),
    "2^63 tensors": (lambda f: setattr(f, "n_tensors", 2**63), rf"offset 8: {2**63} tensors"),
    "2^64-1 keys": (lambda f: setattr(f, "n_keys", HUGE), rf"offset 16: {HUGE} keys"),
    "one key too many": (lambda f: setattr(f, "n_keys", len(f.keys) + 1), r": offset \d+: "),
    "one tensor too many": (lambda f: setattr(f, "n_tensors", len(f.tensors) + 1), r"tensor \d+ of \d+"),
}


@pytest.mark.parametrize("case", HEADER_CASES)
def test_header(case: str) -> None:
    change, pattern = HEADER_CASES[case]
    file = gm.tiny_llama_file()
    change(file)
    refused(file.to_bytes(), pattern)


def test_later_version() -> None:
    file = gm.tiny_llama_file()
    file.version = 4
    refused(file.to_bytes(), r"offset 4: .*version 4 .*2 and 3", pyedge.UnsupportedError)


def test_lfs_pointer() -> None:
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0000\nsize 98362432\n"
    refused(pointer, r"Git LFS pointer")


# ---- cut short ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("section", ["header", "metadata", "directory", "padding", "data"])
def test_cut_short(section: str) -> None:
    file = gm.tiny_llama_file(keys={"general.name": gm.text("pad me")})
    begin, end = file.sections()[section]
    while begin == end:  # make the padding longer than nothing
        file = gm.with_key(file, "general.url", gm.text("."))
        begin, end = file.sections()[section]
    data = file.to_bytes()
    cuts = {begin, begin + 1, (begin + end) // 2, end - 1} - {0}
    for cut in sorted(cuts):
        refused(data[:cut], r"cut short|damaged")


def test_every_kind_of_cut() -> None:
    """Each prefix of the directory ends inside some field: all of them are refused."""
    file = gm.tiny_llama_file(n_layer=1, n_embd=8, n_ff=8, n_head=1, n_head_kv=1)
    data = file.to_bytes()
    end = file.sections()["directory"][1]
    cuts = [*range(1, 400), *range(400, end, 61), *range(end - 200, end)]
    for cut in cuts:
        refused(data[:cut], r"cut short|damaged")


# ---- metadata ----------------------------------------------------------------------------------------------


def head(kind: int, *rest: int) -> Value:
    """Type and length fields without what they promise."""
    return Value(struct.pack("<I", kind) + b"".join(struct.pack("<Q", word) for word in rest))


def array(kind: int, count: int, data: bytes = b"") -> Value:
    return Value(struct.pack("<IIQ", gm.ARRAY, kind, count) + data)


VALUE_CASES = {
    "string length 2^64-1": (head(gm.STRING, HUGE), rf"key 'x': offset \d+: .*{HUGE} bytes"),
    "string length 2^63": (head(gm.STRING, 2**63), rf"key 'x': offset \d+: .*{2**63} bytes"),
    "array of 2^64-1 bytes": (array(gm.U8, HUGE), rf"key 'x': offset \d+: {HUGE} array items"),
    "array whose size overflows": (
        array(gm.U64, 2**61 + 1),
        rf"key 'x': offset \d+: {2**61 + 1} array items",
    ),
    "array of 2^64-1 strings": (array(gm.STRING, HUGE), rf"key 'x': offset \d+: {HUGE} array items"),
    "string in array 2^64-1": (
        array(gm.STRING, 2, gm.string("") + gm.string("", HUGE)),
        r"key 'x': item 1: ",
    ),
    "unknown type": (head(13), r"key 'x': offset \d+: value type 13 is unknown"),
    "type 2^32-1": (head(2**32 - 1), r"key 'x': offset \d+: value type 4294967295 is unknown"),
    "unknown item type": (array(13, 0), r"key 'x': offset \d+: value type 13 is unknown"),
    "boolean 2": (Value(struct.pack("<IB", gm.BOOL, 2)), r"key 'x': offset \d+: a boolean has the value 2"),
    "boolean 255 in array": (
        array(gm.BOOL, 3, b"\0\1\xff"),
        r"key 'x': offset \d+: a boolean has the value 255",
    ),
}


@pytest.mark.parametrize("case", VALUE_CASES)
def test_value(case: str) -> None:
    value, pattern = VALUE_CASES[case]
    refused(gm.tiny_llama(keys={"x": value}), pattern)


def test_nested_array() -> None:
    value = array(gm.ARRAY, 1, struct.pack("<IQ", gm.U8, 0))
    refused(gm.tiny_llama(keys={"x": value}), r"key 'x': .*arrays of arrays", pyedge.UnsupportedError)


KEY_CASES = {
    "empty": (b"", r"key \d+ of \d+: offset \d+: .*empty"),
    "with NUL": (b"a\0b", r"key \d+ of \d+: offset \d+: .*NUL"),
    "65536 bytes": (b"k" * 65536, r"key \d+ of \d+: offset \d+: .*65536 bytes long; at most 65535"),
    "doubled": (b"general.architecture", r"key 'general\.architecture' is there twice"),
    "doubled vocabulary": (b"tokenizer.ggml.tokens", r"key 'tokenizer\.ggml\.tokens' is there twice"),
}


@pytest.mark.parametrize("case", KEY_CASES)
def test_key(case: str) -> None:
    key, pattern = KEY_CASES[case]
    refused(gm.with_key(gm.tiny_llama_file(), key, gm.u32(1)).to_bytes(), pattern)


def test_message_is_printable() -> None:
    """A key name goes into the message: it must not steer the terminal or break the decoding."""
    name = b"\x1b[31m\xff\xc3\x28\n"
    data = gm.with_key(gm.tiny_llama_file(), name, head(13)).to_bytes()
    refused(data, r"key '\?\[31m")


@pytest.mark.parametrize("alignment", [0, 1, 4, 24, 33, 2**21, 2**31, 2**32 - 1])
def test_alignment(alignment: int) -> None:
    value = {"general.alignment": gm.u32(alignment)}
    refused(gm.tiny_llama(keys=value), rf"'general\.alignment' is {alignment}; .*power of two")


def test_alignment_type() -> None:
    refused(
        gm.tiny_llama(keys={"general.alignment": gm.text("32")}),
        r"'general\.alignment' has type string",
    )


# ---- tensors -----------------------------------------------------------------------------------------------

GOOD = Tensor.zeros((64,))
TENSOR_CASES = {
    "no dimensions": (Tensor((), b""), r"0 dimensions; a tensor has 1 to 4"),
    "five dimensions": (Tensor((1, 1, 1, 1, 1), bytes(4)), r"5 dimensions; a tensor has 1 to 4"),
    "2^32-1 dimensions": (Tensor((64,), bytes(256), n_dims=2**32 - 1), r"4294967295 dimensions"),
    "a dimension of zero": (Tensor((64, 0), b""), r"dimension 2 of 2 is 0"),
    "product overflows": (Tensor((2**32, 2**32), b""), r"4294967296 x 4294967296 .*product"),
    "product overflows to the truth": (Tensor((64, 2**58 + 1), bytes(256)), r"product"),
    "bytes overflow": (Tensor((2**62,), b""), r"bytes|past|large"),
    "unknown type": (Tensor((64,), bytes(256), kind=99), r"type 99"),
    "removed type": (Tensor((64,), bytes(256), kind=4), r"type 4\b"),
    "type 2^32-1": (Tensor((64,), bytes(256), kind=2**32 - 1), r"type 4294967295"),
    "row not whole blocks": (Tensor((65,), bytes(72), kind=gm.GGML_Q4_0), r"type 2 .*65 elements"),
    "offset misaligned": (
        Tensor((64,), bytes(256), offset=4),
        r"data offset 4 is misaligned; .*multiple of 32",
    ),
    "offset past the end": (
        Tensor((64,), bytes(256), offset=2**30),
        r"data offset 1073741824 .*past the end",
    ),
    "offset overflows": (
        Tensor((64,), bytes(256), offset=2**64 - 32),
        r"data offset 18446744073709551584 .*past",
    ),
    "inside another": (Tensor((64,), bytes(256), offset=32), r"overlap"),
    "the same bytes": (Tensor((64,), bytes(256), offset=0), r"overlap"),
}


@pytest.mark.parametrize("case", TENSOR_CASES)
def test_tensor(case: str) -> None:
    tensor, pattern = TENSOR_CASES[case]
    data = gm.tiny_llama(tensors={NORM: tensor})
    refused(data, pattern)
    refused(data, r"tensor 'blk\.0\.attn_norm\.weight'")


NAME_CASES = {
    "empty": (b"", r"tensor \d+ of \d+: offset \d+: .*empty"),
    "with NUL": (b"a\0", r"tensor \d+ of \d+: offset \d+: .*NUL"),
    "doubled": (NORM.encode(), r"tensor 'blk\.0\.attn_norm\.weight' is there twice"),
}


@pytest.mark.parametrize("case", NAME_CASES)
def test_tensor_name(case: str) -> None:
    name, pattern = NAME_CASES[case]
    refused(gm.with_tensor(gm.tiny_llama_file(), name, GOOD).to_bytes(), pattern)


def test_tensor_name_length() -> None:
    file = gm.with_tensor(gm.tiny_llama_file(), "n", GOOD)
    data = file.to_bytes()
    at = data.rindex(gm.string("n"))
    refused(
        data[:at] + struct.pack("<Q", HUGE) + data[at + 8 :],
        rf"tensor \d+ of \d+: offset {at}: .*{HUGE}",
    )


# ---- models in several files -------------------------------------------------------------------------------


def part_files(folder: pathlib.Path, parts: Sequence[gm.Gguf], n_named: int = 3) -> pathlib.Path:
    """The parts under their names; the path of the first."""
    paths = [folder / name for name in gm.part_names("tiny", n_named)]
    for path, part in zip(paths, parts, strict=False):
        path.write_bytes(part.to_bytes())
    return paths[0]


def with_number(file: gm.Gguf, key: str, value: Value) -> gm.Gguf:
    return replace(file, keys=[(name, value if name == key else old) for name, old in file.keys])


def test_control_parts(tmp_path: pathlib.Path) -> None:
    """The same logits as from one file, and the size of all files; a count of one changes nothing."""
    whole = gm.tiny_llama_file()
    first = part_files(tmp_path, gm.split(whole, 3))
    single = part_files(tmp_path, gm.split(whole, 1), 1)
    with opened(whole.to_bytes()) as model, pyedge.Model(first) as parts, pyedge.Model(single) as one:
        ids = model.tokenize("the and an")
        assert (model.logits(ids) == parts.logits(ids)).all()
        assert (model.logits(ids) == one.logits(ids)).all()
        assert parts.file_size == sum(path.stat().st_size for path in tmp_path.glob("*-of-00003.gguf"))
        assert parts.n_params == model.n_params


def wrong_part(no: int, key: str, value: Value) -> Callable[[list[gm.Gguf]], None]:
    def change(parts: list[gm.Gguf]) -> None:
        parts[no] = with_number(parts[no], key, value)

    return change


def repeated_tensor(parts: list[gm.Gguf]) -> None:
    parts[2] = replace(parts[2], tensors=[*parts[2].tensors, parts[1].tensors[0]])


PART_CASES = {
    "missing": (lambda parts: parts.pop(), r"part 3 of 3: .*00003-of-00003\.gguf.*[Nn]o such file"),
    "in another order": (lambda parts: parts.insert(1, parts.pop()), r"part 2 of 3, .*says .* part 3 of 3"),
    "of more": (wrong_part(1, "split.count", gm.u32(4)), r"part 2 of 3, .*says .* part 2 of 4"),
    "no part at all": (lambda parts: parts.insert(1, gm.tiny_llama_file()), r"part 2 of 3, .* part 1 of 1"),
    "number past the count": (
        wrong_part(1, "split.no", gm.u32(3)),
        r"'split\.no' is 3, but 'split\.count' is 3",
    ),
    "number of another type": (wrong_part(1, "split.no", gm.text("1")), r"'split\.no' has type string"),
    "tensors are missing": (
        wrong_part(0, "split.tensors.count", gm.u32(99)),
        r"\d+ tensors together, but 'split\.tensors\.count' is 99",
    ),
    "tensor in two parts": (repeated_tensor, r"tensor '.*' is there twice"),
    "other first name": (
        wrong_part(0, "split.count", gm.u32(2)),
        r"first of 2 parts.*'-00001-of-00002\.gguf'",
    ),
    "too many": (wrong_part(0, "split.count", gm.u32(65536)), r"'split\.count' is 65536; at most 65535"),
    "second opened": (wrong_part(0, "split.no", gm.u32(1)), r"part 2 of 3; open the first"),
}


@pytest.mark.parametrize("case", PART_CASES)
def test_parts(case: str, tmp_path: pathlib.Path) -> None:
    change, pattern = PART_CASES[case]
    parts = gm.split(gm.tiny_llama_file(), 3)
    change(parts)
    kind = pyedge.Error if case == "missing" else pyedge.ModelFileError
    path_refused(part_files(tmp_path, parts), pattern, kind)


def test_part_cut_short(tmp_path: pathlib.Path) -> None:
    first = part_files(tmp_path, gm.split(gm.tiny_llama_file(), 3))
    second = tmp_path / gm.part_names("tiny", 3)[1]
    second.write_bytes(second.read_bytes()[:-100])
    path_refused(first, r"part 2 of 3, .*cut short")


# ---- at random ---------------------------------------------------------------------------------------------


def test_random_damage() -> None:
    """Bytes changed anywhere in the directory: the file opens, or is refused with a reason; nothing else."""
    file = gm.tiny_llama_file(n_layer=1, n_embd=8, n_ff=8, n_head=1, n_head_kv=1)
    whole, end = file.to_bytes(), file.sections()["directory"][1]
    rng = random.Random(1)
    for _ in range(400):
        data = bytearray(whole)
        for _ in range(rng.choice((1, 1, 2, 8))):
            data[rng.randrange(end)] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
        try:
            opened(bytes(data)).close()
        except pyedge.Error as error:
            assert NAME in str(error)
