"""`pyedge quantize`: a smaller file of a model, with an account of what it cost."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .. import hub
from ..progress import mebibytes
from .common import JsonOption, ThreadsOption, note, read_text, table

if TYPE_CHECKING:
    from ..quantize import TensorReport


def _row(report: TensorReport) -> dict[str, Any]:
    return {
        "name": report.name,
        "dims": list(report.dims),
        "from": report.source,
        "to": report.target,
        "bytes": report.size,
        "bits_per_weight": 8 * report.size / report.n if report.n else 0.0,
        "rmse": report.rmse,
        "relative_rmse": report.relative,
        "importance": report.weighted,
    }


def _show(reports: Sequence[TensorReport], source: Path, target: Path) -> None:
    def cells(report: TensorReport) -> tuple[str, ...]:
        changed = report.source != report.target
        return (
            report.name,
            " x ".join(str(n) for n in report.dims),
            f"{report.source} -> {report.target}" if changed else report.source,
            f"{report.size:,}",
            f"{8 * report.size / report.n:.2f}" if report.n else "",
            f"{report.rmse:.3g}" if changed else "",
            f"{100 * report.relative:.3f} %" if changed else "",
        )

    headers = ("tensor", "shape", "type", "bytes", "bits", "RMSE", "relative")
    table(headers, (cells(report) for report in reports), right=(3, 4, 5, 6))
    n, size = sum(report.n for report in reports), target.stat().st_size
    print(
        f"\n{target}: {mebibytes(size)}, {100 * size / source.stat().st_size:.1f} % of the source; "
        f"{8 * sum(report.size for report in reports) / max(n, 1):.2f} bits a weight"
    )


def _perplexities(paths: Sequence[Path], text: bytes, threads: int | None) -> list[float]:
    from ..model import Model

    values = []
    for path in paths:
        with Model(str(path), threads=threads) as model:
            values.append(model.perplexity(text))
    return values


def quantize(
    source: Annotated[str, typer.Argument(metavar="IN", help="Path or name of a model.")],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="The file to write.")],
    type: Annotated[str, typer.Option("--type", help="Q4_K_M, Q8_0, ...; a wrong one lists them all.")],
    tensor_type: Annotated[
        list[str] | None,
        typer.Option(
            "--tensor-type",
            metavar="PATTERN=TYPE",
            help="Another type for tensors whose names have this pattern, as ffn_down=Q6_K; repeatable.",
        ),
    ] = None,
    imatrix: Annotated[Path | None, typer.Option("--imatrix", help="An importance matrix (GGUF).")] = None,
    pure: Annotated[bool, typer.Option("--pure", help="One type for all matrices.")] = False,
    check: Annotated[
        Path | None,
        typer.Option("--check", metavar="TEXT", help="Perplexity before and after, on this text."),
    ] = None,
    threads: ThreadsOption = None,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="No progress.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Write a model with its matrices in smaller types."""
    from ..quantize import parse_override
    from ..quantize import quantize as work

    text = read_text(check) if check is not None else None
    overrides = [parse_override(item) for item in tensor_type or ()]
    path = hub.resolve(source)
    reports = work(
        path,
        target,
        type,
        tensor_types=overrides,
        imatrix=imatrix,
        threads=threads,
        pure=pure,
        quiet=quiet,
    )
    perplexity: dict[str, float] = {}
    if text is not None:
        if not quiet:
            note("measuring perplexity before and after")
        perplexity = dict(zip(("before", "after"), _perplexities((path, target), text, threads), strict=True))
    if as_json:
        facts = {"file": str(target), "bytes": target.stat().st_size, "tensors": [_row(r) for r in reports]}
        print(json.dumps({**facts, **({"perplexity": perplexity} if perplexity else {})}, indent=1))
        return
    _show(reports, path, target)
    if perplexity:
        print(f"perplexity: {perplexity['before']:.4f} before, {perplexity['after']:.4f} after")


def register(app: typer.Typer) -> None:
    app.command()(quantize)
