"""The table of all threads."""

from __future__ import annotations

import threading
from pathlib import Path

import sightline
from sightline import threads
from sightline.threads import PREFIX, Threads

ROWS = [row for row in vars(threads).values() if isinstance(row, Threads)]


def test_names_tell_threads_apart() -> None:
    names = [row.name for row in ROWS]
    assert len(set(names)) == len(names)
    assert all(name == name.lower() and " " not in name for name in names)


def test_a_thread_has_its_name_and_argument() -> None:
    found: list[object] = []
    row = Threads("example")
    thread = row.start(lambda one: found.extend([one, threading.current_thread().name]), 1)
    thread.join(60)
    assert found == [1, f"{PREFIX}example"]
    assert thread.daemon
    assert not Threads("example", daemon=False).make(print).daemon


def test_a_pool_is_as_large_as_the_table_says() -> None:
    for row, count, expected in ((Threads("a", 2), 0, 2), (Threads("b", 0), 3, 3)):
        with row.pool(count) as pool:
            assert pool._max_workers == expected
            name = pool.submit(lambda: threading.current_thread().name).result(60)
        assert name == f"{PREFIX}{row.name}_0"


def test_no_other_module_of_the_service_makes_threads() -> None:
    package = Path(sightline.__file__).parent
    found = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if "Thread(" in (text := path.read_text("utf-8")) or "ThreadPoolExecutor(" in text
    }
    others = {"bench/inprocess.py", "bench/service.py"}  # which measure it
    assert found == {"threads.py"} | others
