"""Chat templates: from messages to the text that the model was trained on.

A template comes from the model file, so it is a program from a stranger. It is rendered in Jinja's immutable
sandbox, in the dialect that such templates are written in (block trimming, break and continue, `tojson`,
`strftime_now`, `raise_exception`, `{% generation %}`), and under a work budget: see `budget.py`.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols

from .budget import Budget, BudgetedEnvironment, BudgetExceeded
from .errors import ModelFileError

MAX_SOURCE = 1 << 20  # characters; the longest known templates have some 30 thousand


class _Refused(Exception):
    """The template itself calls the messages wrong."""


class _GenerationTag(Extension):
    """`{% generation %}...{% endgeneration %}` marks answers for training; to render, it is its body."""

    tags: set[str] = {"generation"}  # noqa: RUF012 (as the base class declares it)

    def parse(self, parser: Any) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=line)


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON as it is: Jinja's own filter escapes <, > and & for HTML, which models have not seen."""
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _strftime_now(format: str) -> str:
    if len(format) > 256 or re.search(r"%[^a-zA-Z%]*\d{3}", format):
        raise SecurityError("strftime_now takes a format of at most 256 characters, without wide fields")
    return datetime.now().strftime(format)


def _raise_exception(message: object) -> None:
    raise _Refused(str(message))


class ChatTemplate:
    """One template, compiled once; any number of threads may render it."""

    def __init__(
        self, source: str, *, bos_token: str = "", eos_token: str = "", where: str = "the model"
    ) -> None:
        self._where = where
        self._lock = threading.Lock()
        self._tokens = {"bos_token": bos_token, "eos_token": eos_token}
        if len(source) > MAX_SOURCE:
            raise ModelFileError(
                f"{where}: tokenizer.chat_template has {len(source)} characters; "
                f"at most {MAX_SOURCE} are allowed"
            )
        self._environment = BudgetedEnvironment(extensions=[loopcontrols, _GenerationTag])
        self._environment.globals["raise_exception"] = _raise_exception
        self._environment.globals["strftime_now"] = _strftime_now
        self._environment.filters["tojson"] = _tojson
        self._environment.guard_filters()
        try:
            self._template = self._environment.from_string(source)
        except Exception as error:  # a template may break the compiler in as many ways as it may break itself
            raise self._broken(error) from error

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Any] | None = None,
        add_generation_prompt: bool = True,
    ) -> str:
        """The text of a conversation. ValueError where the messages are not acceptable."""
        check_messages(messages)
        values = {
            "messages": [dict(message) for message in messages],
            "tools": list(tools) if tools is not None else None,
            "documents": None,
            "add_generation_prompt": add_generation_prompt,
            **self._tokens,
        }
        with self._lock:
            self._environment.budget = Budget(given=_size(values))
            try:
                return "".join(self._template.generate(values))
            except _Refused as error:
                raise ValueError(
                    f"the chat template of {self._where} refuses these messages: {error}"
                ) from None
            except Exception as error:
                raise self._broken(error) from error

    def _broken(self, error: Exception) -> ModelFileError:
        if isinstance(error, (SecurityError, BudgetExceeded)):
            reason = f"is not safe to run: {error}"
        elif isinstance(error, (RecursionError, MemoryError)):
            reason = "is nested too deeply"
        elif isinstance(error, jinja2.TemplateSyntaxError):
            reason = f"is broken at line {error.lineno}: {error.message}"
        else:
            reason = f"failed ({type(error).__name__}): {error}"
        return ModelFileError(f"{self._where}: tokenizer.chat_template {' '.join(reason.split())}")


def _size(value: Any) -> int:
    """Roughly the characters in what is given to a template."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, Mapping):
        return sum(_size(key) + _size(item) for key, item in value.items())
    if isinstance(value, Iterable):
        return sum(_size(item) + 1 for item in value)
    return 8


def check_messages(messages: Any) -> None:
    """Refuse what is no conversation, with the place and the form that is expected."""
    form = '{"role": "user", "content": "text"}'
    if isinstance(messages, (str, bytes, Mapping)) or not isinstance(messages, Sequence):
        raise TypeError(f"messages must be a list of dicts like {form}, not {type(messages).__name__}")
    if not messages:
        raise ValueError(f"messages must have at least one entry like {form}")
    for index, message in enumerate(messages):
        if not isinstance(message, Mapping):
            raise TypeError(f"messages[{index}] must be a dict like {form}, not {type(message).__name__}")
        role, content = message.get("role"), message.get("content")
        if not isinstance(role, str) or not role:
            raise ValueError(f"messages[{index}] must have a 'role' that is a non-empty string, like {form}")
        if isinstance(content, str) or (content is None and message.get("tool_calls")):
            continue
        if isinstance(content, (list, tuple)) and all(
            isinstance(part, Mapping) and part.get("type") == "text" and isinstance(part.get("text"), str)
            for part in content
        ):
            continue
        raise ValueError(
            f"messages[{index}] must have a 'content' that is a string, or a list of "
            '{"type": "text", "text": ...} parts'
        )


def plain_text(messages: Sequence[Mapping[str, Any]]) -> str:
    """The contents alone, for a model without a template."""
    check_messages(messages)
    texts = []
    for message in messages:
        content = message.get("content") or ""
        texts.append(content if isinstance(content, str) else "".join(part["text"] for part in content))
    return "\n".join(texts)
