"""What a start costs: the modules that a command or a call loads; and the quick way of `pyedge generate`:
that it reads arguments as Typer does."""

from __future__ import annotations

import inspect
import io
import os
import subprocess
import sys
from typing import Any

import ggufmake
import pytest

from pyedge.cli import generate

# Each takes longer to import than the rest of the start.
HEAVY = {"numpy", "typer", "click", "pydantic", "rich", "jinja2", "huggingface_hub"}
HEAVY |= {"asyncio", "email", "http", "importlib.metadata", "inspect", "dataclasses", "subprocess", "hashlib"}

TEMPLATE = "{% for message in messages %}{{ message['content'] }}{% endfor %}"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    path = tmp_path_factory.mktemp("start") / "tiny.gguf"
    path.write_bytes(ggufmake.tiny_llama(keys={"tokenizer.chat_template": ggufmake.text(TEMPLATE)}))
    return path


def loaded(code: str, *arguments: Any) -> set[str]:
    """The modules that are loaded after this code, in a process of its own."""
    code += "\nprint('\\n' + ' '.join(sys.modules))"
    command = [sys.executable, "-c", "import sys\n" + code, *map(str, arguments)]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd=os.sep, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


def loaded_by_command(*arguments: Any) -> set[str]:
    return loaded("from pyedge.cli import run\nassert run() == 0", *arguments)


# ---- modules -----------------------------------------------------------------------------------------------


def test_import_loads_next_to_nothing():
    assert not loaded("import pyedge") & (HEAVY | {"pathlib", "json", "pyedge._core"})


def test_raw_generation_loads_nothing_heavy(tiny):
    assert not loaded_by_command("generate", "Hi", "-m", tiny, "-n", "2", "--raw") & HEAVY


def test_a_template_loads_jinja_and_nothing_else(tiny):
    modules = loaded_by_command("generate", "Hi", "-m", tiny, "-n", "2", "--json")
    assert "jinja2" in modules
    assert not modules & {"numpy", "typer", "pydantic", "rich", "asyncio"}


def test_python_doors_load_numpy_for_arrays_only(tiny):
    code = """
import pyedge
with pyedge.Model(sys.argv[1]) as model:
    ids = model.tokenize("Hi there")
    model.detokenize(ids)
    model.generate(ids, max_tokens=2, logprobs=2, temperature=0)
    list(model.stream("Hi", max_tokens=2, raw=True, repeat_penalty=1.1))
    model.session().generate(ids, max_tokens=2)
    before = set(sys.modules)
    assert model.logits(ids).shape == (len(ids), model.vocab_size)
    assert model.generate(__import__("numpy").array(ids), max_tokens=1, raw=True).tokens
assert "numpy" not in before and "jinja2" not in before, sorted(before)
"""
    assert "numpy" in loaded(code, tiny)


def test_a_command_loads_its_own_group():
    modules = loaded_by_command("list")
    assert not modules & {"numpy", "jinja2", "rich", "pyedge.fetch", "pyedge.model"}
    own = {"__init__", "app", "common", "models", "terminal"}
    assert {name for name in modules if name.startswith("pyedge.cli.")} <= {f"pyedge.cli.{n}" for n in own}


# ---- the quick way -----------------------------------------------------------------------------------------


def parameters(**values: Any) -> dict[str, Any]:
    bound = inspect.signature(generate.generate).bind(**values)
    bound.apply_defaults()
    return {**bound.arguments, "stop": list(bound.arguments["stop"] or ())}


def by_typer(monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> dict[str, Any]:
    from pyedge.cli import answer
    from pyedge.cli.app import build

    seen: list[dict[str, Any]] = []
    monkeypatch.setattr(answer, "answer", lambda prompt, **values: seen.append({"prompt": prompt, **values}))
    build(["generate"])(["generate", *arguments], standalone_mode=False)
    return parameters(**seen[0])


@pytest.mark.parametrize(
    "arguments",
    [
        ["Why?"],
        [],
        ["-"],
        [""],
        ["a b", "-m", "x.gguf", "-n", "1", "-c", "512", "-t", "2", "--raw"],
        ["-n", "007", "a", "--max-tokens", "3"],
        ["--model", "x", "--temp", "0", "--top-k", "1", "--top-p", "0.50", "--min-p", "0", "a"],
        ["a", "--repeat-penalty", "1.1", "--seed", "999999999999999999", "--context", "7", "--threads", "3"],
        ["a", "--stop", "x", "--stop", "", "--stop", "y z", "--json"],
        ["a", "--memory-limit", "64M"],
        ["a", "--memory-limit", "67108864"],
        ["a", "--no-lookup"],
        ["a", "--no-lookup", "--lookup"],
    ],
)
def test_reads_as_typer_does(arguments, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO())  # no terminal
    values = generate.parsed(arguments)
    assert values is not None
    assert parameters(**values) == by_typer(monkeypatch, arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        ["-h"],
        ["a", "--help"],
        ["a", "b"],
        ["a", "--frobnicate"],
        ["a", "--max-tokens=3"],
        ["a", "-n3"],
        ["a", "-n", "many"],
        ["a", "-n", "-1"],
        ["a", "-n", "٣"],
        ["a", "--memory-limit", "64MB"],
        ["a", "--memory-limit", "0"],
        ["a", "--temp", "nan"],
        ["a", "--temp", "1e1"],
        ["a", "-n"],
        ["a", "--stop", "-x"],
        ["--", "-a"],
    ],
)
def test_leaves_the_rest_to_typer(arguments):
    assert generate.parsed(arguments) is None


def test_knows_every_option():
    """One that only Typer knows makes a slow start; one that Typer does not know would be no option."""
    import typer

    from pyedge.cli.app import build

    command: Any = typer.main.get_command(build(["generate"]))
    declared = {
        spelling: parameter.name
        for parameter in command.commands["generate"].params
        if parameter.param_type_name == "option" and parameter.name != "help"
        for spelling in (*parameter.opts, *parameter.secondary_opts)
    }
    assert {spelling: option.name for spelling, option in generate.OPTIONS.items()} == declared
