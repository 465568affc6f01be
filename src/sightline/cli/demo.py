"""`sightline demo`: pictures, videos and data sets with known truth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sightline.cli.progress import watched
from sightline.errors import ConfigError

demo = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Make scenes of toys on a table, with the truth beside them.",
)

Seed = Annotated[int, typer.Option(help="The same seed gives the same pixels.")]
Width = Annotated[int, typer.Option(help="Pixels.")]
Height = Annotated[int, typer.Option(help="Pixels.")]


@demo.command()
def image(
    path: Annotated[Path, typer.Argument(help="Picture to write; the truth goes to its .json.")],
    seed: Seed = 0,
    width: Width = 1280,
    height: Height = 720,
) -> None:
    """Make one picture."""
    from sightline.demo.files import truth_path, write_scene
    from sightline.demo.scenes import make_scene

    scene = make_scene(seed, width, height)
    write_scene(path, scene, seed)
    typer.echo(f"{path}: {len(scene.truth)} toys; truth in {truth_path(path)}")


@demo.command()
def video(
    path: Annotated[Path, typer.Argument(help="Video to write; the truth goes to its .json.")],
    seed: Seed = 0,
    width: Width = 1280,
    height: Height = 720,
    seconds: Annotated[float, typer.Option(help="How long.")] = 10.0,
    fps: Annotated[float, typer.Option(help="Frames a second.")] = 25.0,
) -> None:
    """Make a video: toys that travel, cross, hide behind one another and leave."""
    from sightline.demo.files import truth_path
    from sightline.demo.moving import MovingScene
    from sightline.demo.video import write_video

    if not 0 < seconds <= 3600:
        raise ConfigError(f"seconds is {seconds:g}: it must be over 0, up to 3600")
    moving = MovingScene(seed, width, height, fps)
    count = max(1, round(seconds * fps))
    for _ in watched(write_video(path, moving, count), "drawing", count):
        pass
    typer.echo(f"{path}: {count} frames; truth in {truth_path(path)}")


@demo.command()
def dataset(
    folder: Annotated[Path, typer.Argument(help="New folder to write to.")],
    count: Annotated[int, typer.Option(help="Pictures; a fifth is for validation.")] = 100,
    seed: Seed = 0,
    width: Width = 640,
    height: Height = 480,
) -> None:
    """Make a labelled data set: YOLO layout, and COCO JSON."""
    from sightline.demo.dataset import write_dataset

    for _ in watched(write_dataset(folder, count, seed, width, height), "drawing", count):
        pass
    typer.echo(f"{folder}: {count} pictures; train on {folder / 'data.yaml'}")
