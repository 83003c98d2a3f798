"""ONNX policies answer what the network is, one robot at a time or many at once; other files are refused in words."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")

import onnx

from lyra.worldgen.core.errors import InputError
from lyra_tasks.exported import OnnxPolicy

WEIGHTS = np.random.default_rng(5).normal(size=(5, 2)).astype(np.float32)


def write_network(path, *, rows: int | str, outputs: int = 1):
    """tanh(x W) for tables of so many rows; a string leaves their number open."""
    helper, single = onnx.helper, onnx.TensorProto.FLOAT
    nodes = [helper.make_node("MatMul", ["obs", "W"], ["sum"]), helper.make_node("Tanh", ["sum"], ["actions"])]
    results = [helper.make_tensor_value_info("actions", single, [rows, 2])]
    if outputs > 1:
        results.append(helper.make_tensor_value_info("sum", single, [rows, 2]))
    graph = helper.make_graph(
        nodes,
        "policy",
        [helper.make_tensor_value_info("obs", single, [rows, 5])],
        results,
        [onnx.numpy_helper.from_array(WEIGHTS, "W")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path


@pytest.mark.parametrize("rows", [1, "robots"])
@pytest.mark.parametrize("count", [1, 7])
def test_actions_are_the_networks(tmp_path, rows, count):
    """To single precision, in the order of the robots."""
    told = np.random.default_rng(count).normal(size=(count, 5))
    found = OnnxPolicy(write_network(tmp_path / "policy.onnx", rows=rows)).actions(told)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, np.tanh(told @ WEIGHTS), atol=1e-6)


def test_other_tasks_and_files_are_refused(tmp_path):
    """A policy for other observations, a network with two results, a file that is no network."""
    policy = OnnxPolicy(write_network(tmp_path / "policy.onnx", rows=1))
    with pytest.raises(InputError, match="wants 5 numbers, this task tells 43"):
        policy.actions(np.zeros((1, 43)))
    with pytest.raises(InputError, match="2 outputs"):
        OnnxPolicy(write_network(tmp_path / "two.onnx", rows=1, outputs=2))
    (tmp_path / "text.onnx").write_text("no network")
    with pytest.raises(InputError, match="cannot be run as an ONNX policy"):
        OnnxPolicy(tmp_path / "text.onnx")
