"""A small anchor-free detector: one prediction of class and box per cell of three grids."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

STRIDES = (8, 16, 32)
"""Pixels between the cells of each grid, finest first."""


class DemoNet(nn.Module):
    """The demo model's network; about 0.6 million parameters.

    Args:
        classes: number of classes.
        neck: channels of the maps that the head reads.
    """

    def __init__(self, classes: int, neck: int = 56) -> None:
        super().__init__()
        self.classes = classes
        self.stem = nn.Sequential(_conv(3, 16, 3, 2), _conv(16, 32, 3, 2), Residual(32))
        self.stage8 = nn.Sequential(_conv(32, 64, 3, 2), Residual(64), Residual(64))
        self.stage16 = nn.Sequential(_conv(64, 96, 3, 2), Residual(96), Residual(96))
        self.stage32 = nn.Sequential(_conv(96, 128, 3, 2), Residual(128), Context(128))
        self.lateral = nn.ModuleList(_conv(c, neck, 1) for c in (64, 96, 128))
        self.smooth = nn.ModuleList(_conv(neck, neck, 3) for _ in STRIDES)
        self.class_tower = nn.Sequential(_conv(neck, neck, 3), _conv(neck, neck, 3))
        self.box_tower = nn.Sequential(_conv(neck, neck, 3), _conv(neck, neck, 3))
        self.class_out = nn.Conv2d(neck, classes, 1)
        self.box_out = nn.Conv2d(neck, 4, 1)
        self.box_scale = nn.Parameter(torch.ones(len(STRIDES)))
        # Almost all cells are background: starting with low scores saves the first epochs.
        nn.init.constant_(self.class_out.bias, -4.5)
        nn.init.constant_(self.box_out.bias, 1.5)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Predictions for each cell of all grids, the finest grid first.

        Args:
            pictures: float [B, 3, H, W] RGB in 0..1; H and W multiples of 32.

        Returns:
            logits [B, cells, classes]; boxes [B, cells, 4] xyxy in input pixels; and
            [cells, 3]: x and y of each cell's centre and its stride, in pixels.
        """
        logits, boxes, cells = [], [], []
        for index, feature in enumerate(self._features(pictures)):
            stride = STRIDES[index]
            where = _grid(feature, stride)
            reach = self.box_out(self.box_tower(feature)) * self.box_scale[index]
            reach = functional.softplus(reach.float().flatten(2).transpose(1, 2)) * stride
            middle = where[:, :2]
            boxes.append(torch.cat([middle - reach[..., :2], middle + reach[..., 2:]], -1))
            scores = self.class_out(self.class_tower(feature))
            logits.append(scores.float().flatten(2).transpose(1, 2))
            cells.append(where)
        return torch.cat(logits, 1), torch.cat(boxes, 1), torch.cat(cells, 0)

    def _features(self, pictures: Tensor) -> list[Tensor]:
        fine = self.stage8(self.stem(pictures))
        middle = self.stage16(fine)
        coarse = self.stage32(middle)
        maps = [layer(x) for layer, x in zip(self.lateral, (fine, middle, coarse), strict=True)]
        for upper in (1, 0):
            maps[upper] = maps[upper] + functional.interpolate(maps[upper + 1], scale_factor=2.0)
        return [layer(x) for layer, x in zip(self.smooth, maps, strict=True)]


class Residual(nn.Module):
    """Residual bottleneck block: narrow, 3×3 convolution, widen, add."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _conv(channels, channels // 2, 1), _conv(channels // 2, channels, 3)
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class Context(nn.Module):
    """Enlarges the receptive field: features pooled at three sizes, concatenated."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.narrow = _conv(channels, channels // 2, 1)
        self.join = _conv(channels * 3 // 2, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        near = self.narrow(x)
        far = functional.max_pool2d(near, 5, 1, 2)
        further = functional.max_pool2d(far, 5, 1, 2)
        return x + self.join(torch.cat([near, far, further], 1))


class Exported(nn.Module):
    """The network with the output format of family `yolov8`: one output, no NMS."""

    def __init__(self, network: DemoNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, pictures: Tensor) -> Tensor:
        """[B, 4 + classes, cells]: cx, cy, width, height in input pixels, scores in 0..1."""
        logits, boxes, _ = self.network(pictures)
        low, high = boxes[..., :2], boxes[..., 2:]
        rows = torch.cat([(low + high) / 2, high - low, logits.sigmoid()], -1)
        return rows.transpose(1, 2)


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.SiLU(inplace=True),
    )


def _grid(feature: Tensor, stride: int) -> Tensor:
    """Centres of the cells and their stride, float32 [cells, 3], pixels, row by row."""
    height, width = feature.shape[2:]
    y = (torch.arange(height, device=feature.device).float() + 0.5) * stride
    x = (torch.arange(width, device=feature.device).float() + 0.5) * stride
    rows = y[:, None].expand(height, width).reshape(-1)
    columns = x[None, :].expand(height, width).reshape(-1)
    return torch.stack([columns, rows, torch.full_like(rows, stride)], 1)
