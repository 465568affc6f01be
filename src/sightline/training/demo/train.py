"""The training loop: AdamW, one warm-up and one cosine, and a moving average that is kept."""

from __future__ import annotations

import logging
import math
import os
import time
from typing import TYPE_CHECKING

import numpy as np
import torch

from sightline.demo.toys import CLASSES
from sightline.training.demo.data import batches
from sightline.training.demo.loss import detection_loss
from sightline.training.demo.network import DemoNet

if TYPE_CHECKING:
    from sightline.training.demo.data import Example

_log = logging.getLogger("sightline")

BATCH = 16
_RATE, _DECAY = 2.5e-3, 0.03
_WARM_UP = 150  # steps
_MEMORY = 0.998  # share that the moving average keeps each step


def train(examples: list[Example], epochs: int, seed: int = 0) -> DemoNet:
    """A network trained from nothing on `examples`, its moving average, ready for export."""
    torch.manual_seed(seed)
    # One thread less than cores: threads that wait for a core somebody else uses spin, and turn
    # 70 pictures a second into 3.
    torch.set_num_threads(max(1, (os.cpu_count() or 1) - 1))
    rng = np.random.default_rng(seed)
    network = DemoNet(len(CLASSES)).to(memory_format=torch.channels_last)
    average = DemoNet(len(CLASSES))
    average.load_state_dict(network.state_dict())
    optimiser = torch.optim.AdamW(_groups(network), lr=_RATE)
    total = epochs * math.ceil(len(examples) / BATCH)
    step, started = 0, time.monotonic()
    for epoch in range(1, epochs + 1):
        losses = []
        for batch in batches(examples, BATCH, rng):
            for group in optimiser.param_groups:
                group["lr"] = _RATE * _schedule(step, total)
            pictures = batch.pictures.contiguous(memory_format=torch.channels_last)
            with torch.autocast("cpu", torch.bfloat16):
                logits, boxes, cells = network(pictures)
            loss = detection_loss(logits, boxes, cells, batch.boxes, batch.class_id)
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 10.0)
            optimiser.step()
            step += 1
            _follow(average, network, min(_MEMORY, step / (step + 50)))
            losses.append(float(loss.detach()))
        seconds = time.monotonic() - started
        _log.info("epoch %d of %d: loss %.3f, %.0f s", epoch, epochs, np.mean(losses), seconds)
    return average.eval()


def _groups(network: DemoNet) -> list[dict[str, object]]:
    """Weights decay; biases, norms and scales do not."""
    weights = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim <= 1]
    return [{"params": weights, "weight_decay": _DECAY}, {"params": others, "weight_decay": 0.0}]


def _schedule(step: int, total: int) -> float:
    """Share of the learning rate, 0..1."""
    done = min(step / max(total, 1), 1.0)
    return min(1.0, (step + 1) / _WARM_UP) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done)))


@torch.no_grad()
def _follow(average: DemoNet, network: DemoNet, keep: float) -> None:
    now = network.state_dict()
    for name, value in average.state_dict().items():
        if value.dtype.is_floating_point:
            value.lerp_(now[name], 1 - keep)
        else:
            value.copy_(now[name])
