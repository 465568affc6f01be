"""Everything that people have pictures in, through both clients, to a service on a socket."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from sightline import ConfigError, Detections
from sightline.client import Client, core, errors
from sightline.client.pictures import Picture, picture_of
from sightline.client.upload import FormUpload
from support import pictures
from support.clients import client_of
from support.hosts import Answer, Host, host, ok
from support.servers import Live, live
from support.tasks import DARKEST, is_of, picture

JPEG = pictures.encode(Image.new("RGB", (23, 20), (143, 143, 143)), "JPEG", quality=95)


@pytest.fixture(scope="module")
def photos_host() -> Iterator[Host]:
    def handler(answer: Answer, path: str) -> None:
        answer.send(ok(picture(int(path.partition(".")[0][1:]))))

    with host(handler) as running:
        yield running


@pytest.fixture(scope="module")
def server(photos_host: Host) -> Iterator[Live]:
    allowed = f"127.0.0.1:{photos_host.port}"
    with live(confidence=0.1, url_allow=allowed, url_timeout=60) as running:
        yield running


@pytest.fixture(params=["sync", "async"])
def client(request: pytest.FixtureRequest, server: Live) -> Iterator[Any]:
    with client_of(request.param, server.url) as made:
        yield made


def shade(number: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.full((20, 20 + number, 3), DARKEST + number, np.uint8)


def number_of(found: Detections) -> int:
    """Which `picture` the fake engine has seen."""
    (box,) = found
    entry = {
        "image": {"width": found.width, "height": found.height},
        "detections": [{"confidence": box.confidence}],
    }
    (number,) = [n for n in range(100) if is_of(entry, n)]
    return number


class Pipe(BytesIO):
    """What cannot be rewound."""

    def seekable(self) -> bool:
        return False

    def seek(self, *_: Any) -> int:
        raise OSError("a pipe")


def on_disk(data: bytes) -> Path:
    Path("three.png").write_bytes(data)
    return Path("three.png")


def half_read(data: bytes) -> BytesIO:
    file = BytesIO(data)
    file.read(10)
    return file


KINDS: dict[str, Callable[[], Any]] = {
    "path": lambda: on_disk(picture(3)),
    "str": lambda: str(on_disk(picture(3))),
    "bytes": lambda: picture(3),
    "bytearray": lambda: bytearray(picture(3)),
    "memoryview": lambda: memoryview(picture(3)),
    "file object, half read": lambda: half_read(picture(3)),
    "open file": lambda: on_disk(picture(3)).open("rb"),
    "pipe": lambda: Pipe(picture(3)),
    "BGR": lambda: shade(3),
    "BGRA": lambda: np.dstack([shade(3), np.full((20, 23), 255, np.uint8)]),
    "grey": lambda: shade(3)[..., 0],
    "grey, one channel": lambda: shade(3)[..., :1],
    "a view": lambda: shade(3)[::-1, ::-1, ::-1],
    "Pillow": lambda: Image.fromarray(shade(3)),
    "Pillow, grey": lambda: Image.fromarray(shade(3)[..., 0]),
    "Pillow, inks": lambda: Image.fromarray(shade(3)).convert("CMYK"),
    "Pillow, palette": lambda: Image.fromarray(shade(3)).convert(
        "P", palette=Image.Palette.ADAPTIVE
    ),
    "Pillow, of a JPEG": lambda: Image.open(BytesIO(JPEG)),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # of the file that is left open here
def test_detect_takes(client: Any, kind: str) -> None:
    answer = client.detect(KINDS[kind]())
    assert number_of(answer.detections) == 3
    assert answer.model == answer.digest == "fake"
    assert answer.timing.total_ms >= answer.timing.inference_ms > 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_submit_takes(client: Any, kind: str) -> None:
    one = client.submit(KINDS[kind]()).wait(60)
    some = client.submit([picture(7), KINDS[kind](), picture(9)]).wait(60)
    assert [number_of(result.detections) for result in one] == [3]
    assert [number_of(result.detections) for result in some] == [7, 3, 9]


def test_addresses(client: Any, photos_host: Host) -> None:
    first, second = (f"{photos_host.url}/{number}.png" for number in (5, 6))
    assert number_of(client.detect(first).detections) == 5
    results = client.submit([first, second]).wait(60)
    assert [number_of(result.detections) for result in results] == [5, 6]
    assert [(result.source, result.filename) for result in results] == [
        (first, "5.png"),
        (second, "6.png"),
    ]
    with pytest.raises(ValueError, match="cannot go together: submit them apart"):
        client.submit([first, picture(3)])
    with pytest.raises(errors.UrlRefused, match="host is not one"):
        client.detect("http://127.0.0.1:9/photo.jpg")


def test_pixels_arrive_as_they_are() -> None:
    noise = np.random.default_rng(1).integers(0, 255, (40, 60, 3), np.uint8)
    for image in (noise, Image.fromarray(noise[..., ::-1])):
        name, arrived = sent(image)
        assert name == "image-0.png"
        assert np.array_equal(arrived, noise)


def test_what_would_be_too_large_a_png_is_sent_as_jpeg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sightline.client.pictures._LARGEST_PNG", 5000)
    noise = np.random.default_rng(1).integers(0, 255, (40, 60, 4), np.uint8)
    noise[:, 30:, 3], noise[:, :30, 3] = 255, 0
    grey = Image.fromarray(noise[..., :3].reshape(-1, 90))
    seen = {kind: sent(one) for kind, one in {"grey": grey, "see-through": noise}.items()}
    assert {name for name, _ in seen.values()} == {"image-0.jpg"}
    assert np.abs(seen["grey"][1][..., 0] - np.asarray(grey, float)).mean() < 5
    assert np.abs(seen["see-through"][1][:, 32:] - noise[:, 32:, :3]).mean() < 5, "in all colours"
    assert seen["see-through"][1][:, :24].min() > 240, "white, as the service has it"
    deep = Image.fromarray(noise.view(np.uint16)[..., 0].repeat(3, 1))
    assert sent(deep)[0] == "image-0.png", "JPEG has 8 bits"


def sent(image: Any) -> tuple[str, np.ndarray[Any, np.dtype[np.float64]]]:
    """The name and the BGR pixels that a service gets."""
    made = picture_of(image)
    assert isinstance(made, Picture)
    with made.open() as file:
        arrived = cv2.imdecode(np.frombuffer(file.read(), np.uint8), cv2.IMREAD_COLOR)
    assert arrived is not None
    return made.name, arrived.astype(float)


def test_a_turned_pillow_image_is_sent_upright(client: Any) -> None:
    image = Image.new("RGB", (40, 20), (200, 200, 200))
    image.getexif()[0x0112] = 6  # a quarter turn
    found = client.detect(image).detections
    assert (found.width, found.height) == (20, 40)


def test_what_opencv_reads(server: Live) -> None:
    """Typed, for mypy: what OpenCV reads may be of any dtype, as far as it tells."""
    image = cv2.imread(str(on_disk(picture(3))))
    assert image is not None
    with Client(server.url) as client, tempfile.SpooledTemporaryFile() as file:
        assert number_of(client.detect(image).detections) == 3
        file.write(picture(4))
        first, second = client.submit([image, file]).wait(60)
    assert [number_of(one.detections) for one in (first, second)] == [3, 4]


def test_a_stack_of_arrays(client: Any) -> None:
    results = client.submit(np.stack([shade(3)] * 4)).wait(60)
    assert [number_of(result.detections) for result in results] == [3] * 4


def test_any_iterable(client: Any) -> None:
    results = client.submit(picture(number) for number in (4, 2)).wait(60)
    assert [number_of(result.detections) for result in results] == [4, 2]


@pytest.fixture
def folder() -> Path:
    """Pictures 0 to 9 in it, and one and a text in a folder in it."""
    root = Path("photos")
    (root / "more").mkdir(parents=True)
    for number in range(10):
        (root / f"{number}.png").write_bytes(picture(number))
    (root / "more" / "11.PNG").write_bytes(picture(11))
    (root / "notes.txt").write_text("no picture")
    return root


def test_a_folder_is_all_pictures_in_it(client: Any, folder: Path) -> None:
    results = client.submit(folder).wait(60)
    assert [number_of(result.detections) for result in results] == [*range(10), 11]
    assert results[10].source == os.fspath(folder / "more" / "11.PNG")
    assert results[10].filename == "11.PNG"
    with pytest.raises(IsADirectoryError, match="`submit` takes all pictures"):
        client.detect(folder)


def test_a_glob(client: Any, folder: Path) -> None:
    results = client.submit([str(folder / "[13].png"), folder / "*/*"]).wait(60)
    assert [number_of(result.detections) for result in results] == [1, 3, 11]


def test_odd_names_arrive(client: Any) -> None:
    for name in ('say "cheese".png', "ümlaut, 日本.png", "semi;colon\\.png", "100%.png"):
        Path(name).write_bytes(picture(8))
        (result,) = client.submit(Path(name)).wait(60)
        assert result.source == name
        assert result.filename == name.replace('"', "%22").replace("\\", "%5C")


@pytest.mark.parametrize(
    ("image", "error", "message"),
    [
        (Path("missing.jpg"), FileNotFoundError, "missing.jpg"),
        ("no/such/*.jpg", ConfigError, "there are no pictures"),
        ("", FileNotFoundError, "No such file"),
        (42, TypeError, "not int"),
        ([], ValueError, "no pictures to submit"),
        (np.zeros((4, 4), np.float32), ValueError, "float32"),
        (np.zeros((4, 4, 2), np.uint8), ValueError, r"\[4, 4, 2\]"),
        (np.zeros((0, 4, 3), np.uint8), ValueError, r"\[0, 4, 3\]"),
    ],
)
def test_what_is_no_picture(client: Any, image: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        client.submit(image)


def test_a_file_of_text(client: Any) -> None:
    Path("text.jpg").write_text("words")
    with Path("text.jpg").open() as file, pytest.raises(TypeError, match="binary mode"):
        client.detect(file)
    with pytest.raises(errors.UnsupportedImage) as refused:
        client.detect("text.jpg")
    assert isinstance(refused.value, errors.ImageRefused)
    assert refused.value.status == 415


def test_a_file_that_shrinks_while_it_is_sent(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path = on_disk(picture(3))

    def shrinking(*args: Any) -> Any:
        os.truncate(path, 20)
        return FormUpload(*args)

    monkeypatch.setattr(core, "FormUpload", shrinking)
    with pytest.raises(errors.FileChanged, match=r"three\.png became shorter"):
        client.detect(path)
