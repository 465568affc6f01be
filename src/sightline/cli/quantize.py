"""`sightline quantize`: quantises a model to INT8, and reports the loss and gain."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sightline.cli.progress import counted, find_model
from sightline.cli.sources import expand
from sightline.errors import ConfigError
from sightline.settings import load_settings

if TYPE_CHECKING:
    from sightline.training.compare import Comparison
    from sightline.training.evaluate import ImageTruth
    from sightline.training.selection import Selection

_LEAST_FOUND = 0.9  # share of the original's boxes; models that suit INT8 keep at least 95 %

Data = Annotated[
    list[str],
    typer.Option(
        help="Pictures to calibrate with, like those that the model will see; 300 are enough. "
        "Files, folders, globs; can be repeated."
    ),
]
Output = Annotated[
    Path,
    typer.Option("--output", "-o", help="OpenVINO file to write, .xml; .bin and .toml go beside."),
]
Val = Annotated[
    list[str] | None,
    typer.Option(
        help="Pictures to measure on; without it, a fifth of the others is kept back for that."
    ),
]
Labels = Annotated[
    Path | None,
    typer.Option(
        help="COCO JSON with the truth about the pictures that are measured on; without it, YOLO "
        "txt files beside or parallel to them are used where there are any."
    ),
]
Subset = Annotated[int, typer.Option(min=1, help="Most pictures to calibrate with.")]
Confidence = Annotated[
    float, typer.Option(min=0, max=1, help="Boxes of at least this should agree.")
]


def quantize(
    model: Annotated[str, typer.Argument(help="Model to quantise: whatever `serve` takes.")],
    data: Data,
    output: Output,
    val: Val = None,
    labels: Labels = None,
    subset: Subset = 300,
    confidence: Confidence = 0.4,
    force: Annotated[bool, typer.Option("--force", help="Replace what is there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Report as JSON.")] = False,
) -> None:
    """Quantise a model to INT8 for OpenVINO, and tell what is lost and gained.

    The report goes to stdout: mAP before and after where there are labels, how many boxes are
    found again, size, and the time of a picture on this machine. Needs `sightline[quantize]`.
    """
    from sightline.training.compare import compare
    from sightline.training.quantize import prepare
    from sightline.training.quantize import quantize as write

    settings = load_settings(model=model)
    source = Path(find_model(settings)[0].model or model)
    spec = prepare(source, output, force)
    most = settings.max_pixels
    pictures = _select(data, val, subset, most)
    truths = _truths(labels, pictures.measured, spec.labels)
    with counted("calibrating") as progress:
        write(source, output, pictures.calibration, max_pixels=most, progress=progress)
    with counted("measuring") as progress:
        found = compare(
            source,
            output,
            pictures.measured,
            truths,
            confidence,
            max_pixels=most,
            progress=progress,
        )
    _report(output, pictures, found, as_json)


def _select(data: list[str], val: list[str] | None, subset: int, max_pixels: int) -> Selection:
    """Select pictures for calibration and measurement; warns of unreadable or too few ones.

    Raises:
        ConfigError: none can be read.
    """
    from sightline.training.selection import FEW, select

    measured = None if val is None else _readable(val, max_pixels)
    selection = select(_readable(data, max_pixels), measured, subset)
    count = len(selection.calibration)
    if count < FEW:
        _warn(
            f"{count} {'picture is' if count == 1 else 'pictures are'} few to calibrate with: "
            "about 300, as different as those that the model will see, lose less"
        )
    return selection


def _readable(sources: list[str], max_pixels: int) -> list[Path]:
    from sightline.training.selection import readable

    good, bad = readable((Path(name).expanduser() for name in expand(sources)), max_pixels)
    for path, reason in bad.items():
        _warn(f"left out {path}: {reason}")
    if not good:
        raise ConfigError(f"not one picture in {', '.join(sources)} can be read")
    return good


def _truths(
    coco: Path | None, pictures: list[Path], labels: tuple[str, ...]
) -> dict[Path, ImageTruth]:
    """Labels of `pictures`; labels found without --labels need not match the model."""
    from sightline.training.evaluate import require_pycocotools
    from sightline.training.truths import OtherClasses, coco_truths, yolo_truths

    try:
        truths = (
            yolo_truths(pictures, labels) if coco is None else coco_truths(coco, pictures, labels)
        )
    except OtherClasses as error:
        if coco is not None:
            raise
        _warn(f"no mAP: {error}")
        return {}
    if truths:
        require_pycocotools()
    return truths


def _warn(message: str) -> None:
    typer.secho(f"warning: {message}", fg="yellow", err=True)


def _report(output: Path, pictures: Selection, found: Comparison, as_json: bool) -> None:
    if as_json:
        about = {
            "model": str(output),
            "calibrated": len(pictures.calibration),
            "apart": pictures.apart,
        }
        typer.echo(json.dumps(about | _as_json(found), indent=1))
    else:
        typer.echo("\n".join(_lines(output, pictures, found)))
    if found.after.precision != "int8":
        _warn(f"OpenVINO computes in {found.after.precision} here, not in int8")
    if found.agreement.found < _LEAST_FOUND * found.agreement.boxes:
        _warn("it misses much of what the original finds: look at the answers before you serve it")
    if found.after.ms >= found.before.ms:
        _warn("it is not faster than the original on this machine; on another it may be")


def _as_json(found: Comparison) -> dict[str, object]:
    report = asdict(found)
    for key, side in (("before", found.before), ("after", found.after)):
        report[key]["score"] = None if side.score is None else side.score._asdict()
    return report


def _lines(output: Path, pictures: Selection, found: Comparison) -> list[str]:
    before, after, same = found.before, found.after, found.agreement
    share = f" ({same.found / same.boxes:.1%})" if same.boxes else ""
    where = "others" if pictures.apart else "some of the same: elsewhere more may be lost"
    boxes = (
        f"{same.found} of {same.boxes} found again{share} at confidence {same.confidence:g}, "
        f"{same.extra} new; mean IoU {same.mean_iou:.3f}, confidence moves by "
        f"{same.confidence_shift:.3f}"
    )
    lines = {
        "calibrated": f"with {len(pictures.calibration)} pictures",
        "measured": f"on {found.pictures} {where}",
        "boxes": boxes,
        "speed": f"{before.ms:.1f} -> {after.ms:.1f} ms a picture in the network "
        f"({before.ms / after.ms:.2f} times as fast here)",
    }
    if before.score and after.score:
        lines["labelled"] = f"{found.labelled} of these"
        for name, was, now in zip(("mAP@50", "mAP@50:95"), before.score, after.score, strict=True):
            lines[name] = f"{was:.4f} -> {now:.4f} ({now - was:+.4f})"
    size = f"{output}: {after.precision}, {after.mb:.1f} MB (was {before.mb:.1f} MB)"
    return [size, *(f"  {name:11} {text}" for name, text in lines.items())]
