"""Where a model lives: a table of machines and sizes; loading that fails leaves nothing behind."""

from __future__ import annotations

import gc
import weakref

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lyra.worldgen.core.config import ModelsConfig
from lyra.worldgen.core.errors import BackendError, ConfigError
from lyra.worldgen.generation.residency import (
    BYTES_PER_NUMBER,
    CPU_WORKING_BYTES,
    GIB,
    GPU_WORKING_BYTES,
    MachineMemory,
    Residency,
    ResidencyPlan,
    is_out_of_memory,
    largest_that_fits,
    plan_residency,
    this_machine,
)
from lyra.worldgen.generation.weights_files import WeightsSize

# One test process loads the libraries, not each.
pytestmark = [pytest.mark.usefixtures("model_libraries"), pytest.mark.xdist_group("models")]

SMALL = WeightsSize(parameters=1_300_000_000, largest_part=900_000_000)
"""As large as Stable Diffusion 2: 2.4 GiB in half precision, 4.8 GiB in full."""
LARGE = WeightsSize(parameters=17_000_000_000, largest_part=12_000_000_000)
"""As large as Flux: 31.7 GiB in half precision, its largest part 22.4 GiB."""


def machine(ram_gib: float | None, gpu_gib: float = 0, *, bfloat16: bool = True) -> MachineMemory:
    ram = None if ram_gib is None else int(ram_gib * GIB)
    return MachineMemory(ram_bytes=ram, gpu_bytes=int(gpu_gib * GIB), bfloat16=bfloat16)


@pytest.mark.parametrize(
    ("size", "memory", "settings", "plan"),
    [
        (SMALL, machine(32, 24), {}, ("cuda", "bfloat16", "none")),
        (SMALL, machine(32, 24, bfloat16=False), {}, ("cuda", "float16", "none")),
        (SMALL, machine(32, 5), {}, ("cuda", "bfloat16", "model")),
        (SMALL, machine(32, 4), {}, ("cuda", "bfloat16", "layers")),
        (SMALL, machine(32, 2), {}, ("cpu", "float32", "none")),
        (SMALL, machine(32), {}, ("cpu", "float32", "none")),
        (SMALL, machine(None), {}, ("cpu", "float32", "none")),
        (LARGE, machine(64, 80), {}, ("cuda", "bfloat16", "none")),
        (LARGE, machine(64, 32), {}, ("cuda", "bfloat16", "model")),
        (LARGE, machine(64, 12), {}, ("cuda", "bfloat16", "layers")),
        (LARGE, machine(None, 12), {}, ("cuda", "bfloat16", "layers")),
        (LARGE, machine(128), {}, ("cpu", "float32", "none")),
        (LARGE, machine(48), {"dtype": "bfloat16"}, ("cpu", "bfloat16", "none")),
        (SMALL, machine(32, 24), {"device": "cpu"}, ("cpu", "float32", "none")),
        (SMALL, machine(32, 24), {"device": "cpu", "offload": "model"}, ("cpu", "float32", "none")),
        (SMALL, machine(32, 24), {"dtype": "float32"}, ("cuda", "float32", "none")),
        (SMALL, machine(32, 7), {"dtype": "float32"}, ("cuda", "float32", "model")),
        (SMALL, machine(32, 24), {"offload": "layers"}, ("cuda", "bfloat16", "layers")),
        (LARGE, machine(64, 12), {"offload": "none"}, ("cuda", "bfloat16", "none")),
    ],
)
def test_the_plan_follows_from_sizes(size, memory, settings, plan):
    """The fastest way that fits; what is set is obeyed."""
    found = plan_residency(size, memory, ModelsConfig(**settings))
    assert (found.device, found.dtype, found.offload) == plan
    assert "GiB of weights" in found.why and "\n" not in found.why


@pytest.mark.parametrize(
    ("size", "memory", "settings", "error", "words"),
    [
        (SMALL, machine(32), {"device": "cuda"}, ConfigError, "torch sees no CUDA device"),
        (SMALL, machine(32), {"dtype": "float16"}, ConfigError, "has to run on the CPU"),
        (LARGE, machine(16), {}, BackendError, "63.3 GiB in float32 .* only 16.0 GiB of main memory are free"),
        (LARGE, machine(16, 12), {}, BackendError, "only 16.0 GiB of main memory are free"),
        (LARGE, machine(16, 12), {"device": "cuda"}, BackendError, "do not fit 12.0 GiB on the GPU"),
        (LARGE, machine(16, 12), {"offload": "layers"}, BackendError, "do not fit 12.0 GiB on the GPU"),
    ],
)
def test_what_cannot_be_held_is_refused(size, memory, settings, error, words):
    """The message has the numbers and what to change."""
    with pytest.raises(error, match=words):
        plan_residency(size, memory, ModelsConfig(**settings))


@given(
    parameters=st.integers(1, 10**11),
    share=st.floats(0, 1),
    ram_gib=st.floats(0.5, 512),
    gpu_gib=st.one_of(st.just(0.0), st.floats(0.5, 192)),
)
def test_a_chosen_plan_fits(parameters, share, ram_gib, gpu_gib):
    """Whatever is chosen by itself has room for its weights, or nothing is chosen."""
    size, memory = WeightsSize(parameters=parameters, largest_part=int(share * parameters)), machine(ram_gib, gpu_gib)
    assert memory.ram_bytes is not None
    try:
        plan = plan_residency(size, memory, ModelsConfig())
    except BackendError:
        assert 4 * parameters + CPU_WORKING_BYTES > memory.ram_bytes
        return
    width = BYTES_PER_NUMBER[plan.dtype]
    assert width * parameters <= memory.ram_bytes
    if plan.device == "cuda":
        held = {"none": parameters, "model": size.largest_part, "layers": 0}[plan.offload]
        assert width * held + GPU_WORKING_BYTES <= memory.gpu_bytes


def test_the_line_for_doctor():
    """Largest models by the way of holding them."""
    assert largest_that_fits(machine(32, 24)) == (
        "11.3 G parameters on the GPU in bfloat16, 17.2 G parameters with offloading, "
        "8.1 G parameters on the CPU in float32"
    )
    assert largest_that_fits(machine(10)) == "2.1 G parameters on the CPU in float32"
    assert "unknown" in largest_that_fits(machine(None))
    assert "G parameters" in largest_that_fits(this_machine())


PLAN = ResidencyPlan(device="cpu", dtype="float32", offload="none", why="a test")


def test_a_model_is_placed_measured_and_freed():
    """The number type is passed on; after freeing nothing keeps the model alive."""
    import torch

    residency = Residency(PLAN, name="tiny")
    model = weakref.ref(residency.load(lambda dtype: torch.nn.Linear(2, 2, dtype=dtype)))
    assert model().weight.dtype == torch.float32 and residency.peak_bytes() > 2**20
    residency.free()
    residency.free()
    assert model() is None


def test_a_model_that_fails_while_it_is_placed_is_let_go():
    """Half-loaded weights do not stay in memory, and the reason is one error."""
    import torch

    class TooLarge(torch.nn.Linear):
        def to(self, *_):
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried")

    models = []

    def make(dtype):
        model = TooLarge(2, 2)
        models.append(weakref.ref(model))
        return model

    residency = Residency(PLAN, name="tiny")
    with pytest.raises(BackendError, match=r"'tiny' ran out of memory while it was loaded \(a test\)"):
        residency.load(make)
    gc.collect()
    assert residency.model is None and models[0]() is None


def test_running_out_of_memory_is_known_by_its_words():
    """Whatever device it comes from."""
    import torch

    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to"))
    assert is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory"))
    assert is_out_of_memory(MemoryError())


def test_other_errors_are_not_mistaken_for_memory():
    """A bug stays a bug."""
    assert not is_out_of_memory(RuntimeError("shapes cannot be multiplied"))
    assert not is_out_of_memory(ValueError("out of memory"))
    with pytest.raises(ZeroDivisionError):
        Residency(PLAN, name="tiny").load(lambda dtype: 1 / 0)
