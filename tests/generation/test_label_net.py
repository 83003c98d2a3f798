"""The embedded network: weights are read strictly, NumPy computes what torch trains, mirroring mirrors."""

from __future__ import annotations

import json
import struct
import sys

import numpy as np
import pytest

from lyra.worldgen.core.errors import BackendError
from lyra.worldgen.generation.label_net import LabelNet, load_packaged_net, network_input, read_safetensors


def test_probabilities_sum_to_one_and_mirror():
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 255, (96, 160, 3), np.uint8)
    up = np.array([0.05, -0.99, 0.1])
    one = load_packaged_net().label(rgb, log_f=0.3, up_cam=up)
    two = load_packaged_net().label(rgb[:, ::-1].copy(), log_f=0.3, up_cam=up * [-1, 1, 1])
    np.testing.assert_allclose(one.probability.sum(0), 1.0, atol=1e-5)
    np.testing.assert_allclose(one.probability, two.probability[..., ::-1], atol=1e-4)


@pytest.mark.parametrize("shape", [(96, 160), (160, 96), (20, 800), (800, 20), (33, 47)])
def test_any_shape_is_labelled(shape):
    found = load_packaged_net().label(np.zeros((*shape, 3), np.uint8), log_f=0.3, up_cam=np.array([0.0, -1.0, 0.0]))
    assert np.isfinite(found.probability).all() and found.probability.shape[0] == 5


def test_numpy_computes_what_torch_trains(repository, monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.syspath_prepend(str(repository / "tools" / "label_net"))
    monkeypatch.delitem(sys.modules, "model", raising=False)
    import model

    torch.manual_seed(0)
    reference = model.LabelNet()
    with torch.no_grad():
        for name, value in reference.named_buffers():  # statistics that are not the identity
            if "running" in name:
                value.copy_(torch.rand_like(value) + 0.5)
    reference.eval()
    tensors = {k: v.numpy() for k, v in reference.state_dict().items()}
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 255, (64, 96, 3), np.uint8)
    x = network_input(rgb, f_px=80.0, f_row_px=90.0, up_cam=np.array([0.0, -1.0, 0.0]))
    with torch.no_grad():
        want = reference(torch.from_numpy(np.moveaxis(x, -1, 0).copy())[None])[0].numpy()
    np.testing.assert_allclose(np.moveaxis(LabelNet(tensors)(x), -1, 0), want, atol=1e-4)


def _file(header: object, body: bytes = b"") -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff" * 64,
        struct.pack("<Q", 1 << 40),
        _file({"a": {"dtype": "F16", "shape": [4], "data_offsets": [0, 8]}}),
        _file({"a": {"dtype": "F16", "shape": [4], "data_offsets": [-8, 0]}}, bytes(8)),
        _file({"a": {"dtype": "F64", "shape": [1], "data_offsets": [0, 8]}}, bytes(8)),
        _file({"a": {"dtype": "F16", "shape": [3], "data_offsets": [0, 8]}}, bytes(8)),
        _file([1, 2]),
        _file({"a": 5}),
    ],
)
def test_malformed_weights_are_refused(data):
    with pytest.raises(BackendError, match="malformed"):
        read_safetensors(data)


def test_weights_of_another_network_are_refused():
    with pytest.raises(BackendError, match="do not fit"):
        LabelNet({"stem.0.weight": np.zeros((16, 7, 5, 5), np.float32)})
