"""The client to be called: runs the flows on the spot, and adds nothing to them."""

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
    """Talks to a Sightline service. Threads may share one."""

    def __init__(
        self,
        base_url: str | None = None,
        *,
        api_key: str | None = None,
        timeout: float = 30,
        patience: float = 120,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """A client; nothing is sent before it is asked for something.

        Proxies are those of the environment (HTTPS_PROXY, NO_PROXY), but none to this machine.

        Args:
            base_url: the service; if None, SIGHTLINE_URL, else http://127.0.0.1:8000.
            api_key: sent as `Authorization: Bearer`; if None, SIGHTLINE_API_KEY or SIGHTLINE_KEY.
            timeout: seconds of silence after which a connection counts as lost.
            patience: seconds for which a request is made again that found nobody there, or a
                service that is busy or just starting. Retry-After is honoured. That nobody is there
                is logged meanwhile, as a warning of `sightline.client`.
            transport: what sends requests instead of sockets: `httpx.MockTransport` in tests.

        Raises:
            ValueError: `base_url` is no address of a service, or `api_key` cannot be sent.
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
    """Pictures that were submitted with a Client: `AsyncTaskHandle`, to be called."""

    def __init__(self, handle: AsyncTaskHandle) -> None:
        self._handle = handle

    def __repr__(self) -> str:
        return f"<TaskHandle {self}>"

    def __str__(self) -> str:
        return str(self._handle)

    @property
    def ids(self) -> tuple[str, ...]:
        """The service's names for the tasks: `Client.task(*ids)` finds them again."""
        return self._handle.ids

    @property
    def total(self) -> int:
        """How many pictures there are."""
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
    """Methods without words of their own do what those of `core` say."""
    for name, method in vars(shell).items():
        if callable(method) and not method.__doc__ and hasattr(core, name):
            method.__doc__ = getattr(core, name).__doc__


_document(Client, ClientCore)
_document(TaskHandle, AsyncTaskHandle)
