"""`sightline models`: lists the models that are known by name."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from sightline.cli.options import setting
from sightline.settings import load_settings

if TYPE_CHECKING:
    from pathlib import Path

    from sightline.models.catalogue import CatalogueEntry

_COLUMNS = ("name", "cached", "family", "input", "mAP", "params M", "size MB", "licence", "note")
_NUMBERS = frozenset(_COLUMNS[3:7])


def models(data_dir: Annotated[str | None, setting("data_dir")] = None) -> None:
    """List the models that --model and `sightline pull` take by name.

    mAP is mAP@50:95 on COCO val2017 as their authors publish it, in percent; input is the side of
    the square input in pixels. A dash stands for what is not known for certain.
    """
    from sightline.models.catalogue import CATALOGUE

    folder = load_settings(data_dir=data_dir).pulled_dir
    rows = [_row(entry, folder) for entry in CATALOGUE.values()]
    if sys.stdout.isatty():
        _print_table(rows)
    else:
        _print_columns(rows)


def _row(entry: CatalogueEntry, folder: Path) -> tuple[str, ...]:
    return (
        entry.name,
        "yes" if (folder / f"{entry.name}.onnx").is_file() else "no",
        entry.family,
        str(entry.input_size),
        _number(entry.map, ".1f"),
        _number(entry.parameters, "g"),
        _number(entry.size, ".1f"),
        entry.licence,
        entry.note,
    )


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)  # noqa: RUF001  a dash for unknown values


def _print_table(rows: list[tuple[str, ...]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table()
    for column in _COLUMNS:
        table.add_column(column, justify="right" if column in _NUMBERS else "left")
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def _print_columns(rows: list[tuple[str, ...]]) -> None:
    """Print columns two spaces apart; notes contain single spaces, so they come last."""
    every = [_COLUMNS, *rows]
    widths = [max(len(row[i]) for row in every) for i in range(len(_COLUMNS))]
    for row in every:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        typer.echo(line.rstrip())
