"""Whatever happens to tasks, in whatever order: they only go forward, and nothing is lost."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.tasks.fairness import PRIORITIES
from sightline.tasks.task import ENDED, Claim, Outcome, Task
from support.task_fixture import TaskFixture, answer, failed, open_tasks

RANK = {"queued": 0, "processing": 1, "completed": 2, "error": 2, "cancelled": 2}

ACTIONS = [
    "submit",
    "claim",
    "claim",
    "finish",
    "finish",
    "fail",
    "postpone",
    "give_back",
    "die",
    "cancel",
    "retry",
    "pass",
    "clean",
]

steps = st.lists(st.tuples(st.sampled_from(ACTIONS), st.integers(0, 5)), max_size=30)


class History:
    """Tasks, and two workers that hold some of their images."""

    def __init__(self, kept: TaskFixture) -> None:
        self.kept = kept
        self.seen: dict[str, Task] = {}
        self.held: dict[str, list[Claim]] = {"a": [], "b": []}

    def step(self, action: str, number: int) -> None:
        mine = self.held["ab"[number % 2]]
        match action:
            case "submit":
                task = self.kept.submit(number + 1, priority=PRIORITIES[number % 3])
                self.seen[task.id] = task
            case "pass":
                self.kept.clock.now += number
                for worker in self.held:
                    self.kept.queue.heartbeat(worker)
            case "clean":
                self.kept.cleaner.clean()
            case "cancel" | "retry":
                for task_id in list(self.seen)[number : number + 1]:
                    self.seen[task_id] = getattr(self.kept.store, action)(task_id)
            case "claim":
                mine += self.kept.claim(number + 1, "ab"[number % 2], idle=not mine)
            case _:
                self._let_go(action, "ab"[number % 2], mine)

    def _let_go(self, action: str, worker: str, mine: list[Claim]) -> None:
        match action:
            case "give_back":
                self.kept.queue.give_back(worker, mine)
            case "die":
                self.kept.queue.recover(worker)
            case _:
                self.kept.queue.finish(worker, [self._outcome(action, claim) for claim in mine])
        mine.clear()

    def _outcome(self, action: str, claim: Claim) -> Outcome:
        if action == "finish":
            return Outcome(claim, answer(claim))
        return failed(claim, retry_in=3.0 if action == "postpone" else None)

    def check(self) -> None:
        for task_id, before in self.seen.items():
            now = self.kept.store.get(task_id)
            assert RANK[now.status] >= RANK[before.status]
            assert now.version >= before.version
            assert (now.version == before.version) == (now == before)
            assert (now.status in ENDED) == all(image.status in ENDED for image in now.images)
            assert (now.ended is not None) == (now.status in ENDED)
            for was, image in zip(before.images, now.images, strict=True):
                assert image == was or was.status not in ENDED, "it had ended"
                if image.status == "completed":
                    assert image.result == {"task": task_id, "index": image.index}
            self.seen[task_id] = now

    def complete(self) -> None:
        """What is left can be done by whoever comes next."""
        for worker in self.held:
            self.kept.queue.recover(worker)
        for _ in range(1000):
            self.kept.clock.now += 0.001
            due = self.kept.queue.next_due()
            if not self.kept.work(10, "c") and due is None:
                break
            self.kept.clock.now = max(self.kept.clock.now, due or 0)
        self.check()
        assert all(task.status in ENDED for task in self.seen.values())


@given(steps)
@settings(max_examples=40)
def test_tasks_only_go_forward(done: list[tuple[str, int]]) -> None:
    with open_tasks("memory", Path()) as kept:
        history = History(kept)
        for action, number in done:
            history.step(action, number)
            history.check()
        history.complete()


@given(st.integers(0, 99), st.integers(1, 9), st.sampled_from(PRIORITIES))
@settings(max_examples=20)
def test_one_image_waits_for_few_of_a_hundred(begun: int, most: int, other: str) -> None:
    """At normal, behind a hundred at normal, while others come at any priority."""
    with open_tasks("memory", Path()) as kept:
        kept.submit(100)
        kept.submit(30, priority=other)
        kept.work(begun)
        short = kept.submit()
        claimed: list[str] = []
        while short.id not in claimed:
            claimed += [claim.task_id for claim in kept.work(most)]
        assert claimed.index(short.id) < 10
