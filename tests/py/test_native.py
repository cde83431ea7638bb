"""The command without Python: the same answers as the Python door for the same file, and clear refusals.

Chat templates are the point: a family is right when its text is what Jinja makes of the file's own template,
and a template of no known family is refused.
"""

from __future__ import annotations

import csv
import io
import json
import os
import pathlib
import subprocess
from collections.abc import Callable
from typing import Any

import ggufmake as gm
import pytest
from test_cli import succeed

import pyedge

ROOT = pathlib.Path(__file__).resolve().parents[2]
IM = "{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}"
ROLES = "{% for message in messages %}{% if message['role'] == 'user' %}"
# The forms in which makers publish the templates of these families, shortened to what renders messages.
TEMPLATES = {
    "chatml": "{% for message in messages %}" + IM + "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
    "chatml, default system": "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}{% endif %}" + IM + "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
    "chatml, real line breaks, BOS": "{{- bos_token -}}{% for message in messages %}{{ '<|im_start|>' + message.role"
    " + '\n' + message.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    "chatml, thoughts left out": "{% for message in messages %}{% set content = message.content %}"
    "{% if '</think>' in content %}{% set content = content.split('</think>')[-1].lstrip('\\n') %}{% endif %}"
    "{{ '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
    "phi-4": ROLES + "{{ '<|im_start|>user<|im_sep|>' + message['content'] + '<|im_end|>' }}"
    "{% elif message['role'] == 'system' %}"
    "{{ '<|im_start|>system<|im_sep|>' + message['content'] + '<|im_end|>' }}{% else %}"
    "{{ '<|im_start|>assistant<|im_sep|>' + message['content'] + '<|im_end|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant<|im_sep|>' }}{% endif %}",
    "llama-3": "{% for message in messages %}{% set content = '<|start_header_id|>' + message['role'] + "
    "'<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}"
    "{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}",
    "llama-3.1": '{{- bos_token }}{%- set date_string = "26 Jul 2024" %}'
    "{%- if messages[0]['role'] == 'system' %}{%- set system_message = messages[0]['content']|trim %}"
    '{%- set messages = messages[1:] %}{%- else %}{%- set system_message = "" %}{%- endif %}'
    '{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}'
    '{{- "Cutting Knowledge Date: December 2023\\n" }}{{- "Today Date: " + date_string + "\\n\\n" }}'
    '{{- system_message }}{{- "<|eot_id|>" }}{%- for message in messages %}'
    "{{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim"
    " + '<|eot_id|>' }}{%- endfor %}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}",
    "gemma": "{{ bos_token }}{% if messages[0]['role'] == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}"
    "{% endif %}{{ '<start_of_turn>' + role + '\\n' + message['content'] | trim + '<end_of_turn>\\n' }}"
    "{% endfor %}{{'<start_of_turn>model\\n'}}",
    "gemma-3": "{{ bos_token }}{%- if messages[0]['role'] == 'system' -%}"
    "{%- set first_user_prefix = messages[0]['content'] + '\\n\\n' -%}{%- set loop_messages = messages[1:] -%}"
    '{%- else -%}{%- set first_user_prefix = "" -%}{%- set loop_messages = messages -%}{%- endif -%}'
    "{%- for message in loop_messages -%}{%- if (message['role'] == 'assistant') -%}"
    "{%- set role = \"model\" -%}{%- else -%}{%- set role = message['role'] -%}{%- endif -%}"
    "{{ '<start_of_turn>' + role + '\\n' + (first_user_prefix if loop.first else \"\") }}"
    "{{ message['content'] | trim }}{{ '<end_of_turn>\\n' }}{%- endfor -%}{{'<start_of_turn>model\\n'}}",
    "phi-3": "{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'user') %}"
    "{{'<|user|>' + '\\n' + message['content'] + '<|end|>' + '\\n' + '<|assistant|>' + '\\n'}}"
    "{% elif (message['role'] == 'assistant') %}{{message['content'] + '<|end|>' + '\\n'}}{% endif %}{% endfor %}",
    "phi-3.5": "{% for message in messages %}{% if message['role'] == 'system' and message['content'] %}"
    "{{'<|system|>\\n' + message['content'] + '<|end|>\\n'}}{% elif message['role'] == 'user' %}"
    "{{'<|user|>\\n' + message['content'] + '<|end|>\\n'}}{% elif message['role'] == 'assistant' %}"
    "{{'<|assistant|>\\n' + message['content'] + '<|end|>\\n'}}{% endif %}{% endfor %}{{ '<|assistant|>\\n' }}",
    "zephyr": "{% for message in messages %}\n{% if message['role'] == 'user' %}\n"
    "{{ '<|user|>\\n' + message['content'] + eos_token }}\n{% elif message['role'] == 'system' %}\n"
    "{{ '<|system|>\\n' + message['content'] + eos_token }}\n{% elif message['role'] == 'assistant' %}\n"
    "{{ '<|assistant|>\\n'  + message['content'] + eos_token }}\n{% endif %}\n"
    "{% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n{% endfor %}",
    "olmo-2": "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'system' %}"
    "{{ '<|system|>\\n' + message['content'] + '\\n' }}{% elif message['role'] == 'user' %}"
    "{{ '<|user|>\\n' + message['content'] + '\\n' }}{% elif message['role'] == 'assistant' %}"
    "{{ '<|assistant|>\\n'  + message['content'] + eos_token + '\\n' }}{% endif %}"
    "{% if loop.last and add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}{% endfor %}",
    "llama-2": "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}"
    "{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}"
    "{% set system_message = false %}{% endif %}{% for message in loop_messages %}"
    "{% if loop.index0 == 0 and system_message != false %}"
    "{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}{% else %}"
    "{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}"
    "{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}{% elif message['role'] == 'assistant' %}"
    "{{ ' '  + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}",
    "mistral": "{{ bos_token }}" + ROLES + "{{ '[INST] ' + message['content'] + ' [/INST]' }}{% else %}"
    "{{ message['content'] + eos_token}}{% endif %}{% endfor %}",
    "granite": "{%- for message in messages %}{%- if message['role'] == 'system' %}"
    "{{- '<|start_of_role|>system<|end_of_role|>' + message['content'] + '<|end_of_text|>\\n' }}"
    "{%- elif message['role'] == 'user' %}"
    "{{- '<|start_of_role|>user<|end_of_role|>' + message['content'] + '<|end_of_text|>\\n' }}{%- else %}"
    "{{- '<|start_of_role|>assistant<|end_of_role|>'  + message['content'] + '<|end_of_text|>\\n' }}{%- endif %}"
    "{%- if loop.last and add_generation_prompt %}{{- '<|start_of_role|>assistant<|end_of_role|>' }}{%- endif %}"
    "{%- endfor %}",
    "nano": "{%- for message in messages -%}{%- if message.role == 'user' -%}"
    "{{ '<|instruct_mark|>' + message.content + '<|response_mark|>' }}{%- elif message.role == 'assistant' -%}"
    "{{ message.content + '<|eos|>' }}{%- endif -%}{%- endfor -%}",
}
UNKNOWN = {
    "of no family": "{% for message in messages %}{{ '<turn ' + message['role'] + '>' + message['content'] }}{% endfor %}",
    "ChatML with a clock": TEMPLATES["chatml"] + "{{ strftime_now('%Y') }}",
    "Mistral with a system rule": TEMPLATES["mistral"] + "{# system #}",
}
NO_SYSTEM = {"gemma", "phi-3", "mistral", "nano"}

Native = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def native() -> Native:
    """Runs the native command; PYEDGE_NATIVE names another one than that of the test build, which may be a
    command line (`qemu-arm build/armv7/pyedge`)."""
    named = os.environ.get("PYEDGE_NATIVE")
    command = named.split() if named else [str(ROOT / "build" / "test" / "pyedge")]
    if not named and not pathlib.Path(command[0]).exists():
        pytest.fail(f"{command[0]} is missing: `make test` builds it")

    def run(
        *arguments: object, stdin: str = "", status: int = 0, limits: Callable[[], None] | None = None
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*command, *map(str, arguments)],
            input=stdin.encode(),
            capture_output=True,
            timeout=300,
            preexec_fn=limits,
        )
        out, err = done.stdout.decode("utf-8"), done.stderr.decode("utf-8", "replace")
        assert done.returncode == status, err
        return subprocess.CompletedProcess(done.args, done.returncode, out, err)

    run.command = command  # type: ignore[attr-defined]
    return run


def tiny(path: pathlib.Path, template: str | None = None, **keywords: Any) -> pathlib.Path:
    keys = {} if template is None else {"tokenizer.chat_template": gm.text(template)}
    path.write_bytes(gm.tiny_llama(keys=keys, n_ctx=4096, **keywords))
    return path


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return tiny(tmp_path_factory.mktemp("native") / "tiny.gguf")


OPTIONS = ("-n", 12, "--temp", 0, "-t", 1)


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("system", [None, " Be brief. "])
def test_conversations_are_what_the_template_says(
    native: Native, tmp_path: pathlib.Path, name: str, system: str | None
) -> None:
    path = tiny(tmp_path / "tiny.gguf", TEMPLATES[name])
    turns = "Hello \nWhat is  this?\n"
    chat = ("chat", "-m", path, *OPTIONS, *(() if system is None else ("--system", system)))
    if system is not None and name in NO_SYSTEM:
        assert "system message" in native(*chat, stdin=turns, status=1).stderr
        return
    assert native(*chat, stdin=turns).stdout == succeed(*chat, stdin=turns)
    if system is None:
        ours = json.loads(native("generate", " Hello ", "-m", path, *OPTIONS, "--json").stdout)
        theirs = json.loads(succeed("generate", " Hello ", "-m", path, *OPTIONS, "--json"))
        assert ours["timings"]["prompt_tokens"] == theirs["timings"]["prompt_tokens"]
        assert (ours["tokens"], ours["text"]) == (theirs["tokens"], theirs["text"])


@pytest.mark.parametrize("name", UNKNOWN)
def test_other_templates_are_refused(native: Native, tmp_path: pathlib.Path, name: str) -> None:
    path = tiny(tmp_path / "tiny.gguf", UNKNOWN[name])
    done = native("generate", "Hello", "-m", path, status=1)
    assert "no family" in done.stderr and "--raw" in done.stderr and done.stdout == ""
    assert native("generate", "Hello", "-m", path, "--raw", "-n", 2, "--temp", 0).stdout


@pytest.mark.parametrize(
    "options",
    [
        ("--temp", 0),
        ("--temp", 1.5, "--seed", 7),
        ("--temp", 0.9, "--seed", 2**63, "--top-k", 5, "--top-p", 0.7, "--min-p", 0, "--repeat-penalty", 1.3),
        ("--temp", 1.5, "--seed", 3, "--stop", "a", "--stop", "ef"),
        ("--temp", 1.5, "--seed", 3, "-c", 20),
        ("--temp", 0, "--no-lookup", "--isa", "scalar"),
    ],
)
def test_same_options_same_tokens(native: Native, plain: pathlib.Path, options: tuple[object, ...]) -> None:
    command = ("generate", "The sky \u00e9\u4e2d", "-m", plain, "--raw", "--json", "-n", 64, "-t", 2)
    ours = json.loads(native(*command, *options).stdout)
    environment = {"PYEDGE_ISA": "scalar"} if "--isa" in options else {}
    shared = options[:3] if environment else options
    theirs = json.loads(succeed(*command, *shared, **environment))
    for key in ("text", "tokens", "finish_reason", "model"):
        assert ours[key] == theirs[key]
    assert ours["logprobs"] == pytest.approx(theirs["logprobs"], abs=1e-6)


def test_streams_whole_characters_and_reads_standard_input(native: Native, plain: pathlib.Path) -> None:
    command = ("generate", "-", "-m", plain, "--raw", "-n", 200, "--temp", 2, "--seed", 5)
    streamed = native(*command, stdin="Hello\n").stdout
    assert streamed == succeed(*command, stdin="Hello\n")


def test_long_options_with_equals_sign_and_double_dash(native: Native, plain: pathlib.Path) -> None:
    done = native("generate", f"--model={plain}", "--max-tokens=3", "--raw", "--seed=1", "--", "-x")
    assert done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "pyedge generate"),
        (("frobnicate",), "no command"),
        (("generate", "x"), "-m"),
        (("generate", "x", "-m", "a", "--frobnicate"), "no option"),
        (("generate", "x", "-m", "a", "-n", "many"), "--max-tokens"),
        (("generate", "x", "-m", "a", "--temp", "-1"), "--temp"),
        (("generate", "x", "-m", "a", "--top-p", "1.5"), "--top-p"),
        (("generate", "x", "-m", "a", "--seed", "99999999999999999999"), "--seed"),
        (("generate", "x", "-m", "a", "--memory-limit", "12Q"), "--memory-limit"),
        (("generate", "x", "-m"), "needs a value"),
        (("generate", "x", "y", "-m", "a"), "unexpected"),
        (("generate", "x", "-m", "a", "--raw=1"), "no value"),
        (("bench", "-m", "a", "-p", "1,,2"), "--n-prompt"),
        (("bench", "-m", "a", "-o", "xml"), "--output"),
        (("chat", "x", "-m", "a"), "unexpected"),
    ],
)
def test_wrong_usage(native: Native, arguments: tuple[str, ...], said: str) -> None:
    done = native(*arguments, status=2)
    assert said in done.stderr and done.stdout == ""


def test_failures_are_one_line(native: Native, plain: pathlib.Path, tmp_path: pathlib.Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(plain.read_bytes()[:3000])
    for arguments in (
        ("generate", "x", "-m", tmp_path / "none.gguf"),
        ("generate", "x", "-m", broken, "--raw"),
        ("generate", "x" * 300, "-m", plain, "--raw", "-c", 16),
        ("generate", "x", "-m", plain, "--raw", "--isa", "vax"),
        ("generate", "x", "-m", plain, "--raw", "--memory-limit", "10K"),
        ("bench", "-m", broken),
    ):
        done = native(*arguments, status=1)
        assert done.stderr.startswith("pyedge: ") and done.stderr.count("\n") == 1, done.stderr


def test_chat_commands(native: Native, tmp_path: pathlib.Path) -> None:
    path = tiny(tmp_path / "tiny.gguf", TEMPLATES["chatml"])
    lines = "Hello\n/reset\nHello\n/nonsense\n/system Be brief.\nHello\n/help\n/quit\nnever reached\n"
    done = native("chat", "-m", path, *OPTIONS, stdin=lines)
    first = native("chat", "-m", path, *OPTIONS, stdin="Hello\n").stdout
    other = native("chat", "-m", path, *OPTIONS, "--system", "Be brief.", stdin="Hello\n").stdout
    assert done.stdout == first + first + other
    assert "/nonsense is no command" in done.stderr and "/system TEXT" in done.stderr


# ---- bench -------------------------------------------------------------------------------------------------

SCHEMA = json.loads((ROOT / "bench" / "schema.json").read_text())
KINDS = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "array": list,
    "boolean": bool,
    "null": type(None),
}
FACTS = [
    "model_type",
    "model_size",
    "model_n_params",
    "cpu_info",
    "isa",
    "n_threads",
    "n_prompt",
    "n_gen",
    "n_depth",
    "output_hash",
    "version",
    "seed",
    "model_sha256",
    "emulated",
    "machine",
    "board",
    "kernel",
    "cpu_features",
    "n_processors",
    "memory_bytes",
    "governor",
    "freq_max_mhz",
]


def check_row(row: dict[str, Any]) -> None:
    assert list(row) == list(SCHEMA["properties"])
    for name, rule in SCHEMA["properties"].items():
        kinds = rule["type"] if isinstance(rule["type"], list) else [rule["type"]]
        allowed = tuple(
            kind
            for name in kinds
            for kind in (KINDS[name] if isinstance(KINDS[name], tuple) else (KINDS[name],))
        )
        assert isinstance(row[name], allowed) and (bool in allowed or not isinstance(row[name], bool)), name


def test_bench_has_the_columns_and_the_work_of_the_python_door(native: Native, plain: pathlib.Path) -> None:
    """The same facts, and the same output hashes: both doors evaluate the same tokens."""
    options = ("-m", plain, "-p", "16,7", "-n", 4, "-d", "0,9", "-t", "1,2", "-r", 2, "--seed", 2**40 + 5)
    ours = json.loads(native("bench", *options, "-o", "json").stdout)
    theirs = json.loads(succeed("bench", *options, "-o", "json"))
    assert len(ours) == len(theirs) == 12
    for row, other in zip(ours, theirs, strict=True):
        check_row(row)
        check_row(other)
        assert {name: row[name] for name in FACTS} == {name: other[name] for name in FACTS}
        assert (row["door"], other["door"]) == ("native", "python")
        for name, value in other.items():
            if not isinstance(value, float) and not name.startswith(("freq", "temp")):  # sensors come and go
                assert (row[name] is None) == (value is None), name
    hashes = {(row["n_prompt"], row["n_gen"], row["n_depth"]): row["output_hash"] for row in ours}
    assert len(hashes) == 6


def test_bench_formats(native: Native, plain: pathlib.Path) -> None:
    short = ("bench", "-m", plain, "-p", 0, "-n", 2, "-r", 1, "-t", 1)
    (row,) = csv.DictReader(io.StringIO(native(*short, "-o", "csv", "--emulated").stdout))
    assert list(row) == list(SCHEMA["properties"]) and row["n_gen"] == "2" and row["emulated"] == "True"
    assert "| tg2 |" in native(*short).stdout
    lines = native(*short, "-d", "0,4", "-o", "jsonl", "--isa", "scalar").stdout.splitlines()
    assert [json.loads(line)["n_depth"] for line in lines] == [0, 4]
    start = json.loads(native(*short[:4], 0, "-n", 0, *short[7:], "--start", "-o", "json").stdout)[0]
    check_row(start)
    assert start["start_ms"] == pytest.approx(1e3 / start["median_ts"]) and start["peak_rss_bytes"] > 0


def test_help_and_version(native: Native) -> None:
    text = native("--help").stdout
    assert all(name in text for name in ("generate", "chat", "bench", "--memory-limit"))
    assert native("--version").stdout.strip() == f"pyedge {pyedge.__version__}"
