"""Foreign checkpoints: every kind that torch and safetensors write is read bit for bit, and damage is named."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import warnings
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lyra.worldgen.core.errors import InputError
from lyra.worldgen.generation.lyra2.checkpoint_reader import open_checkpoint

torch = pytest.importorskip("torch")


def state() -> dict:
    """A few tensors: bfloat16, a scalar, an empty one, a transposed one, a view into another."""
    generator = torch.Generator().manual_seed(3)
    whole = torch.randn(6, 5, generator=generator)
    return {
        "a.weight": torch.randn(4, 3, generator=generator).bfloat16(),
        "a.scalar": torch.tensor(2.5),
        "a.none": torch.empty(0, 3),
        "b.turned": whole.T,
        "b.view": whole[2:4],
        "b.last": torch.arange(40, dtype=torch.float16).reshape(8, 5),
    }


def write_pth(folder: Path) -> Path:
    torch.save(state(), folder / "x.pth")
    return folder / "x.pth"


def write_safetensors(folder: Path) -> Path:
    from safetensors.torch import save_file

    save_file({key: tensor.clone().contiguous() for key, tensor in state().items()}, folder / "x.safetensors")
    return folder / "x.safetensors"


def write_shards(folder: Path) -> Path:
    from safetensors.torch import save_file

    weight_map = {}
    for i, key in enumerate(state()):
        name = f"x-{i % 2}.safetensors"
        weight_map[key] = name
    for name in set(weight_map.values()):
        save_file({k: t.clone().contiguous() for k, t in state().items() if weight_map[k] == name}, folder / name)
    index = folder / "x.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return index


def write_distributed(folder: Path) -> Path:
    import torch.distributed.checkpoint as dcp

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dcp.save({**state(), "a._extra_state": b"counters"}, checkpoint_id=folder / "dcp", no_dist=True)
    return folder / "dcp"


WRITERS = [write_pth, write_safetensors, write_shards, write_distributed]


@pytest.mark.parametrize("write", WRITERS)
def test_every_kind_reads_bit_for_bit(write, tmp_path):
    """Keys, shapes, number types and bits are those that were written."""
    with open_checkpoint(write(tmp_path)) as found:
        assert set(found.tensors) == set(state())
        for key, tensor in state().items():
            read = found.read(key)
            assert found.tensors[key].shape == tuple(tensor.shape), key
            assert read.dtype == tensor.dtype and torch.equal(read, tensor), key
            assert read.is_contiguous() and read.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()


@pytest.mark.parametrize("write", [write_pth, write_safetensors])
def test_a_folder_with_one_file_is_that_file(write, tmp_path):
    """A folder needs no file name, and two candidates are not chosen between."""
    path = write(tmp_path)
    with open_checkpoint(tmp_path) as found:
        assert found.path == path
    path.with_name(f"y{path.suffix}").write_bytes(path.read_bytes())
    with pytest.raises(InputError, match="2 files"):
        open_checkpoint(tmp_path)


def test_nested_mappings_have_dotted_keys_and_other_values_are_listed(tmp_path):
    """Wrappers around a state dict do no harm, nor do step counts beside it."""
    torch.save({"model": {"net.x": torch.ones(2)}, "step": 7, "list": [torch.ones(1)]}, tmp_path / "x.pt")
    with open_checkpoint(tmp_path / "x.pt") as found:
        assert list(found.tensors) == ["model.net.x"] and found.others == ["step", "list"]


def test_modules_parameters_are_tensors(tmp_path):
    """Parameters, and the ordered dictionary with metadata that a module gives, are read."""
    layer = torch.nn.Linear(3, 2)
    torch.save({"p": layer.weight, "state": layer.state_dict()}, tmp_path / "x.pth")
    with open_checkpoint(tmp_path / "x.pth") as found:
        assert torch.equal(found.read("p"), layer.weight) and torch.equal(found.read("state.bias"), layer.bias)


def test_slices_of_several_ranks_are_put_together(tmp_path):
    """A tensor that two ranks hold half of each comes back whole."""
    from torch.distributed.checkpoint import metadata as meta
    from torch.distributed.checkpoint.filesystem import _StorageInfo

    whole = torch.randn(5, 4, generator=torch.Generator().manual_seed(1))
    chunks, storage = [], {}
    for rank, rows in enumerate((slice(0, 3), slice(3, 5))):
        buffer = io.BytesIO(b"")
        buffer.write(b"x" * 7)
        inner = io.BytesIO()
        torch.save(whole[rows].clone(), inner)
        buffer.write(inner.getvalue())
        (tmp_path / f"__{rank}_0.distcp").write_bytes(buffer.getvalue())
        corner = torch.Size((rows.start, 0))
        chunks.append(meta.ChunkStorageMetadata(offsets=corner, sizes=whole[rows].shape))
        storage[meta.MetadataIndex("net.w", corner, rank)] = _StorageInfo(
            f"__{rank}_0.distcp", 7, len(inner.getvalue())
        )
    described = meta.TensorStorageMetadata(meta.TensorProperties(dtype=torch.float32), whole.shape, chunks)
    metadata = meta.Metadata(state_dict_metadata={"net.w": described}, storage_data=storage)
    (tmp_path / ".metadata").write_bytes(pickle.dumps(metadata))
    with open_checkpoint(tmp_path) as found:
        assert torch.equal(found.read("net.w"), whole) and len(found.files) == 3
    described.chunks.pop()
    (tmp_path / ".metadata").write_bytes(pickle.dumps(metadata))
    with pytest.raises(InputError, match=r"'net.w' of shape \(5, 4\) is not covered"):
        open_checkpoint(tmp_path)


class Bomb:
    """Makes a file when it is unpickled the ordinary way."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self):
        return os.mkdir, (str(self.place),)


def test_nothing_in_a_pickle_is_executed(tmp_path):
    """A pickle that calls a function is refused by name before anything happens, in both pickled formats."""
    torch.save({"w": torch.ones(1), "bomb": Bomb(tmp_path / "made")}, tmp_path / "x.pth")
    with pytest.raises(InputError, match=r"names (posix|nt)\.mkdir"):
        open_checkpoint(tmp_path / "x.pth")
    (tmp_path / "dcp").mkdir()
    (tmp_path / "dcp" / ".metadata").write_bytes(pickle.dumps({"bomb": Bomb(tmp_path / "made")}))
    with pytest.raises(InputError, match=r"names (posix|nt)\.mkdir"):
        open_checkpoint(tmp_path / "dcp")
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("write", [write_pth, write_safetensors, write_distributed])
@pytest.mark.parametrize("share", [0.98, 0.7, 0.3, 0.02])
def test_cut_off_files_are_an_input_error(write, share, tmp_path):
    """A file that was not copied whole is refused when it is opened; its first missing key is named if it can be."""
    path = write(tmp_path)
    path = path / "__0_0.distcp" if path.is_dir() else path
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(InputError, match="again"):
        open_checkpoint(path if path.suffix != ".distcp" else path.parent)


@pytest.mark.parametrize("write", [write_pth, write_safetensors, write_distributed])
def test_the_first_missing_key_is_named(write, tmp_path):
    """Cut inside the numbers of the last tensor: that one is named."""
    path = write(tmp_path)
    path = path / "__0_0.distcp" if path.is_dir() else path
    data = path.read_bytes()
    numbers = state()["b.last"].numpy().tobytes()
    path.write_bytes(data[: data.index(numbers) + len(numbers) // 2])
    with pytest.raises(InputError, match=r"'b\.last' is cut off"):
        open_checkpoint(path if path.suffix != ".distcp" else path.parent)


@pytest.mark.parametrize("write", [write_pth, write_distributed])
def test_a_flipped_bit_names_its_key(write, tmp_path):
    """Formats with checksums tell which tensor is damaged; the others still read."""
    path = write(tmp_path)
    file = path / "__0_0.distcp" if path.is_dir() else path
    data = bytearray(file.read_bytes())
    data[data.index(state()["b.last"].numpy().tobytes()) + 9] ^= 4
    file.write_bytes(data)
    with open_checkpoint(path) as found:
        assert torch.equal(found.read("a.weight"), state()["a.weight"])
        with pytest.raises(InputError, match=r"'b\.last' is damaged"):
            found.read("b.last")


def header(**entries) -> bytes:
    text = json.dumps(entries).encode()
    return struct.pack("<Q", len(text)) + text


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "damaged"),
        (struct.pack("<Q", 1 << 60) + b"{}", "damaged"),
        (struct.pack("<Q", 2) + b"[]", "no mapping"),
        (header(w={"dtype": "F32", "shape": [1 << 20, 1 << 20], "data_offsets": [0, 8]}), "'w' of shape"),
        (header(w={"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]}), "'w' has the impossible shape"),
        (header(w={"dtype": "F32", "shape": [2.0], "data_offsets": [0, 8]}), "'w' has the impossible shape"),
        (header(w={"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}), "'w' is cut off"),
        (header(w={"dtype": "F8_E4M3", "shape": [2], "data_offsets": [0, 2]}), "'w' has the number type F8_E4M3"),
        (header(w=3), "'w' has a damaged header"),
        (b"\x10\0\0\0\0\0\0\0" + b"[" * 16, "damaged"),
    ],
)
def test_hostile_safetensors_headers(data, words, tmp_path):
    """Absurd sizes, shapes and types are refused before memory is asked for."""
    (tmp_path / "x.safetensors").write_bytes(data)
    with pytest.raises(InputError, match=words):
        open_checkpoint(tmp_path / "x.safetensors")


def test_shards_outside_the_folder_are_refused(tmp_path):
    """A list of shards names files beside it, nothing else, and tells which tensor lacks its file."""
    index = write_shards(tmp_path)
    for name, words in (("../x.safetensors", "beside the list"), ("gone.safetensors", "missing")):
        index.write_text(json.dumps({"weight_map": {"a.weight": name}}))
        with pytest.raises(InputError, match=f"'a.weight'.*{words}"):
            open_checkpoint(index)


def test_distributed_slices_outside_the_folder_are_refused(tmp_path):
    """The description of a distributed checkpoint cannot reach out of its folder."""
    folder = write_distributed(tmp_path)
    data = (folder / ".metadata").read_bytes()
    (tmp_path / "_0.distcp").write_bytes((folder / "__0_0.distcp").read_bytes())
    assert b"__0_0.distcp" in data
    (folder / ".metadata").write_bytes(data.replace(b"__0_0.distcp", b"../_0.distcp"))
    with pytest.raises(InputError, match="expected a file in the folder"):
        open_checkpoint(folder)


def test_what_is_no_checkpoint_is_refused(tmp_path):
    """Legacy pickles, other files, empty folders and missing paths say what is expected."""
    torch.save(state(), tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    with pytest.raises(InputError, match=r"no whole zip checkpoint .* save it anew"):
        open_checkpoint(tmp_path / "old.pth")
    (tmp_path / "x.onnx").write_bytes(b"x")
    with pytest.raises(InputError, match=r"'\.onnx' is no kind"):
        open_checkpoint(tmp_path / "x.onnx")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no checkpoint"):
        open_checkpoint(tmp_path / "empty")
    with pytest.raises(InputError, match="no such checkpoint"):
        open_checkpoint(tmp_path / "absent.pth")


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> dict:
    folder = tmp_path_factory.mktemp("written")
    distributed = write_distributed(folder)
    return {
        "x.pth": write_pth(folder).read_bytes(),
        "x.safetensors": write_safetensors(folder).read_bytes(),
        ".metadata": (distributed / ".metadata").read_bytes(),
        "__0_0.distcp": (distributed / "__0_0.distcp").read_bytes(),
    }


@given(st.sampled_from(["x.pth", "x.safetensors", ".metadata"]), st.integers(0, 1 << 16), st.integers(1, 255))
def test_any_damaged_byte_is_read_or_refused(written, tmp_path_factory, name, place, change):
    """One changed byte anywhere never raises anything but InputError."""
    folder = tmp_path_factory.mktemp("damaged")
    data = bytearray(written[name])
    data[place % len(data)] ^= change
    (folder / name).write_bytes(data)
    if name == ".metadata":
        (folder / "__0_0.distcp").write_bytes(written["__0_0.distcp"])
    try:
        with open_checkpoint(folder if name == ".metadata" else folder / name) as found:
            for key in found.tensors:
                found.read(key)
    except InputError as error:
        assert str(folder) in str(error)
