"""LoRA adapters through the Python door: against references of other engines, and against merged weights."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import arch_models as am
import loramake as lm
import numpy as np
import pytest

import pyedge
from pyedge import _core

IDS = [5, 17, 200, 3, 3, 91, 270, 0, 44, 12, 8, 150]
NEKO, PIRATE = "neko", "pirate"

# ---- references --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real(smollm2: pathlib.Path, refs: pathlib.Path) -> Iterator[pyedge.Model]:
    with pyedge.Model(smollm2, kv_type="f32") as m:
        for name in (NEKO, PIRATE):
            m.load_lora(refs / "lora" / "adapters" / name)
            m.load_lora(refs / "lora" / "adapters" / f"{name}.gguf", f"{name}.gguf")
        yield m


@pytest.mark.parametrize("form", ["", ".gguf"])
@pytest.mark.parametrize("run", ["neko@1", "neko@0.5", "pirate@1"])
def test_references(real: pyedge.Model, refs: pathlib.Path, run: str, form: str) -> None:
    """transformers and peft, in float32 on the dequantised weights: the same text, nearly the same logits."""
    cases = json.loads((refs / "lora" / "references.json").read_text(encoding="utf-8"))
    with np.load(refs / "lora" / "logits_transformers.npz") as logits:
        for prompt, case in cases["results"][run].items():
            ids = cases["prompts"][prompt]["ids"]
            lora = {item["name"] + form: item["scale"] for item in case["adapters"]}
            ours = real.logits(ids, lora=lora)[-1]
            assert np.abs(ours - logits[f"{run}/{prompt}"]).max() < 0.03
            tokens = real.generate(ids, lora=lora, temperature=0, max_tokens=cases["n_max"]).tokens
            expected = [id for id in case["transformers"]["ids"] if id != cases["eos"]]
            assert tokens == expected


def test_formats_agree(real: pyedge.Model) -> None:
    ids = real.tokenize("What is the capital of Germany?")
    for name in (NEKO, PIRATE):
        folder, gguf = real.logits(ids, lora=name), real.logits(ids, lora=f"{name}.gguf")
        np.testing.assert_array_equal(folder.view(np.uint32), gguf.view(np.uint32))
    assert real.loras[NEKO].format == "PEFT" and real.loras[f"{NEKO}.gguf"].format == "GGUF"
    assert real.loras[NEKO].rank == 8 and real.loras[NEKO].targets == 210


@pytest.mark.parametrize("kind, bound", [("f32", 1e-4), ("q80", 0.5)])
def test_nano_references(refs: pathlib.Path, kind: str, bound: float) -> None:
    folder = refs / "nano"
    cases = json.loads((folder / f"ref_base_{kind}_loraA.json").read_text(encoding="utf-8"))
    with np.load(folder / cases["npz"]) as logits, pyedge.Model(folder / cases["model"], kv_type="f32") as m:
        name = m.load_lora(folder / cases["lora"])
        assert m.loras[name].format == "Nano"
        for i, case in enumerate(cases["prompts"]):
            ours = m.logits(case["prompt_ids"], lora=name)[-1]
            assert np.abs(ours - logits["torch_logits"][i]).max() < bound
            if kind == "f32":  # Nano's engine rounds activations where weights are quantised
                text = m.generate(case["text"], raw=True, lora=name, temperature=0, max_tokens=48)
                assert text.tokens == case["output_ids"][: len(text.tokens)]


EXPECTED_BAD = 43


def test_bad_adapters(real: pyedge.Model, refs: pathlib.Path) -> None:
    """Every broken adapter of the collection is refused by name, and the session goes on as it was."""
    folder = refs / "lora" / "bad"
    cases = json.loads((folder / "EXPECTED.json").read_text(encoding="utf-8"))
    session = real.session(lora=NEKO)
    before = session.eval(IDS)
    bad = 0
    for name in cases:
        if name.startswith("ok_control"):
            real.load_lora(folder / name, name)
            real.unload_lora(name)
            continue
        with pytest.raises(pyedge.AdapterError) as caught:
            real.load_lora(folder / name, name)
        with pytest.raises(pyedge.AdapterError):
            session.set_lora({folder / name: 1.0})
        assert name.split("/")[0] in str(caught.value) and "\n" not in str(caught.value)
        assert name not in real.loras
        bad += 1
    assert bad == EXPECTED_BAD
    assert session.lora == {NEKO: 1.0}
    session.rewind(to=0)
    np.testing.assert_array_equal(session.eval(IDS), before)


# ---- against merged weights --------------------------------------------------------------------------------

ARCHITECTURES = sorted(am.CASES)
ISAS = [name for name, usable, _ in _core.isas() if usable]
EXACT = 2e-4  # float32 rounding, of other sums than the merged weights have


def written(path: pathlib.Path, data: bytes) -> pathlib.Path:
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture(tmp_path: pathlib.Path, name: str) -> None:
    """All matrices, the embeddings and the head, from PEFT and from GGUF: as if they had been merged."""
    adapter, ids = lm.adapter_for(name), am.ids_of(name)
    case = adapter.case
    folder = adapter.save_peft(tmp_path / "peft")
    gguf = adapter.save_gguf(tmp_path / "adapter.gguf")
    merged = written(tmp_path / "merged.gguf", lm.model_file(case, adapter.merged(case.weights(), -0.5)))
    with (
        pyedge.Model(written(tmp_path / "base.gguf", lm.model_file(case)), kv_type="f32") as base,
        pyedge.Model(merged, kv_type="f32") as expected,
    ):
        plain, ours = base.logits(ids), base.logits(ids, lora={folder: -0.5})
        assert np.abs(ours - expected.logits(ids)).max() < EXACT
        assert np.abs(ours - plain).max() > 100 * EXACT
        assert base.logits(ids, lora={gguf: -0.5}).tobytes() == ours.tobytes()


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("lora")
    written(folder / "base.gguf", lm.model_file(am.CASES["llama"]))
    lm.adapter_for("llama", seed=1).save_peft(folder / "one")
    lm.adapter_for("llama", ["attn_q", "ffn_down"], seed=2).save_peft(folder / "two", dtype="F16")
    return folder


@pytest.fixture
def model(llama: pathlib.Path) -> Iterator[pyedge.Model]:
    with pyedge.Model(llama / "base.gguf") as m:
        m.load_lora(llama / "one")
        m.load_lora(llama / "two")
        yield m


def test_several_at_once(llama: pathlib.Path, model: pyedge.Model, tmp_path: pathlib.Path) -> None:
    one, two = (
        lm.adapter_for("llama", seed=1),
        lm.adapter_for("llama", ["attn_q", "ffn_down"], seed=2).rounded("F16"),
    )
    weights = two.merged(one.merged(one.case.weights(), 0.7), -1.5)
    ids = am.ids_of("llama")
    with (
        pyedge.Model(written(tmp_path / "m", lm.model_file(one.case, weights)), kv_type="f32") as merged,
        pyedge.Model(llama / "base.gguf", kv_type="f32") as base,
    ):
        ours = base.logits(ids, lora={llama / "one": 0.7, llama / "two": -1.5})
        assert np.abs(ours - merged.logits(ids)).max() < EXACT
        turned = base.logits(ids, lora={llama / "two": -1.5, llama / "one": 0.7})
        assert turned.tobytes() == ours.tobytes()
        assert base.logits(ids, lora={llama / "one": 0}).tobytes() == base.logits(ids).tobytes()


@pytest.mark.parametrize("isa", ISAS)
def test_bits_depend_on_nothing_else(llama: pathlib.Path, isa: str) -> None:
    """Neither on threads nor on how tokens are grouped."""
    ids, lora = am.ids_of("llama"), {llama / "one": 1.0, llama / "two": 0.3}
    with pyedge.Model(llama / "base.gguf", threads=1, isa=isa) as m:
        whole = m.logits(ids, lora=lora)
        session = m.session(lora)
        for start, end in ((0, 1), (1, 3), (3, 33), (33, 79), (79, 80)):
            assert session.eval(ids[start:end]).tobytes() == whole[end - 1].tobytes()
    for threads in (2, 3):
        with pyedge.Model(llama / "base.gguf", threads=threads, isa=isa) as m:
            assert m.logits(ids, lora=lora).tobytes() == whole.tobytes()


# ---- sessions ----------------------------------------------------------------------------------------------


def fresh(model: pyedge.Model, ids: list[int], lora: Any) -> bytes:
    return model.session(lora).eval(ids).tobytes()


def test_changes_are_as_if_from_the_start(model: pyedge.Model) -> None:
    ids, next_id = am.ids_of("llama")[:40], 7
    session = model.session("one")
    session.eval(ids)
    for lora in ("two", None, "one", {"one": 0.5, "two": -2}, "one"):
        session.set_lora(lora)
        assert session.eval([next_id]).tobytes() == fresh(model, [*ids, next_id], lora)
        session.rewind(1)
    fork = session.fork()
    assert fork.lora == session.lora == {"one": 1.0}
    fork.set_lora("two")
    assert fork.eval([next_id]).tobytes() == fresh(model, [*ids, next_id], "two")
    assert session.eval([next_id]).tobytes() == fresh(model, [*ids, next_id], "one")


def test_what_is_evaluated_anew_is_told(model: pyedge.Model) -> None:
    ids = am.ids_of("llama")[:40]
    session = model.session()
    session.eval(ids)
    timings = session.generate([3], max_tokens=1, temperature=0).timings
    assert timings["reevaluated_tokens"] == 0
    session.set_lora("one")
    session.set_lora(None)  # back before anything was evaluated
    assert session.generate([3], max_tokens=1, temperature=0).timings["reevaluated_tokens"] == 0
    session.set_lora("one")
    held = session.position
    timings = session.generate([3], max_tokens=1, temperature=0).timings
    assert timings["reevaluated_tokens"] == held and timings["reevaluate_seconds"] > 0


def test_an_answer_goes_on_with_the_new_set(model: pyedge.Model) -> None:
    """With no prompt of its own: the last logits are those of the new set as well."""
    ids = am.ids_of("llama")[:20]
    session = model.session()
    session.eval(ids)
    session.set_lora("one")
    went_on = session.generate((), max_tokens=5, temperature=0).tokens
    assert went_on == model.generate(ids, lora="one", max_tokens=5, temperature=0).tokens


def test_a_saved_session_belongs_to_its_adapters(model: pyedge.Model, tmp_path: pathlib.Path) -> None:
    ids = am.ids_of("llama")[:30]
    session = model.session("one")
    session.eval(ids)
    session.save(tmp_path / "saved")
    with pytest.raises(pyedge.Error, match="saved with other adapters"):
        model.session().load(tmp_path / "saved")
    with pytest.raises(pyedge.Error, match="saved with other adapters"):
        model.session({"one": 0.5}).load(tmp_path / "saved")
    other = model.session("one")
    other.load(tmp_path / "saved")
    assert other.eval([5]).tobytes() == fresh(model, [*ids, 5], "one")
    session.set_lora(None)  # and one that is saved after a change is of the new set
    session.save(tmp_path / "saved")
    other = model.session()
    other.load(tmp_path / "saved")
    assert other.eval([5]).tobytes() == fresh(model, [*ids, 5], None)


def test_two_sessions_at_the_same_time(model: pyedge.Model) -> None:
    ids = am.ids_of("llama")
    expected = {lora: fresh(model, ids, lora) for lora in ("one", "two", None)}
    with ThreadPoolExecutor(3) as pool:
        jobs = [(lora, pool.submit(fresh, model, ids, lora)) for lora in (*expected, *expected)]
        for lora, job in jobs:
            assert job.result() == expected[lora]


def test_cancelled_while_evaluating_anew(model: pyedge.Model) -> None:
    ids = am.ids_of("llama")[:40]
    session = model.session("one")
    session.eval(ids)
    session.set_lora("two")
    session.cancel()
    with pytest.raises(pyedge.CancelledError):
        session.eval([9])
    assert session.tokens == ids
    assert session.eval([9]).tobytes() == fresh(model, [*ids, 9], "two")


# ---- names and lives ---------------------------------------------------------------------------------------


def test_names(llama: pathlib.Path, model: pyedge.Model) -> None:
    assert set(model.loras) == {"one", "two"}
    assert model.loras["one"].path == str(llama / "one")
    with pytest.raises(pyedge.AdapterError, match="taken"):
        model.load_lora(llama / "two", "one")
    with pytest.raises(pyedge.AdapterError, match=r"neither a loaded adapter .* loaded are 'one', 'two'"):
        model.generate([1], lora="three")
    with pytest.raises(pyedge.AdapterError, match="neither"):
        model.unload_lora("three")
    session = model.session({"one": 2})
    assert session.lora == {"one": 2.0}
    with pytest.raises(pyedge.AdapterError, match="in use by 1 session"):
        model.unload_lora("one")
    session.set_lora("two")
    model.unload_lora("one")
    assert set(model.loras) == {"two"}
    assert model.session(llama / "two").lora == {"two": 1.0}  # a path that is loaded is not loaded twice
    model.logits([1], lora=llama / "one" / "adapter_model.safetensors")
    assert len(model.loras) == 2


def test_scales(model: pyedge.Model) -> None:
    session = model.session("one")
    for scale in (float("nan"), float("inf")):
        with pytest.raises(pyedge.AdapterError, match="must be finite"):
            session.set_lora({"one": scale})
    with pytest.raises(TypeError, match="must be a number"):
        session.set_lora({"one": "1"})  # type: ignore[dict-item]
    with pytest.raises(TypeError, match="a name, a path, or a dict"):
        session.set_lora(3)  # type: ignore[arg-type]
    assert session.lora == {"one": 1.0}


def test_a_changed_file_is_loaded_anew(model: pyedge.Model, tmp_path: pathlib.Path) -> None:
    folder = lm.adapter_for("llama", seed=5).save_peft(tmp_path / "x")
    before = fresh(model, IDS, folder)
    lm.adapter_for("llama", seed=6).save_peft(tmp_path / "new")
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (tmp_path / "new" / name).replace(folder / name)
    assert fresh(model, IDS, folder) != before


def test_sessions_outlive_the_model(llama: pathlib.Path) -> None:
    model = pyedge.Model(llama / "base.gguf")
    expected = fresh(model, IDS, llama / "one")
    session = model.session(llama / "one")
    model.close()
    assert session.eval(IDS).tobytes() == expected
    with pytest.raises(pyedge.AdapterError, match="closed"):
        session.set_lora(llama / "two")
