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


def write_seeing_network(path, *, pictures=(1, 3, 2, 4)):
    """tanh(x W + mean of each picture)."""
    helper, single = onnx.helper, onnx.TensorProto.FLOAT
    nodes = [
        helper.make_node("MatMul", ["obs", "W"], ["sum"]),
        helper.make_node("ReduceMean", ["camera", "axes"], ["light"], keepdims=0),
        helper.make_node("Add", ["sum", "light"], ["both"]),
        helper.make_node("Tanh", ["both"], ["actions"]),
    ]
    graph = helper.make_graph(
        nodes,
        "policy",
        [
            helper.make_tensor_value_info("obs", single, [1, 5]),
            helper.make_tensor_value_info("camera", single, list(pictures)),
        ],
        [helper.make_tensor_value_info("actions", single, [1, 2])],
        [onnx.numpy_helper.from_array(WEIGHTS, "W"), onnx.numpy_helper.from_array(np.array([1, 2, 3]), "axes")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path


def test_pictures_go_in_beside_the_table(tmp_path):
    """Each robot's own one; a task that shows none or others is told which are wanted."""
    policy = OnnxPolicy(write_seeing_network(tmp_path / "policy.onnx"))
    assert policy.pictures == ("camera",)
    rng = np.random.default_rng(1)
    told, camera = rng.normal(size=(4, 5)), rng.normal(size=(4, 3, 2, 4))
    found = policy.actions(told, camera=camera)
    np.testing.assert_allclose(found, np.tanh(told @ WEIGHTS + camera.mean((1, 2, 3))[:, None]), atol=1e-6)
    with pytest.raises(InputError, match=r"'camera' of \[3, 2, 4\], this task shows none"):
        policy.actions(told)
    with pytest.raises(InputError, match=r"shows pictures of \[3, 2, 5\]"):
        policy.actions(told, camera=np.zeros((4, 3, 2, 5)))


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
