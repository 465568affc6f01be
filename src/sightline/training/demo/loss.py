"""Detection loss with task-aligned assignment (Feng et al. 2021).

A toy is assigned to the cells that predict it best, by class score and overlap; class targets are
soft: they follow the overlap.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

_CELLS_PER_TOY = 10
_SCORE_POWER, _OVERLAP_POWER = 0.5, 6.0
_CLASS_WEIGHT, _BOX_WEIGHT = 0.5, 5.0


class Assigned(NamedTuple):
    """Targets of each cell: boxes [B, cells, 4], class scores [B, cells, classes] in 0..1."""

    boxes: Tensor
    scores: Tensor


def detection_loss(
    logits: Tensor, boxes: Tensor, cells: Tensor, true_boxes: Tensor, true_class: Tensor
) -> Tensor:
    """The training loss, a scalar.

    Args:
        logits: [B, cells, classes].
        boxes: [B, cells, 4] xyxy, input pixels.
        cells: [cells, 3], middle and stride.
        true_boxes: [B, toys, 4] xyxy, input pixels; rows without a toy are all zero.
        true_class: int64 [B, toys]; -1 where there is no toy.
    """
    target = assign(logits.detach().sigmoid(), boxes.detach(), cells, true_boxes, true_class)
    total = target.scores.sum().clamp(min=1)
    # binary cross-entropy with soft targets, over the cells of all grids
    classes = functional.binary_cross_entropy_with_logits(logits, target.scores, reduction="sum")
    weight = target.scores.sum(-1)
    busy = weight > 0
    apart = (1 - generous_iou(boxes[busy], target.boxes[busy])) * weight[busy]
    return (_CLASS_WEIGHT * classes + _BOX_WEIGHT * apart.sum()) / total


@torch.no_grad()
def assign(
    scores: Tensor, boxes: Tensor, cells: Tensor, true_boxes: Tensor, true_class: Tensor
) -> Assigned:
    """Targets for every cell; arguments as `detection_loss`, `scores` in 0..1."""
    real = true_class >= 0
    overlap = iou(true_boxes[:, :, None], boxes[:, None]).clamp(min=0)  # [B, toys, cells]
    index = true_class.clamp(min=0)[..., None].expand(-1, -1, scores.shape[1])
    score = scores.transpose(1, 2).gather(1, index)
    inside = _inside(cells, true_boxes) & real[..., None]
    fitness = score**_SCORE_POWER * overlap**_OVERLAP_POWER * inside
    best, chosen = fitness.topk(_CELLS_PER_TOY, -1)
    picked = torch.zeros_like(fitness).scatter_(-1, chosen, (best > 1e-9).float()) * inside
    # A cell that two toys pick goes to the one that it overlaps more.
    owner = (overlap * picked).argmax(1)  # [B, cells]
    taken = picked.sum(1) > 0
    picked = picked * functional.one_hot(owner, picked.shape[1]).transpose(1, 2)
    # The target score of a toy's best cell is the toy's best overlap.
    fitness = fitness * picked
    peak = fitness.amax(-1, keepdim=True).clamp(min=1e-9)
    quality = (overlap * picked).amax(-1, keepdim=True)
    strength = (fitness / peak * quality).amax(1)
    toy_class = index[:, :, 0].gather(1, owner)
    target = functional.one_hot(toy_class, scores.shape[-1]) * (strength * taken)[..., None]
    return Assigned(true_boxes.gather(1, owner[..., None].expand(-1, -1, 4)), target)


def _inside(cells: Tensor, true_boxes: Tensor) -> Tensor:
    """Whether each cell's centre lies in each box: bool [B, toys, cells]."""
    low = cells[:, :2] - true_boxes[:, :, None, :2]
    high = true_boxes[:, :, None, 2:] - cells[:, :2]
    return torch.cat([low, high], -1).amin(-1) > 0


def iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of boxes xyxy; shapes broadcast."""
    return _overlap(a, b)[0]


def generous_iou(a: Tensor, b: Tensor) -> Tensor:
    """Generalised IoU, -1..1: negative for boxes that do not overlap, by their distance."""
    overlap, union = _overlap(a, b)
    hull = torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])
    area = hull.prod(-1).clamp(min=1e-6)
    return overlap - (area - union) / area


def _overlap(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """IoU and union, px²."""
    shared = torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])
    both = shared.clamp(min=0).prod(-1)
    union = (a[..., 2:] - a[..., :2]).prod(-1) + (b[..., 2:] - b[..., :2]).prod(-1) - both
    return both / union.clamp(min=1e-6), union
