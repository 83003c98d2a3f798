"""The label network as a trainable torch module; `generation/label_net.py` runs the same weights with NumPy."""

from __future__ import annotations

import torch  # noqa: TID253 - training tool, never imported by the product
import torch.nn.functional as F  # noqa: TID253 - training tool
from torch import nn  # noqa: TID253 - training tool

WIDTHS = (16, 32, 64, 112, 160)
BLOCKS = (1, 1, 1, 2, 1)
IN_CHANNELS = 7
"""Red, green, blue, x, y, doubled sine of latitude, doubled inverse floor depth."""
OUT_CHANNELS = 7
"""log(depth / camera height), log of its Laplace scale, logits of floor, wall, ceiling, object, sky."""


def conv_bn(c_in: int, c_out: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(c_out), nn.ReLU()
    )


class Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.a = conv_bn(channels, channels)
        self.b = conv_bn(channels, channels)[:2]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(x + self.b(self.a(x)))


class LabelNet(nn.Module):
    """Encoder-decoder with a global context vector; output at half the input's resolution."""

    def __init__(self) -> None:
        super().__init__()
        w = WIDTHS
        self.stem = conv_bn(IN_CHANNELS, w[0], 5, 2)
        self.encoder = nn.ModuleList()
        for i, (width, blocks) in enumerate(zip(w, BLOCKS, strict=True)):
            down = [] if i == 0 else [conv_bn(w[i - 1], width, 3, 2)]
            self.encoder.append(nn.Sequential(*down, *[Residual(width) for _ in range(blocks)]))
        self.context = nn.Linear(w[4], w[4])
        joined = [(w[4] + w[3], w[3]), (w[3] + w[2], w[2]), (w[2] + w[1], w[1]), (w[1] + w[0], 32)]
        self.decoder = nn.ModuleList([conv_bn(a, b) for a, b in joined])
        self.head = nn.Sequential(conv_bn(32, 32), nn.Conv2d(32, OUT_CHANNELS, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, 7, H, W] with H and W multiples of 32 → [B, 7, H/2, W/2]."""
        x = self.stem(x)
        skips = []
        for stage in self.encoder:
            x = stage(x)
            skips.append(x)
        x = x + F.relu(self.context(x.mean((2, 3))))[..., None, None]
        for i, stage in enumerate(self.decoder):
            skip = skips[3 - i]
            x = F.interpolate(x, size=skip.shape[2:], mode="bilinear", align_corners=False)
            x = stage(torch.cat([x, skip], 1))
        return self.head(x)
