"""The embedded label network, run with NumPy: floor, wall, ceiling, object and sky of a small picture.

Weights are a safetensors file in the package; `tools/label_net` makes and trains them. The network sees the picture
and what the camera already tells about each pixel: its latitude and the depth of the floor plane there.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ..core.arrays import expect_shape
from ..core.errors import BackendError
from ..core.optional import require

WEIGHTS_NAME = "label_net.safetensors"
WIDTH_PX = 160
CLASSES = ("floor", "wall", "ceiling", "object", "sky")
FLOOR, WALL, CEILING, OBJECT, SKY = range(5)
_STRIDE = 32
_BLOCKS = (1, 1, 1, 2, 1)
_BN_EPS = 1e-5
_MAX_WEIGHT_BYTES = 64 << 20

Tensors = Mapping[str, np.ndarray]


@dataclass(frozen=True, kw_only=True)
class NetLabels:
    """What the network says, at its own small size."""

    probability: np.ndarray
    """[5, h, w] float32 in the order of `CLASSES`, sums to one."""
    log_depth: np.ndarray
    """[h, w] float32, log of depth over camera height."""


def read_safetensors(data: bytes) -> dict[str, np.ndarray]:
    """Tensors of a safetensors file as float32; raises `BackendError` when the file is malformed."""
    try:
        size = int.from_bytes(data[:8], "little")
        if len(data) < 8 or size > len(data) - 8:
            raise ValueError("header is longer than the file")
        header = json.loads(data[8 : 8 + size])
        body = memoryview(data)[8 + size :]
        tensors = {}
        for name, entry in header.items():
            if name == "__metadata__":
                continue
            begin, end = entry["data_offsets"]
            dtype = {"F16": np.dtype("<f2"), "F32": np.dtype("<f4")}[entry["dtype"]]
            if not 0 <= begin <= end <= len(body) or end - begin != math.prod(entry["shape"]) * dtype.itemsize:
                raise ValueError(f"tensor '{name}' lies outside the file")
            tensors[name] = np.frombuffer(body[begin:end], dtype).reshape(entry["shape"]).astype(np.float32)
        return tensors
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BackendError(f"label network weights are malformed ({error}); reinstall the package") from error


@functools.lru_cache(maxsize=1)
def load_packaged_net() -> LabelNet:
    """The network that ships with the package; raises `BackendError` when its weights are missing or malformed."""
    file = resources.files("lyra.worldgen.generation").joinpath("data", WEIGHTS_NAME)
    try:
        data = file.read_bytes()
    except OSError as error:
        raise BackendError(f"label network weights cannot be read ({error}); reinstall the package") from error
    if len(data) > _MAX_WEIGHT_BYTES:
        raise BackendError(f"label network weights have {len(data)} bytes; expected at most {_MAX_WEIGHT_BYTES}")
    return LabelNet(read_safetensors(data))


class LabelNet:
    """Encoder-decoder of `tools/label_net/model.py`; channels last, batch norm folded into the convolutions."""

    def __init__(self, tensors: Tensors) -> None:
        try:
            self._stem = _folded(tensors, "stem", stride=2)
            self._encoder = []
            for i, blocks in enumerate(_BLOCKS):
                down = [] if i == 0 else [_folded(tensors, f"encoder.{i}.0", stride=2)]
                first = len(down)
                residuals = [
                    (_folded(tensors, f"encoder.{i}.{first + j}.a"), _folded(tensors, f"encoder.{i}.{first + j}.b"))
                    for j in range(blocks)
                ]
                self._encoder.append((down, residuals))
            self._context = (tensors["context.weight"].T.copy(), tensors["context.bias"])
            self._decoder = [_folded(tensors, f"decoder.{i}") for i in range(4)]
            self._head = _folded(tensors, "head.0")
            self._out = (tensors["head.1.weight"][:, :, 0, 0].T.copy(), tensors["head.1.bias"])
        except (KeyError, ValueError, IndexError) as error:
            raise BackendError(f"label network weights do not fit the network ({error}); reinstall") from error

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Raw outputs [H/2, W/2, 7] of an input [H, W, 7]; H and W are multiples of 32."""
        expect_shape("x", x, (None, None, 7))
        x = _relu(self._stem(x))
        skips = []
        for down, residuals in self._encoder:
            for conv in down:
                x = _relu(conv(x))
            for a, b in residuals:
                x = _relu(x + b(_relu(a(x))))
            skips.append(x)
        weight, bias = self._context
        x = x + _relu(x.mean((0, 1)) @ weight + bias)
        for skip, conv in zip(skips[3::-1], self._decoder, strict=True):
            x = _relu(conv(np.concatenate([_doubled(x), skip], -1)))
        weight, bias = self._out
        return _relu(self._head(x)) @ weight + bias

    def label(self, rgb_u8: np.ndarray, *, log_f: float, up_cam: np.ndarray) -> NetLabels:
        """Labels of a picture.

        Args:
            rgb_u8: [H, W, 3].
            log_f: logarithm of the focal length in units of half the long side.
            up_cam: [3] world +Z in the camera.
        """
        height, width = rgb_u8.shape[:2]
        small = _network_size(rgb_u8)
        h = len(small)
        # Rows are stretched to a multiple of 32; the camera channels undo that, the picture keeps the stretch.
        f_px = math.exp(log_f) * 0.5 * max(width, height) * WIDTH_PX / width
        x = network_input(small, f_px=f_px, f_row_px=f_px * h * width / (WIDTH_PX * height), up_cam=up_cam)
        straight = self(x)
        mirrored = self(
            network_input(
                small[:, ::-1],
                f_px=f_px,
                f_row_px=f_px * h * width / (WIDTH_PX * height),
                up_cam=up_cam * np.array([-1.0, 1.0, 1.0]),
            )
        )
        out = 0.5 * (straight + mirrored[:, ::-1])
        return NetLabels(probability=_softmax(out[..., 2:7]), log_depth=out[..., 0])


def _network_size(rgb_u8: np.ndarray) -> np.ndarray:
    """The picture at the network's width, rows stretched to a multiple of the stride."""
    cv2 = require("cv2", extra="gen", package="opencv-python-headless")
    height, width = rgb_u8.shape[:2]
    h = int(np.clip(round(WIDTH_PX * height / width / _STRIDE) * _STRIDE, 2 * _STRIDE, 8 * _STRIDE))
    return cv2.resize(rgb_u8, (WIDTH_PX, h), interpolation=cv2.INTER_AREA)


def _softmax(logits: np.ndarray) -> np.ndarray:
    """[5, h, w] probabilities of logits [h, w, 5]."""
    e = np.exp(logits - logits.max(-1, keepdims=True))
    return np.ascontiguousarray(np.moveaxis(e / e.sum(-1, keepdims=True), -1, 0), np.float32)


def network_input(rgb_u8: np.ndarray, *, f_px: float, f_row_px: float, up_cam: np.ndarray) -> np.ndarray:
    """[H, W, 7] float32: normalised colour, centred x and y, latitude and floor-plane channels."""
    h, w = rgb_u8.shape[:2]
    xs, ys = np.arange(w) + 0.5 - w / 2, np.arange(h) + 0.5 - h / 2
    x = np.empty((h, w, 7), np.float32)
    x[..., :3] = (rgb_u8 / np.float32(255.0) - np.float32(0.45)) / np.float32(0.25)
    x[..., 3], x[..., 4] = xs / (w / 2), (ys / (w / 2))[:, None]
    ray_x, ray_y = xs / f_px, (ys / f_row_px)[:, None]
    rise = ray_x * up_cam[0] + ray_y * up_cam[1] + up_cam[2]
    x[..., 5] = 2.0 * rise / np.sqrt(ray_x**2 + ray_y**2 + 1.0)
    x[..., 6] = 2.0 * np.clip(-rise, 0.0, 1.5)
    return x


def _relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0.0)


def _doubled(x: np.ndarray) -> np.ndarray:
    """Bilinear enlargement by two of [h, w, c], pixel centres at +0.5, edges held."""
    for axis in (0, 1):
        n = x.shape[axis]
        before = np.take(x, np.maximum(np.arange(n) - 1, 0), axis)
        after = np.take(x, np.minimum(np.arange(n) + 1, n - 1), axis)
        pair = np.stack([0.25 * before + 0.75 * x, 0.75 * x + 0.25 * after], axis + 1)
        x = pair.reshape(*x.shape[:axis], 2 * n, *x.shape[axis + 1 :])
    return x


class _Conv:
    """Convolution with zero padding as one matrix product."""

    def __init__(self, weight: np.ndarray, bias: np.ndarray, stride: int) -> None:
        self.size, self.stride, self.bias = weight.shape[-1], stride, bias
        # The window view puts the taps behind the channels: [c_in, k, k] is the order of the weights.
        self.matrix = weight.reshape(len(weight), -1).T.copy()

    def __call__(self, x: np.ndarray) -> np.ndarray:
        pad = self.size // 2
        x = np.pad(x, ((pad, pad), (pad, pad), (0, 0)))
        windows = sliding_window_view(x, (self.size, self.size), (0, 1))[:: self.stride, :: self.stride]
        h, w = windows.shape[:2]
        return (windows.reshape(h * w, -1) @ self.matrix).reshape(h, w, -1) + self.bias


def _folded(tensors: Tensors, name: str, *, stride: int = 1) -> _Conv:
    """Convolution `name.0` with the batch norm `name.1` worked into its weights."""
    gain = tensors[f"{name}.1.weight"] / np.sqrt(tensors[f"{name}.1.running_var"] + _BN_EPS)
    weight = tensors[f"{name}.0.weight"] * gain[:, None, None, None]
    return _Conv(weight, tensors[f"{name}.1.bias"] - tensors[f"{name}.1.running_mean"] * gain, stride)
