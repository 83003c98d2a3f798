"""Where a model lives: device, number type and offloading, chosen from its size and the machine; loading and freeing.

Choosing is a pure function. Everything that touches torch's memory is in `Residency`, so that a model that fails to
load leaves nothing behind and peaks are measured in one place.
"""

from __future__ import annotations

import gc
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ..core.config import ModelsConfig
from ..core.errors import BackendError, ConfigError, WorldgenError
from ..core.machine import free_memory_bytes
from ..core.optional import require
from .weights_files import WeightsSize

log = logging.getLogger(__name__)

GIB = 2**30
BYTES_PER_NUMBER = {"float32": 4, "bfloat16": 2, "float16": 2}
GPU_WORKING_BYTES = 3 * GIB
"""What a pipeline computes with, beside its weights: a picture of about a megapixel through its decoder."""
CPU_WORKING_BYTES = 2 * GIB
PIPELINE_REMEDY = "lower inpaint.tile_px, set models.offload=layers on a GPU, or choose smaller weights"
_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "cannot allocate memory", "not enough memory")


@dataclass(frozen=True, kw_only=True)
class MachineMemory:
    """What a model may use."""

    ram_bytes: int | None
    """Main memory that is free; None where the system does not say."""
    gpu_bytes: int = 0
    """Free memory of the first CUDA device; 0 without one."""
    bfloat16: bool = False
    """Whether that device computes in bfloat16."""


@dataclass(frozen=True, kw_only=True)
class ResidencyPlan:
    """How a model is held."""

    device: str
    """cpu or cuda."""
    dtype: str
    """float32, bfloat16 or float16."""
    offload: str
    """What leaves the GPU while it is not used: none, model or layers."""
    why: str
    """One line for the log."""


def plan_residency(
    size: WeightsSize, machine: MachineMemory, config: ModelsConfig, *, working_bytes: int | None = None
) -> ResidencyPlan:
    """The fastest way to hold the weights that fits; what the configuration fixes is not second-guessed.

    Args:
        size: of the weights.
        machine: what it may use.
        config: what is fixed.
        working_bytes: what the model computes with, beside its weights; as much as a pipeline when None.

    Raises:
        ConfigError: the configuration asks for what this machine or device cannot do.
        BackendError: the weights do not fit into main memory.
    """
    if config.device == "cuda" and not machine.gpu_bytes:
        raise ConfigError("models.device is 'cuda' but torch sees no CUDA device; choose auto or cpu")
    on_gpu = config.device != "cpu" and machine.gpu_bytes > 0
    gpu_working = GPU_WORKING_BYTES if working_bytes is None else working_bytes
    if on_gpu and (plan := _plan_gpu(size, machine, config, gpu_working)) is not None:
        return plan
    if config.dtype == "float16":
        raise ConfigError(
            "models.dtype is 'float16' but the model has to run on the CPU; expected auto, float32 or bfloat16"
        )
    dtype = "float32" if config.dtype == "auto" else config.dtype
    need = size.parameters * BYTES_PER_NUMBER[dtype]
    working = CPU_WORKING_BYTES if working_bytes is None else working_bytes
    if machine.ram_bytes is not None and need + working > machine.ram_bytes:
        raise BackendError(
            f"the weights take {_gib(need)} in {dtype} and {_gib(working)} to work with, but only "
            f"{_gib(machine.ram_bytes)} of main memory are free; choose smaller weights, a machine with more memory"
            + (", or models.dtype=bfloat16" if dtype == "float32" else "")
        )
    reason = "too little memory on the GPU" if on_gpu else "no CUDA device" if config.device == "auto" else "as set"
    return ResidencyPlan(
        device="cpu", dtype=dtype, offload="none", why=f"{_gib(need)} of weights on the CPU in {dtype}: {reason}"
    )


def _plan_gpu(
    size: WeightsSize, machine: MachineMemory, config: ModelsConfig, working_bytes: int
) -> ResidencyPlan | None:
    """A plan on the GPU; None when nothing fits and the configuration leaves the choice open."""
    dtype = config.dtype
    if dtype == "auto":
        dtype = "bfloat16" if machine.bfloat16 else "float16"
    width = BYTES_PER_NUMBER[dtype]
    total = size.parameters * width
    needs = {
        "none": total + working_bytes,
        "model": size.largest_part * width + working_bytes,
        "layers": working_bytes,
    }
    words = {"none": "all of it on the GPU", "model": "one part at a time on the GPU", "layers": "layer by layer"}
    in_ram = machine.ram_bytes is None or total <= machine.ram_bytes
    for offload, need in needs.items():
        chosen = config.offload == offload
        if not (chosen or (config.offload == "auto" and need <= machine.gpu_bytes)):
            continue
        if in_ram:  # every way of loading passes through main memory
            reason = "as set" if chosen else f"{_gib(machine.gpu_bytes)} are free"
            why = f"{_gib(total)} of weights in {dtype}, {words[offload]}: {reason}"
            return ResidencyPlan(device="cuda", dtype=dtype, offload=offload, why=why)
    if config.device == "cuda" or config.offload != "auto":
        raise BackendError(
            f"the weights take {_gib(total)} in {dtype}; they do not fit {_gib(machine.gpu_bytes)} on the GPU with "
            f"{'unknown' if machine.ram_bytes is None else _gib(machine.ram_bytes)} of main memory; choose smaller "
            "weights, or models.device=auto"
        )
    return None


def largest_that_fits(machine: MachineMemory) -> str:
    """One line: the largest models that this machine can hold, in parameters, for each way of holding them."""
    parts = []
    ram = machine.ram_bytes
    if machine.gpu_bytes > GPU_WORKING_BYTES:
        dtype = "bfloat16" if machine.bfloat16 else "float16"
        whole = (machine.gpu_bytes - GPU_WORKING_BYTES) // 2
        parts.append(f"{_count(whole if ram is None else min(whole, ram // 2))} on the GPU in {dtype}")
        if ram is not None:
            parts.append(f"{_count(ram // 2)} with offloading")
    if ram is not None:
        parts.append(f"{_count(max(0, ram - CPU_WORKING_BYTES) // 4)} on the CPU in float32")
    return ", ".join(parts) or "unknown: the system does not say how much memory is free"


def this_machine() -> MachineMemory:
    """Free memory of this machine as torch sees it."""
    torch = require("torch", extra="models")
    gpu_bytes, bfloat16 = 0, False
    if torch.cuda.is_available():
        gpu_bytes, bfloat16 = int(torch.cuda.mem_get_info(0)[0]), bool(torch.cuda.is_bf16_supported())
    return MachineMemory(ram_bytes=free_memory_bytes(), gpu_bytes=gpu_bytes, bfloat16=bfloat16)


class Residency:
    """One model in memory.

    Args:
        plan: how it is held.
        name: for messages.
        remedy: what helps when memory runs out, for messages.
    """

    def __init__(self, plan: ResidencyPlan, *, name: str, remedy: str = PIPELINE_REMEDY) -> None:
        self.plan, self.name, self.remedy = plan, name, remedy
        self.model: Any = None

    def load(self, make: Callable[[Any], Any]) -> Any:
        """Load with `make(torch dtype)` and place as planned; nothing stays in memory when that fails.

        Raises:
            BackendError: out of memory.
            DependencyError: a package for offloading is missing.
        """
        torch = require("torch", extra="models")
        if self.plan.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        try:
            with self.explained("while it was loaded"):
                self.model = make(getattr(torch, self.plan.dtype))
                self._place(self.model)
        except BaseException:
            self.free()
            raise
        log.info("%s: %s", self.name, self.plan.why)
        return self.model

    def _place(self, model: Any) -> None:
        if self.plan.offload == "none":
            model.to(self.plan.device)
            return
        require("accelerate", extra="models")
        if self.plan.offload == "model":
            model.enable_model_cpu_offload(device=self.plan.device)
        else:
            model.enable_sequential_cpu_offload(device=self.plan.device)

    @contextmanager
    def explained(self, when: str) -> Iterator[None]:
        """Turn running out of memory inside the block into `BackendError`; the model is freed then."""
        try:
            yield
        except Exception as error:
            if isinstance(error, WorldgenError) or not is_out_of_memory(error):
                raise
            self.free()
            raise BackendError(
                f"the model '{self.name}' ran out of memory {when} ({self.plan.why}); close other programs, "
                f"{self.remedy}"
            ) from error

    def free(self) -> None:
        """Let go of the model and return its memory; freeing twice is allowed."""
        if self.model is not None:
            log.info("%s: peak memory %s", self.name, _gib(self.peak_bytes()))
        self.model = None
        gc.collect()
        if self.plan.device == "cuda":
            require("torch", extra="models").cuda.empty_cache()

    def peak_bytes(self) -> int:
        """Most memory in use since loading began: on the GPU, or of the whole process; 0 if unknown."""
        if self.plan.device == "cuda":
            return int(require("torch", extra="models").cuda.max_memory_allocated())
        try:
            import resource
        except ImportError:  # Windows
            return 0
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on whatever device and in whatever words."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(words in text for words in _OUT_OF_MEMORY)
    )


def _gib(count: int) -> str:
    return f"{count / GIB:.1f} GiB"


def _count(parameters: int) -> str:
    return f"{parameters / 1e9:.1f} G parameters"
