"""Claims in flight: from loading the bytes through the `batch` lane to an outcome."""

from __future__ import annotations

from collections import deque
from concurrent.futures import CancelledError
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from sightline.serving.answer import to_answer
from sightline.tasks.retry_policy import decide
from sightline.tasks.task import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from sightline.serving.detector import Detector
    from sightline.serving.job import InferenceResult
    from sightline.serving.repository import Repository
    from sightline.tasks.image_loader import ImageLoader
    from sightline.tasks.task import Claim

_DEPTH = 4  # claims, while the default model is not loaded and its depth is not known


@dataclass(eq=False, slots=True)
class _Held:
    """A claim in flight, and its resources.

    Attributes:
        fetching: its bytes are being fetched from another host.
        lease: on its detector.
    """

    claim: Claim
    fetching: bool
    lease: ExitStack = field(default_factory=ExitStack)
    future: Future[InferenceResult] | None = None


class InFlight:
    """The claims in flight of one worker. For that worker's thread only."""

    def __init__(
        self, repository: Repository, pictures: ImageLoader, came: Callable[[], None]
    ) -> None:
        """No claims in flight.

        Args:
            repository: the models.
            pictures: loads the bytes; closed with this.
            came: called, on any thread, when there is an outcome to collect.
        """
        self._repository = repository
        self._pictures = pictures
        self._came = came
        self._held: set[_Held] = set()
        self._ended: deque[tuple[_Held, Outcome | None]] = deque()

    @property
    def claims(self) -> list[Claim]:
        """The claims that were begun and not collected."""
        return [held.claim for held in self._held]

    @property
    def busy(self) -> bool:
        """Whether at least half of the claims that keep the engine busy are still unfinished."""
        return 2 * (len(self._held) - self.fetching - len(self._ended)) >= self._depth

    @property
    def fetching(self) -> int:
        """Number of claims whose bytes are being fetched from other hosts."""
        return sum(held.fetching for held in self._held)

    @property
    def capacity(self) -> int:
        """Number of further claims that keep the engine busy; fetching ones do not count."""
        return self._depth - len(self._held) + self.fetching

    @property
    def _depth(self) -> int:
        loaded = self._repository.slots()[0].loaded
        return _DEPTH if loaded is None else loaded.detector.depth

    def begin(self, claim: Claim) -> None:
        held = _Held(claim, fetching=claim.blob is None)
        self._held.add(held)
        self._pictures.get(claim, partial(self._submit, held), partial(self._fail, held))

    def collect(self) -> list[Outcome]:
        """The outcomes since the last call. Their claims are not in flight any more."""
        outcomes = []
        while self._ended:
            held, outcome = self._ended.popleft()
            self._held.discard(held)
            if outcome is not None:
                outcomes.append(outcome)
        return outcomes

    def close(self) -> list[Claim]:
        """Cancel what is in flight.

        Returns:
            The claims that were not collected.
        """
        self._pictures.close()
        left = self.claims
        for held in self._held:
            if (future := held.future) is not None:
                future.cancel()
        return left

    def _submit(self, held: _Held, data: bytes) -> None:
        held.fetching = False
        claim = held.claim
        with ExitStack() as lease:
            detector = lease.enter_context(self._repository.lease(claim.model))
            future = detector.submit(data, lane="batch", **claim.options)
            held.lease = lease.pop_all()
        held.future = future
        future.add_done_callback(partial(self._done, held, detector, len(data)))

    def _done(
        self, held: _Held, detector: Detector, size: int, future: Future[InferenceResult]
    ) -> None:
        held.future = None  # breaks a reference cycle: the future holds this callback
        self._pictures.let_go(size)
        outcome = None
        try:
            outcome = Outcome(held.claim, to_answer(detector, future.result()))
        except CancelledError:
            pass  # by `close`
        except BaseException as error:  # noqa: BLE001  every claim must end
            outcome = decide(held.claim, error)
        finally:
            held.lease.close()
            self._end(held, outcome)

    def _fail(self, held: _Held, error: BaseException) -> None:
        self._end(held, decide(held.claim, error))

    def _end(self, held: _Held, outcome: Outcome | None) -> None:
        self._ended.append((held, outcome))
        self._came()
