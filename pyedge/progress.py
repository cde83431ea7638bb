"""Progress of long work on standard error: a bar on a terminal, a few plain lines elsewhere."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any


def mebibytes(size: float) -> str:
    """A size as people read it."""
    return f"{size / 2**20:,.1f} MiB" if size < 2**30 else f"{size / 2**30:,.2f} GiB"


def _byte_columns(rich: Any) -> list[Any]:
    return [rich.DownloadColumn(binary_units=True), rich.TransferSpeedColumn()]


class Progress:
    """Bytes of several parts, one after the other; or a count of things, where `unit` names them."""

    def __init__(self, title: str, total: int, *, quiet: bool = False, unit: str = "") -> None:
        self._title = title
        self._total = total
        self._done = 0
        self._tenth = 0
        self._quiet = quiet
        self._unit = unit
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Progress:
        if not self._quiet and sys.stderr is not None and sys.stderr.isatty():
            try:
                from rich import progress as rich
                from rich.console import Console
            except ImportError:
                return self
            self._bar = rich.Progress(
                rich.TextColumn("{task.description}", markup=False),
                rich.BarColumn(),
                *([rich.MofNCompleteColumn()] if self._unit else _byte_columns(rich)),
                rich.TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._task = self._bar.add_task(self._title, total=self._total)
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def say(self, line: str) -> None:
        if self._bar is not None:
            self._bar.console.print(line, markup=False, highlight=False)
        elif not self._quiet and sys.stderr is not None:
            print(line, file=sys.stderr, flush=True)

    def running(self, part: int) -> None:
        """So much of the part at hand is there."""
        self._show(self._done + part)

    def finished(self, part: int) -> None:
        self._done += part
        self._show(self._done)

    def count(self, done: int, total: int) -> None:
        """So many are done, of a total that is known only now."""
        if total != self._total:
            self._total = total
            if self._bar is not None:
                self._bar.update(self._task, total=total)
        self._show(done)

    def _show(self, done: int) -> None:
        done = min(done, self._total)
        if self._bar is not None:
            self._bar.update(self._task, completed=done)
            return
        tenth = done * 10 // self._total
        if tenth > self._tenth:
            self._tenth = tenth
            parts = f"{done} of {self._total} {self._unit}" if self._unit else ""
            self.say(f"{self._title}: {parts or f'{mebibytes(done)} of {mebibytes(self._total)}'}")
