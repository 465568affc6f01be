"""Claims on their way: bytes, the detector's `batch` lane, and what came of each."""

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

_DEPTH = 4  # claims, where the model is not loaded and cannot be asked


@dataclass(eq=False, slots=True)
class _Held:
    """A claim under way, and what it takes up.

    Attributes:
        fetching: another host is asked for its bytes.
    """

    claim: Claim
    fetching: bool
    lease: ExitStack = field(default_factory=ExitStack)
    future: Future[InferenceResult] | None = None


class InFlight:
    """What is under way for a worker. All but the constructor's callback is for its one thread."""

    def __init__(
        self, repository: Repository, pictures: ImageLoader, came: Callable[[], None]
    ) -> None:
        """Nothing is under way.

        Args:
            repository: holds the models.
            pictures: gets the bytes; closed with this.
            came: called on any thread when there is something to collect.
        """
        self._repository = repository
        self._pictures = pictures
        self._came = came
        self._held: set[_Held] = set()
        self._ended: deque[tuple[_Held, Outcome | None]] = deque()

    @property
    def claims(self) -> list[Claim]:
        """Begun and not collected."""
        return [held.claim for held in self._held]

    @property
    def busy(self) -> bool:
        """Whether at least half of what keeps the engine busy is under way still."""
        return 2 * (len(self._held) - self.fetching - len(self._ended)) >= self._depth

    @property
    def fetching(self) -> int:
        """How many wait for other hosts."""
        return sum(held.fetching for held in self._held)

    @property
    def capacity(self) -> int:
        """How many more keep the engine busy; those that wait for other hosts do not count."""
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
        """What came since the last time. It is under way no more."""
        outcomes = []
        while self._ended:
            held, outcome = self._ended.popleft()
            self._held.discard(held)
            if outcome is not None:
                outcomes.append(outcome)
        return outcomes

    def close(self) -> list[Claim]:
        """Give up what is under way.

        Returns:
            Its claims.
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
        held.future = None  # it holds this callback, and with it the claim
        self._pictures.let_go(size)
        outcome = None
        try:
            outcome = Outcome(held.claim, to_answer(detector, future.result()))
        except CancelledError:
            pass  # given up
        except BaseException as error:  # noqa: BLE001  whatever it is, a claim has to end
            outcome = decide(held.claim, error)
        finally:
            held.lease.close()
            self._end(held, outcome)

    def _fail(self, held: _Held, error: BaseException) -> None:
        self._end(held, decide(held.claim, error))

    def _end(self, held: _Held, outcome: Outcome | None) -> None:
        self._ended.append((held, outcome))
        self._came()
