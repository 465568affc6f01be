"""Engines keep to the cores that the process was given."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support import graphs

needs_affinity = pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity") or len(os.sched_getaffinity(0)) < 2,
    reason="needs Linux and two cores, to take one away",
)

COUNT = """
import os, sys
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
import numpy as np
from sightline import Detector

def ours(): return {int(task) for task in os.listdir("/proc/self/task")}

with Detector(sys.argv[1], engine=sys.argv[2]) as detector:
    engine = detector._engine
    if sys.argv[2] == "openvino":
        print(engine._alone._network.get_property("INFERENCE_NUM_THREADS"))
    else:
        print(engine._session.get_session_options().intra_op_num_threads)
    detector.detect(np.zeros((64, 64, 3), np.uint8))
    print(len(set().union(*(os.sched_getaffinity(task) for task in ours()))))
"""


@needs_affinity
@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_one_core_is_one_thread_and_no_thread_leaves_it(tmp_path: Path, engine: str) -> None:
    path = graphs.seeing_network(tmp_path / "m.onnx", image=(1, 3, 64, 64))
    output = subprocess.run(
        [sys.executable, "-c", COUNT, str(path), engine],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    ).stdout
    threads, allowed = output.split()
    assert threads == "1"
    assert allowed == "1", "every thread keeps to the core that the process was given"
