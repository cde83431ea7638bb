"""`pyedge verify`: whether a model file is sound, and whether it is still the one it was."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from .. import hub
from ..errors import ModelFileError
from ..progress import mebibytes
from .common import JsonOption, shown, table

_LINES = 20


def verify(
    model: Annotated[str, typer.Argument(help="Path or name of a model.")],
    manifest: Annotated[
        Path | None, typer.Option("--manifest", help="Compare with this manifest, and name what changed.")
    ] = None,
    write: Annotated[
        Path | None, typer.Option("--write-manifest", metavar="FILE", help="Write the digests here.")
    ] = None,
    embed: Annotated[
        Path | None, typer.Option("--embed", metavar="OUT", help="Write a copy that holds its own digests.")
    ] = None,
    tensors: Annotated[bool, typer.Option("--tensors", help="Show every tensor and its digest.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="No progress.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Check a model file: structure, every weight, tokenizer, digests."""
    from .. import verify as checks

    report = checks.verify(hub.resolve(model), manifest=manifest, quiet=quiet)
    if as_json:
        facts = {**report.manifest(), "arch": report.arch, "runs": report.runs, "compared": report.compared}
        facts |= {"problems": report.problems, "notes": report.notes}
        facts["tensors"] = [asdict(tensor) for tensor in report.tensors]
        print(json.dumps(facts, ensure_ascii=False, indent=1))
    else:
        if tensors:
            cells = ((t.name, t.type, f"{t.least:.4g} .. {t.most:.4g}", t.sha256) for t in report.tensors)
            table(("tensor", "type", "values", "SHA-256"), cells)
            print()
        weights = sum(tensor.not_finite == 0 for tensor in report.tensors)
        rows = [
            ("file", str(report.path)),
            ("size", f"{mebibytes(report.size)} ({report.size:,} bytes)"),
            ("SHA-256", report.sha256),
            ("architecture", report.arch or "none named"),
            ("runs here", "yes" if report.runs else "no"),
            ("tensors", f"{weights} of {len(report.tensors)} decode to finite numbers"),
            ("compared with", ", ".join(report.compared) or "nothing: see --write-manifest and --embed"),
        ]
        table((), rows)
        lines = [*report.notes, *report.problems]
        for line in lines[:_LINES]:
            print(shown(f"- {line}"))
        if len(lines) > _LINES:
            print(f"- and {len(lines) - _LINES} more; --json has them all")
    if report.problems:
        count = len(report.problems)
        more = f" (and {count - 1} more)" if count > 1 else ""
        raise ModelFileError(f"{report.path}: {report.problems[0]}{more}")
    if write is not None:
        checks.write_manifest(report, write)
    if embed is not None:
        checks.embed(report, embed)


def register(app: typer.Typer) -> None:
    app.command()(verify)
