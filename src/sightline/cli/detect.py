"""`sightline detect`: pictures in, boxes out."""

from __future__ import annotations

import sys
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypedDict

import typer

from sightline.cli.formats import FORMATS, FileOutcome, OutputFormat
from sightline.cli.options import Confidence, Device, Engine, Model
from sightline.cli.progress import find_model, watched
from sightline.cli.sources import expand
from sightline.errors import ConfigError, SightlineError
from sightline.settings import Settings, load_settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future

    from sightline.serving.detector import Detector
    from sightline.serving.job import InferenceResult

_AHEAD = 8  # pictures read ahead: bounds memory for a folder of any size

_FETCH_SECONDS = 30  # for a whole picture by its address

Sources = Annotated[
    list[str], typer.Argument(help="Pictures: files, folders, globs, http(s) addresses.")
]
Iou = Annotated[
    float | None, typer.Option(help="Boxes of a class overlapping more are one object, 0..1.")
]
Classes = Annotated[str | None, typer.Option(help="Labels or ids to report, comma-separated.")]
MaxDetections = Annotated[int, typer.Option(help="Most boxes a picture.")]
Save = Annotated[
    Path | None, typer.Option(help="Folder for annotated pictures (and YOLO txt files).")
]
Format = Annotated[
    OutputFormat, typer.Option(help="What is written to stdout; yolo writes files to --save.")
]


class DetectorOptions(TypedDict):
    """Options of `Detector.submit` that the command line passes on."""

    iou: float | None
    classes: list[str] | None
    max_detections: int


def detect(
    sources: Sources,
    model: Model = None,
    confidence: Confidence = None,
    iou: Iou = None,
    classes: Classes = None,
    max_detections: MaxDetections = 300,
    save: Save = None,
    format: Format = OutputFormat.JSONL,  # noqa: A002  the flag's name
    engine: Engine = None,
    device: Device = None,
) -> None:
    """Detect objects in pictures.

    Boxes go to stdout, messages to stderr. The exit code is 1 if a picture failed; the others
    are answered all the same.
    """
    from sightline.wiring.models import open_detector

    settings = load_settings(model=model, confidence=confidence, engine=engine, device=device)
    names = expand(sources)
    if format is OutputFormat.YOLO and save is None:
        raise ConfigError("--format yolo writes one file a picture: add --save FOLDER")
    _require_apart(save, names)
    with open_detector(find_model(settings)[0]) as detector:
        writer = FORMATS[format](sys.stdout, save, detector.spec.labels)
        wanted = None if classes is None else [name.strip() for name in classes.split(",")]
        options = DetectorOptions(iou=iou, classes=wanted, max_detections=max_detections)
        failed = 0
        outcomes = _detect_all(detector, settings, names, options, save)
        for outcome in watched(outcomes, "detecting", len(names)):
            written = writer.write(outcome)
            if written.error is not None:
                failed += 1
                typer.secho(f"error: {written.name}: {written.error}", fg="red", err=True)
        writer.finish()
    if failed:
        typer.echo(f"{failed} of {len(names)} pictures failed", err=True)
        raise typer.Exit(1)


def _require_apart(save: Path | None, names: list[str]) -> None:
    """Raise ConfigError if annotated pictures would be saved in a folder of the originals."""
    if save is None:
        return
    folders = {Path(name).expanduser().resolve().parent for name in names}
    if save.resolve() in folders:
        raise ConfigError(f"--save {save} holds pictures that are read from: name another folder")


def _detect_all(
    detector: Detector,
    settings: Settings,
    names: list[str],
    options: DetectorOptions,
    save: Path | None,
) -> Iterator[FileOutcome]:
    """Yield outcomes in the order of `names`; a few pictures are processed concurrently."""
    from sightline.serving.options import make_options

    # Check the options once: a bad one is not a failure of every picture.
    make_options(detector.spec, detector.confidence, **options)
    under_way: deque[tuple[str, Future[InferenceResult] | SightlineError]] = deque()
    for name in names:
        under_way.append((name, _submit(detector, settings, name, options, save is not None)))
        if len(under_way) > _AHEAD:
            yield _outcome(*under_way.popleft())
    while under_way:
        yield _outcome(*under_way.popleft())


def _submit(
    detector: Detector, settings: Settings, name: str, options: DetectorOptions, keep: bool
) -> Future[InferenceResult] | SightlineError:
    from sightline.net.fetch import Fetcher, is_url
    from sightline.vision.formats import Sniffer

    try:
        source: bytes | Path
        if is_url(name):
            fetcher = Fetcher(settings.max_upload_bytes, Sniffer)
            source = fetcher.fetch(name, _FETCH_SECONDS)
        else:
            source = Path(name).expanduser()
        return detector.submit(source, keep_image=keep, lane="batch", **options)
    except SightlineError as error:
        return error


def _outcome(name: str, answer: Future[InferenceResult] | SightlineError) -> FileOutcome:
    if isinstance(answer, SightlineError):
        return FileOutcome(name, None, answer)
    try:
        return FileOutcome(name, answer.result(), None)
    except SightlineError as error:
        return FileOutcome(name, None, error)
