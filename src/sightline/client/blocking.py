"""The blocking client: runs the coroutines of `ClientCore` to completion, without an event loop."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sightline.client.core import ClientCore
from sightline.client.handle import AsyncTaskHandle
from sightline.client.service import HttpService, address_of
from sightline.client.transport import BlockingTransport, run, run_each

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable
    from typing import Self, Unpack

    import httpx

    from sightline.client.answers import Answer, Progress, Result
    from sightline.client.options import DetectArguments, SubmitArguments
    from sightline.client.pictures import Source


class Client:
    """Blocking client of a Sightline service. Threads may share one."""

    def __init__(
        self,
        base_url: str | None = None,
        *,
        api_key: str | None = None,
        timeout: float = 30,
        patience: float = 120,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """A client; it sends nothing until a method is called.

        Proxies are those of the environment (HTTPS_PROXY, NO_PROXY), except to this machine.

        Args:
            base_url: the service; if None, SIGHTLINE_URL, else http://127.0.0.1:8000.
            api_key: sent as `Authorization: Bearer`; if None, SIGHTLINE_API_KEY or SIGHTLINE_KEY.
            timeout: seconds without data after which a connection counts as lost.
            patience: seconds for which a request is retried while the service cannot be reached,
                is busy or is starting. Retry-After is honoured. While it cannot be reached, a
                warning is logged to `sightline.client`.
            transport: sends requests instead of sockets; `httpx.MockTransport` in tests.

        Raises:
            ValueError: `base_url` is not an http(s) address, or `api_key` is not printable ASCII.
        """
        address, here = address_of(base_url)
        io = BlockingTransport(transport, trust_env=not here)
        service = HttpService(io, address, api_key, timeout, patience)
        self._address = service.shown
        self._core = ClientCore(service)

    def __repr__(self) -> str:
        return f"Client({self._address!r})"

    def detect(self, image: Source, **options: Unpack[DetectArguments]) -> Answer:
        return run(self._core.detect(image, **options))

    def submit(
        self, images: Source | Iterable[Source], **options: Unpack[SubmitArguments]
    ) -> TaskHandle:
        return TaskHandle(run(self._core.submit(images, **options)))

    def task(self, *ids: str) -> TaskHandle:
        return TaskHandle(run(self._core.task(*ids)))

    def close(self) -> None:
        run(self._core.close())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class TaskHandle:
    """Handle of pictures that were submitted with a Client; the blocking `AsyncTaskHandle`."""

    def __init__(self, handle: AsyncTaskHandle) -> None:
        self._handle = handle

    def __repr__(self) -> str:
        return f"<TaskHandle {self}>"

    def __str__(self) -> str:
        return str(self._handle)

    @property
    def ids(self) -> tuple[str, ...]:
        """Ids of the tasks; `Client.task(*ids)` makes a handle of them again."""
        return self._handle.ids

    @property
    def total(self) -> int:
        """Number of pictures."""
        return self._handle.total

    def results(
        self, timeout: float | None = None, progress: Callable[[Progress], object] | None = None
    ) -> Generator[Result]:
        return run_each(self._handle.results(timeout, progress))

    def wait(
        self, timeout: float | None = None, progress: Callable[[Progress], object] | None = None
    ) -> list[Result]:
        return run(self._handle.wait(timeout, progress))

    def status(self) -> Progress:
        return run(self._handle.status())

    def cancel(self) -> Progress:
        return run(self._handle.cancel())

    def retry(self) -> Progress:
        return run(self._handle.retry())

    def annotated(self, index: int) -> bytes:
        return run(self._handle.annotated(index))


def _document(shell: type, core: type) -> None:
    """Copy docstrings from the methods of `core` to those of `shell` that have none."""
    for name, method in vars(shell).items():
        if callable(method) and not method.__doc__ and hasattr(core, name):
            method.__doc__ = getattr(core, name).__doc__


_document(Client, ClientCore)
_document(TaskHandle, AsyncTaskHandle)
