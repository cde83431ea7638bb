"""`pyedge chat`: a conversation in the terminal.

One session holds the whole conversation. Each turn renders it anew and evaluates only what differs from what
the session already holds, so that a turn costs its own tokens and any template stays right.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from ..completion import SamplingOptions, check_options
from ..errors import AdapterError, ContextOverflowError, Error
from .common import (
    ContextOption,
    LookupOption,
    LoraOption,
    MaxTokensOption,
    MemoryLimitOption,
    MinPOption,
    ModelOption,
    PenaltyOption,
    SeedOption,
    TemperatureOption,
    ThreadsOption,
    TopKOption,
    TopPOption,
    model_or_default,
    note,
    write,
)

HELP = """\
/help          this list
/reset         forget the conversation, keep the system message
/system TEXT   set the system message (nothing: remove it) and start anew
/save FILE     write the conversation to a file
/lora          list the adapters; /lora PATH[:SCALE] attaches one, or changes its scale
/lora off      detach them all; /lora off NAME one of them
/load FILE     go on with a conversation from a file
/quit          leave, as does Ctrl-D
Ctrl-C stops an answer."""


class Conversation:
    """Messages, and the session that has evaluated them as far as it could."""

    def __init__(self, model: Any, system: str | None, options: SamplingOptions, lora: Any = None) -> None:
        self.model = model
        self.session = model.session(lora)
        self.options = options
        self.messages: list[dict[str, Any]] = []
        self._warned = False
        self.set_system(system)

    def set_system(self, text: str | None) -> None:
        self.messages = [{"role": "system", "content": text}] if text else []

    def reset(self) -> None:
        self.messages = [message for message in self.messages[:1] if message["role"] == "system"]

    def answer(self, text: str) -> None:
        """Write the answer as it comes. An interrupted answer stays in the conversation as far as it came."""
        turn = [*self.messages, {"role": "user", "content": text}]
        ids = self.model._chat_ids(turn, warn=not self._warned)
        self._warned = True
        held = self.session.tokens
        common = 0
        # The last token is always evaluated: its logits are where the answer starts.
        while common < min(len(held), len(ids) - 1) and held[common] == ids[common]:
            common += 1
        self.session.rewind(to=common)
        said: list[str] = []
        try:
            for piece in self.session.stream(ids[common:], **self.options):
                said.append(piece.text)
                write(piece.text)
        finally:
            if said:
                write("\n")
                self.messages = [*turn, {"role": "assistant", "content": "".join(said)}]

    def adapt(self, text: str) -> None:
        """Obey /lora. What was said stays; it is evaluated anew with the next answer."""
        from ..lora import default_name, parse_lora

        attached: dict[str, float] = self.session.lora
        word, _, name = text.partition(" ")
        if word == "off" and name and name not in attached:
            named = [key for key in attached if default_name(key) == name]
            if len(named) != 1:
                raise AdapterError(f"the adapter {name!r} is not attached; /lora lists those that are")
            [name] = named
        if word == "off":
            self.session.set_lora({key: scale for key, scale in attached.items() if name and key != name})
        elif text:
            path, scale = parse_lora(text)
            # One argument decides whether a path is an adapter that is loaded already.
            [name] = self.model.session({path: scale}).lora
            self.session.set_lora({**attached, name: scale})
        now = self.session.lora
        note("\n".join(f"{name} {scale:g}" for name, scale in now.items()) or "no adapter is attached")

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(self.messages, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")

    def load(self, path: Path) -> None:
        from ..chat import check_messages

        try:
            messages = json.loads(path.read_text(encoding="utf-8"))
            check_messages(messages)
        except (ValueError, TypeError) as error:
            raise Error(f"{path} is no saved conversation: {error}") from error
        self.messages = [dict(message) for message in messages]


class _History:
    """An editable input line with a history that outlives the program, where the platform has one."""

    def __init__(self) -> None:
        self._readline: Any = None
        self._path: Path | None = None
        if not sys.stdin.isatty():
            return
        try:
            import readline
        except ImportError:
            return
        from .. import hub

        self._readline = readline
        with contextlib.suppress(OSError, RuntimeError):  # no home, or one that cannot be written
            directory = hub.cache_dir()
            directory.mkdir(parents=True, exist_ok=True)
            self._path = directory / "chat_history"
            readline.set_history_length(1000)
            if self._path.exists():
                readline.read_history_file(self._path)

    def save(self) -> None:
        if self._readline is not None and self._path is not None:
            with contextlib.suppress(OSError):
                self._readline.write_history_file(self._path)
                os.chmod(self._path, 0o600)


def _read_line() -> str | None:
    """The next line, or None at the end of the input."""
    if sys.stdin.isatty():
        try:
            return input("> ")
        except EOFError:
            print()
            return None
    line = sys.stdin.readline()
    return line.rstrip("\n") if line else None


def _command(conversation: Conversation, line: str) -> bool:
    """Obey a line that starts with a slash; False to leave."""
    name, _, argument = line[1:].partition(" ")
    argument = argument.strip()
    if name in ("quit", "exit"):
        return False
    if name == "help":
        note(HELP)
    elif name == "reset":
        conversation.reset()
        note("the conversation is forgotten")
    elif name == "system":
        conversation.set_system(argument)
        note("the system message is set" if argument else "the system message is removed")
    elif name == "lora":
        conversation.adapt(argument)
    elif name in ("save", "load"):
        if not argument:
            note(f"/{name} needs a file name")
        elif name == "save":
            conversation.save(Path(argument).expanduser())
            note(f"saved to {argument}")
        else:
            conversation.load(Path(argument).expanduser())
            note(f"{len(conversation.messages)} messages from {argument}")
    else:
        note(f"/{name} is no command; /help lists them")
    return True


def chat(
    model: ModelOption = None,
    system: Annotated[str | None, typer.Option("--system", help="The system message.")] = None,
    max_tokens: MaxTokensOption = 1024,
    temp: TemperatureOption = 0.8,
    top_k: TopKOption = 40,
    top_p: TopPOption = 0.95,
    min_p: MinPOption = 0.05,
    repeat_penalty: PenaltyOption = 1.0,
    seed: SeedOption = None,
    lora: LoraOption = None,
    lookup: LookupOption = True,
    context: ContextOption = None,
    memory_limit: MemoryLimitOption = None,
    threads: ThreadsOption = None,
) -> None:
    """Talk with a model, turn by turn."""
    from ..lora import parse_loras
    from ..model import Model

    options: SamplingOptions = {
        "max_tokens": max_tokens,
        "temperature": temp,
        "top_k": top_k,
        "top_p": top_p,
        "min_p": min_p,
        "repeat_penalty": repeat_penalty,
        "seed": seed,
        "lookup": lookup,
    }
    check_options(2**31 - 1, **options)
    adapters = parse_loras(lora)
    if hasattr(sys.stdin, "reconfigure"):
        sys.stdin.reconfigure(errors="surrogateescape")
    path = model_or_default(model)
    with Model(path, context=context, memory_limit=memory_limit, threads=threads) as opened:
        conversation = Conversation(opened, system, options, adapters)
        history = _History()
        if sys.stdin.isatty():
            note(f"{opened.name}: /help lists the commands, Ctrl-D leaves")
        try:
            _talk(conversation)
        finally:
            history.save()


def _talk(conversation: Conversation) -> None:
    while True:
        try:
            line = _read_line()
        except KeyboardInterrupt:
            print()
            continue
        if line is None:
            return
        line = line.strip()
        if not line:
            continue
        try:
            if not line.startswith("/"):
                conversation.answer(line)
            elif not _command(conversation, line):
                return
        except KeyboardInterrupt:
            continue
        except ContextOverflowError as error:
            note(f"pyedge: {error}: /reset starts anew")
        except (Error, OSError, ValueError) as error:
            note(f"pyedge: {error}")


def register(app: typer.Typer) -> None:
    app.command()(chat)
