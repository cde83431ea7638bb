"""Small machines: little memory, little stack, no /proc, no home, a limit that is kept.

What is measured here is memory, in a process of its own, and never time.
"""

from __future__ import annotations

import json
import os
import pathlib
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping

import ggufmake as gm
import pytest
from test_native import Native, native  # noqa: F401

import pyedge

MIB = 2**20
Limits = Callable[[], None]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    path = tmp_path_factory.mktemp("edge") / "tiny.gguf"
    path.write_bytes(gm.tiny_llama(n_ctx=4096))
    return path


def python(
    code: str, *arguments: object, limits: Limits | None = None, environment: Mapping[str, str] | None = None
):
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=os.sep,
        preexec_fn=limits,
        env={**os.environ, **(environment or {})},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# ---- a limit on memory -------------------------------------------------------------------------------------

GROWTH = """
import sys
import pyedge
def anonymous():
    for line in open("/proc/self/status"):
        if line.startswith("RssAnon:"):
            return 1024 * int(line.split()[1])
path, kv_type = sys.argv[1:3]
context, limit, tokens = map(int, sys.argv[3:6])
model = pyedge.Model(path, context=context, kv_type=kv_type, memory_limit=limit or None)
need = model._core.session_bytes(context, kv_type)
before = anonymous()
session = model.session()
ids = [1 + i % 1000 for i in range(context - tokens)]
session.generate(ids, max_tokens=tokens, temperature=0.8, seed=1, logit_bias={0: -100.0})
print(need, anonymous() - before, session.memory)
"""


@pytest.mark.skipif(not pathlib.Path("/proc/self/status").exists(), reason="memory is read from /proc")
@pytest.mark.parametrize(
    ("context", "kv_type", "tokens"), [(512, "f16", 8), (512, "f32", 40), (2048, "f16", 8)]
)
@pytest.mark.parametrize("model", ["smollm2", "gemma3"])
def test_sessions_take_no_more_than_predicted(
    request: pytest.FixtureRequest, model: str, context: int, kv_type: str, tokens: int
) -> None:
    """A whole context, filled: the process grows by 5 % more than predicted at most, also where the limit
    is just what was predicted."""
    path = request.getfixturevalue(model)
    need, grown, told = map(int, python(GROWTH, path, kv_type, context, 0, tokens).split())
    assert told <= need
    assert grown <= 1.05 * need, f"{grown / MIB:.1f} MiB taken, {need / MIB:.1f} MiB predicted"
    assert grown >= 0.4 * need, "a prediction that is far too high refuses what would fit"
    _, grown, _ = map(int, python(GROWTH, path, kv_type, context, need, tokens).split())
    assert grown <= 1.05 * need


def test_what_would_fit_is_told_and_fits(smollm2: pathlib.Path) -> None:
    with (
        pytest.raises(pyedge.OutOfMemoryError) as caught,
        pyedge.Model(smollm2, context=8192, memory_limit=64 * MIB) as model,
    ):
        model.session()
    message = str(caught.value)
    assert "8192 tokens" in message and str(64 * MIB) in message
    fits = int(message.split("a context of ")[2].split()[0])
    assert 512 <= fits < 8192
    with pyedge.Model(smollm2, context=fits, memory_limit=64 * MIB) as model:
        model.session()
    with (
        pytest.raises(pyedge.OutOfMemoryError, match="would fit"),
        pyedge.Model(smollm2, context=fits + 64, memory_limit=64 * MIB) as model,
    ):
        model.session()
    with (
        pytest.raises(pyedge.OutOfMemoryError, match="the shortest takes"),
        pyedge.Model(smollm2, context=8192, memory_limit=4096) as model,
    ):
        model.session()


ANSWER = """
import sys
import pyedge
print(pyedge.Model(sys.argv[1], context=256).generate("The sky is", max_tokens=8, temperature=0).text)
"""


@pytest.fixture
def memory_group() -> Iterator[tuple[pathlib.Path, str, str]]:
    """A control group, the file of its limit and the file of what it used at most."""
    root = pathlib.Path("/sys/fs/cgroup")
    for base, limit, used in (
        (root, "memory.max", "memory.peak"),
        (root / "memory", "memory.limit_in_bytes", "memory.max_usage_in_bytes"),
    ):
        group = base / f"pyedge-test-{os.getpid()}"
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            if (group / limit).exists() and (group / used).exists():
                yield group, limit, used
                return
        finally:
            group.rmdir()
    pytest.skip("no control group with a limit on memory can be made here")


def test_a_file_larger_than_the_memory(
    smollm2: pathlib.Path, tmp_path: pathlib.Path, memory_group: tuple[pathlib.Path, str, str]
) -> None:
    """Its pages come and go: the same answer, later."""
    group, limit, used = memory_group
    most = 64 * MIB
    model = tmp_path / "model.gguf"
    shutil.copyfile(smollm2, model)
    assert model.stat().st_size > most
    with model.open("rb+") as file:  # pages that are there already would be counted to this process
        os.fsync(file)
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    (group / limit).write_text(str(most))
    found = python(
        ANSWER, model, limits=lambda: (group / "cgroup.procs").write_text(str(os.getpid())) and None
    )
    if int((group / used).read_text()) < 0.9 * most:
        pytest.skip("the file's pages could not be dropped before the run")
    assert found == python(ANSWER, model)


def test_little_address_space_is_a_sentence(smollm2: pathlib.Path) -> None:
    """A file that does not fit into the address space: refused, with what to do."""
    code = (
        "import sys, pyedge\ntry:\n pyedge.Model(sys.argv[1])\n"
        "except pyedge.Error as e:\n print(type(e).__name__, e)"
    )

    def tight() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (90 * MIB, 90 * MIB))

    said = python(code, smollm2, limits=tight)
    assert said.startswith("OutOfMemoryError") and "ulimit -v" in said and str(smollm2.stat().st_size) in said


# ---- little of everything ----------------------------------------------------------------------------------


def small_stack() -> None:
    resource.setrlimit(
        resource.RLIMIT_STACK, (128 << 10, 128 << 10)
    )  # new threads take their size from it too


def test_little_stack(native: Native, smollm2: pathlib.Path) -> None:  # noqa: F811
    """128 KiB of stack for the main thread and for each other one give the same answer."""
    command = ("generate", "Name a colour.", "-m", smollm2, "-n", 12, "--temp", 0, "-t", 4)
    assert native(*command, limits=small_stack).stdout == native(*command).stdout


def test_little_stack_every_instruction_set(plain: pathlib.Path) -> None:
    code = (
        "import sys, pyedge\n"
        "for name, usable, _ in pyedge._core.isas():\n"
        " if usable: print(name, pyedge.Model(sys.argv[1], isa=name, threads=3).logits(range(200)).shape)"
    )
    lines = python(f"import pyedge._core\n{code}", plain, limits=small_stack).splitlines()
    assert len(lines) == sum(usable for _, usable, _ in pyedge._core.isas())


def test_no_home_and_nothing_writable(plain: pathlib.Path) -> None:
    """A path needs no cache, no home, and nowhere to write."""
    environment = {"HOME": "/nonexistent", "XDG_CACHE_HOME": "/nonexistent", "TMPDIR": "/nonexistent"}
    environment |= {"PYEDGE_CACHE": "/proc/nonexistent", "PYTHONDONTWRITEBYTECODE": "1"}
    code = (
        "import sys; from pyedge.cli import main; "
        "sys.argv = ['pyedge', 'generate', 'Hello', '-m', sys.argv[1], '-n', '3', '--raw', '--seed', '1']; "
        "main()"
    )
    assert python(code, plain, environment=environment).strip()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may change the root directory")
def test_no_proc_no_sys_no_dev(native: Native, plain: pathlib.Path, tmp_path: pathlib.Path) -> None:  # noqa: F811
    """In a root directory that holds the model and nothing else, but for what loads the program."""
    root = tmp_path / "root"
    root.mkdir()
    (root / "tiny.gguf").write_bytes(plain.read_bytes())
    program = pathlib.Path(native.command[0])  # type: ignore[attr-defined]
    needed = subprocess.run(["ldd", str(program)], capture_output=True, text=True).stdout
    for word in [str(program), *(word for word in needed.split() if word.startswith("/"))]:
        target = root / word.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(pathlib.Path(word).read_bytes())
        target.chmod(0o755)

    def confined() -> None:
        os.chroot(root)
        os.chdir("/")

    def run(*arguments: str) -> str:
        command = [str(program), *arguments, "-m", "/tiny.gguf", "-t", "2"]
        done = subprocess.run(command, capture_output=True, text=True, preexec_fn=confined)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert run("generate", "Hello", "--raw", "-n", "4", "--temp", "0")
    (row,) = json.loads(run("bench", "-p", "0", "-n", "2", "-r", "1", "-o", "json"))
    assert row["cpu_info"] == row["machine"] and row["temp_after_c"] is None and row["peak_rss_bytes"] > 0
