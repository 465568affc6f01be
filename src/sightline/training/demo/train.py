"""The training loop: AdamW, warm-up and cosine schedule, exponential moving average of weights."""

from __future__ import annotations

import copy
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
    from sightline.training.demo.data import Batch, Example

_log = logging.getLogger("sightline")

BATCH = 16
FINAL_EPOCHS = 3
"""Epochs at the end with frozen statistics of the batch norms.

Batches hold pictures of one shape, so their own statistics are biased: without these epochs the
loss is 0.6 in training and 1.3 on the same scenes afterwards, with boxes a few pixels off.
"""
_RATE, _FINAL_RATE, _DECAY = 2.5e-3, 1e-3, 0.03
_WARM_UP = 150  # steps
_AVERAGE_DECAY = 0.998  # of the moving average, per step


def train(examples: list[Example], epochs: int, seed: int = 0) -> DemoNet:
    """Train a network from scratch on `examples`, for `epochs` and `FINAL_EPOCHS` more."""
    torch.manual_seed(seed)
    # One thread less than cores: threads spin while they wait for a busy core, which turns 70
    # pictures a second into 3.
    torch.set_num_threads(max(1, (os.cpu_count() or 1) - 1))
    rng = np.random.default_rng(seed)
    network = run_stage(DemoNet(len(CLASSES)), examples, epochs, _RATE, rng)
    return freeze_norms(network, examples, rng)


def freeze_norms(network: DemoNet, examples: list[Example], rng: np.random.Generator) -> DemoNet:
    """Train `network` for `FINAL_EPOCHS` epochs with frozen statistics of its batch norms."""
    for module in network.modules():
        module.train(not isinstance(module, torch.nn.BatchNorm2d))
    return run_stage(network, examples, FINAL_EPOCHS, _FINAL_RATE, rng).eval()


def run_stage(
    network: DemoNet, examples: list[Example], epochs: int, rate: float, rng: np.random.Generator
) -> DemoNet:
    """Train `network` in its current mode, from learning rate `rate` down; returns its average."""
    network = network.to(memory_format=torch.channels_last)
    average = copy.deepcopy(network)
    optimiser = torch.optim.AdamW(_groups(network), lr=rate)
    total = epochs * math.ceil(len(examples) / BATCH)
    step, started = 0, time.monotonic()
    for epoch in range(1, epochs + 1):
        losses = []
        for batch in batches(examples, BATCH, rng):
            for group in optimiser.param_groups:
                group["lr"] = rate * _schedule(step, total)
            losses.append(_step(network, optimiser, batch))
            step += 1
            _follow(average, network, min(_AVERAGE_DECAY, step / (step + 50)))
        seconds = time.monotonic() - started
        _log.info("epoch %d of %d: loss %.3f, %.0f s", epoch, epochs, np.mean(losses), seconds)
    return average


def _step(network: DemoNet, optimiser: torch.optim.Optimizer, batch: Batch) -> float:
    pictures = batch.pictures.contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        logits, boxes, cells = network(pictures)
    loss = detection_loss(logits, boxes, cells, batch.boxes, batch.class_id)
    optimiser.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), 10.0)
    optimiser.step()
    return float(loss.detach())


def _groups(network: DemoNet) -> list[dict[str, object]]:
    """Parameter groups: weights with decay; biases, norms and scales without."""
    weights = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim <= 1]
    return [{"params": weights, "weight_decay": _DECAY}, {"params": others, "weight_decay": 0.0}]


def _schedule(step: int, total: int) -> float:
    """Factor of the learning rate at `step`, 0..1."""
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
