"""The loop: AdamW on accelerate, cleaned and clipped gradients, checkpoints that go on to the same numbers.

    out/log.jsonl            scalars, one object a line
    out/tensorboard/         the same for TensorBoard, where it is installed
    out/checkpoints/step-*   everything that a run needs to go on
    out/transformer/         the network of the last step

A second run with the same settings goes on from the newest checkpoint; a finished one does nothing.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import BackendError, ConfigError, InputError
from ..core.files import naming, write_json
from ..core.optional import require
from ..core.progress import SILENT, SupportsProgress
from ..core.schema import resolved_dict
from .components import NETWORK_NAME, Components
from .config import NEW_PARTS, TrainingConfig
from .dataset import FilmFolder
from .footage import Footage
from .plan import plan_step
from .selfaug import Lesson, training_steps

log = logging.getLogger(__name__)

STATE_NAME = "training.json"
FORMAT = 1
STAGE = "train"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a run left behind."""

    folder: Path
    """The trained network, as `save_pretrained` writes it."""
    steps: int
    loss: float | None
    """Mean over the last steps; None when nothing was left to do."""
    main: bool
    """Whether this is the process that speaks for all."""


@dataclass(frozen=True, kw_only=True)
class Advance:
    """One step of the optimiser."""

    kind: str
    """What kind of step it was, the same for all its films."""
    loss: float
    """Mean over its films."""
    gradient_norm: float
    """Before it was clipped."""
    rate_factor: float
    sigma: float
    """Mean noise level."""


class Trainer:
    """Trains the network of a painter.

    Args:
        config: everything but films and weights.
        components: the painter; its network is changed.
        films: what it learns from.
        out: folder of log, checkpoints and result; made if it is missing.
        cpu: whether to stay on the processor although there is a GPU.

    Raises:
        DependencyError: accelerate is missing.
        ConfigError: nothing would learn, or an average of weights was asked for that are in pieces.
    """

    def __init__(
        self, config: TrainingConfig, components: Components, films: FilmFolder, out: Path, *, cpu: bool = False
    ) -> None:
        torch = require("torch", extra="train")
        accelerate = require("accelerate", extra="train")
        self.config, self.films, self.out = config, films, Path(out)
        self._text_of = components.text_of
        bf16 = config.dtype == "bfloat16" or (
            config.dtype == "auto" and not cpu and torch.cuda.is_available() and torch.cuda.is_bf16_supported()
        )
        self.accelerator = accelerate.Accelerator(mixed_precision="bf16" if bf16 else "no", cpu=cpu)
        network = components.painter.network
        self.learning = select_trainable(network, config.optim.trainable)
        if config.gradient_checkpointing:
            network.enable_gradient_checkpointing()
        optim = config.optim
        optimiser = torch.optim.AdamW(
            [p for p in network.parameters() if p.requires_grad],
            lr=optim.lr,
            betas=(optim.beta1, optim.beta2),
            eps=optim.eps,
            weight_decay=optim.weight_decay,
            fused=True,
        )
        self.network, self.optimiser = self.accelerator.prepare(network, optimiser)
        if optim.ema_decay and str(self.accelerator.distributed_type).endswith(("FSDP", "DEEPSPEED", "MEGATRON_LM")):
            raise ConfigError("optim.ema_decay needs whole weights on every GPU; set it to 0 for sharded training")
        self.painter = replace(components.painter, network=self.network, device=self.accelerator.device)
        self._average: dict[str, Any] = {}
        if optim.ema_decay:
            self._average = {n: p.detach().float().clone() for n, p in self._named_learning()}
        self.step = 0

    def run(self, *, progress: SupportsProgress = SILENT) -> Outcome:
        """Train to the last step.

        Raises:
            InputError: films or checkpoints cannot be read, or were made with other settings.
            BackendError: the loss is not finite step after step.
            Cancelled: asked to stop; the newest checkpoint stays.
        """
        config = self.config
        with naming("write", self.out):
            self.out.mkdir(parents=True, exist_ok=True)
        self.resume()
        progress.step(STAGE, self.step, config.steps, "")
        losses: list[float] = []
        with _Log(self.out, self.step, main=self.accelerator.is_main_process) as scalars:
            bad = 0
            while self.step < config.steps:
                began = time.monotonic()
                done = self.advance()
                bad = 0 if np.isfinite(done.loss) else bad + 1
                if bad >= 10:
                    raise BackendError(f"the loss was not finite in 10 steps up to step {self.step}; lower optim.lr")
                losses.append(done.loss)
                if self.step % config.log_every == 0 or self.step == config.steps:
                    mean = float(np.mean(losses[-config.log_every :]))
                    scalars.write(
                        self.step,
                        {
                            "loss": mean,
                            "loss_step": done.loss,
                            "gradient_norm": done.gradient_norm,
                            "learning_rate": config.optim.lr * done.rate_factor,
                            "sigma": done.sigma,
                            "seconds": time.monotonic() - began,
                        },
                        kind=done.kind,
                    )
                progress.step(STAGE, self.step, config.steps, f"loss {np.mean(losses[-50:]):.4f}")
                if self.step % config.checkpoint_every == 0 or self.step == config.steps:
                    self.save()
        folder = self.out / NETWORK_NAME
        self._write_result(folder)
        return Outcome(
            folder=folder,
            steps=self.step,
            loss=float(np.mean(losses[-50:])) if losses else None,
            main=self.accelerator.is_main_process,
        )

    def advance(self) -> Advance:
        """One step of the optimiser on `batch_size` films."""
        torch = require("torch", extra="train")
        config = self.config
        lessons = [self._lesson(k) for k in range(config.batch_size)]
        factor = config.optim.factor(self.step)
        for group in self.optimiser.param_groups:
            group["lr"] = config.optim.lr * factor
        results = training_steps(self.painter, lessons)
        loss = torch.stack([x.loss for x in results]).mean()
        self.optimiser.zero_grad(set_to_none=True)
        self.accelerator.backward(loss)
        learning = [p for p in self.network.parameters() if p.grad is not None]
        for parameter in learning:
            torch.nan_to_num_(parameter.grad, nan=0.0, posinf=0.0, neginf=0.0)
        norm = self.accelerator.clip_grad_norm_(learning, config.optim.clip_norm)
        self.optimiser.step()
        if self._average:
            with torch.no_grad():
                for name, parameter in self._named_learning():
                    self._average[name].lerp_(parameter.detach().float(), 1 - config.optim.ema_decay)
        self.step += 1
        return Advance(
            kind=lessons[0].plan.kind,
            loss=float(loss.detach()),
            gradient_norm=float(norm) if norm is not None else 0.0,
            rate_factor=factor,
            sigma=float(np.mean([x.prediction.sigma for x in results])),
        )

    def _lesson(self, place: int) -> Lesson:
        """The film in one place of this step's batch, and what is drawn for it: as if each place were a process."""
        config = self.config
        rank = self.accelerator.process_index * config.batch_size + place
        clip = self.films.clip(self._film_of(self.step, rank))
        plan = plan_step(clip, self.painter.layout, config.augment, seed=config.seed, step=self.step, rank=rank)
        text = self._text_of(clip, plan.target.first_new, plan.draws.text_dropped)
        before_text = None
        if plan.before is not None and plan.before_draws is not None:
            before_text = self._text_of(clip, plan.before.first_new, plan.before_draws.text_dropped)
        return Lesson(footage=Footage(clip), plan=plan, text=text, before_text=before_text)

    def save(self) -> Path:
        """Write a checkpoint of the present step and remove old ones; returns its folder."""
        folder = self.out / "checkpoints"
        aside, final = folder / ".part", folder / f"step-{self.step:09d}"
        with naming("write", folder):
            if self.accelerator.is_main_process:
                shutil.rmtree(aside, ignore_errors=True)
                folder.mkdir(parents=True, exist_ok=True)
            self.accelerator.wait_for_everyone()
            self.accelerator.save_state(str(aside))
            if self.accelerator.is_main_process:
                if self._average:
                    require("safetensors.torch", extra="train").save_file(self._average, aside / "average.safetensors")
                write_json(aside / STATE_NAME, {"format": FORMAT, "step": self.step, "settings": self._settings()})
                shutil.rmtree(final, ignore_errors=True)
                aside.rename(final)
                for old in checkpoints(self.out)[: -self.config.checkpoints_kept]:
                    shutil.rmtree(old)
            self.accelerator.wait_for_everyone()
        return final

    def resume(self) -> bool:
        """Go on from the newest checkpoint, if there is one.

        Raises:
            InputError: it was made with other settings, or is damaged.
        """
        found = checkpoints(self.out)
        if not found:
            return False
        folder = found[-1]
        try:
            state = json.loads((folder / STATE_NAME).read_text(encoding="utf-8"))
            step, settings = int(state["step"]), state["settings"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"the checkpoint is damaged ({type(error).__name__}); remove it: {folder}") from error
        changed = sorted(k for k, v in self._settings().items() if settings.get(k) != v)
        if changed:
            raise InputError(
                f"the checkpoint was made with other values of {', '.join(changed)}; give the same, or another --out: "
                f"{folder}"
            )
        self.accelerator.load_state(str(folder))
        if self._average:
            loaded = require("safetensors.torch", extra="train").load_file(folder / "average.safetensors")
            self._average = {name: loaded[name].to(tensor.device) for name, tensor in self._average.items()}
        self.step = step
        log.info("going on from step %d: %s", step, folder)
        return True

    def _settings(self) -> dict[str, Any]:
        """What must not change between two parts of a run."""
        values = resolved_dict(self.config)
        free = ("steps", "checkpoint_every", "checkpoints_kept", "log_every", "gradient_checkpointing")
        values = {k: v for k, v in values.items() if k not in free}
        values["data"] = {k: v for k, v in values["data"].items() if k != "held"}
        return values | {"films": len(self.films), "processes": self.accelerator.num_processes}

    def _film_of(self, step: int, rank: int) -> int:
        """Every film once in a random order, then again in another; ranks and places take different ones."""
        ranks, count = self.accelerator.num_processes * self.config.batch_size, len(self.films)
        place = step * ranks + rank
        order = np.random.default_rng([self.config.seed, place // count, 0xF11]).permutation(count)
        return int(order[place % count])

    def _named_learning(self) -> list[tuple[str, Any]]:
        network = self.accelerator.unwrap_model(self.network)
        return [(n, p) for n, p in network.named_parameters() if n in self.learning]

    def _write_result(self, folder: Path) -> None:
        state = self.accelerator.get_state_dict(self.network)
        if self.accelerator.is_main_process:
            network = self.accelerator.unwrap_model(self.network)
            state = state | {name: tensor.to(state[name]) for name, tensor in self._average.items()}
            with naming("write", folder):
                network.save_pretrained(folder, state_dict=state)
        self.accelerator.wait_for_everyone()


def select_trainable(network: Any, which: str) -> set[str]:
    """Let the parameters learn that are to, and freeze the others; their names.

    Raises:
        ConfigError: none of them is there.
    """
    chosen = {n for n, _ in network.named_parameters() if which == "all" or any(part in n for part in NEW_PARTS)}
    if not chosen:
        raise ConfigError(f"the network has none of {', '.join(NEW_PARTS)}; set optim.trainable to all")
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name in chosen)
    return chosen


def checkpoints(out: Path) -> list[Path]:
    """Finished checkpoints of a run, oldest first."""
    folder = out / "checkpoints"
    return sorted(p for p in folder.glob("step-*") if (p / STATE_NAME).is_file()) if folder.is_dir() else []


class _Log:
    """Scalars as JSON lines, and for TensorBoard where it is installed; only on the main process."""

    def __init__(self, out: Path, step: int, *, main: bool) -> None:
        self._file, self._board = None, None
        if not main:
            return
        path = out / "log.jsonl"
        with naming("write", path):
            # Lines of steps that a killed run made after its last checkpoint come again.
            lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
            kept = [line for line in lines if _step_of(line) <= step]
            path.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
            self._file = path.open("a", encoding="utf-8")
        if importlib.util.find_spec("tensorboard") is not None:
            board = require("torch.utils.tensorboard", extra="train", package="tensorboard")
            self._board = board.SummaryWriter(str(out / "tensorboard"), purge_step=step + 1)
        else:
            log.info("tensorboard is not installed: scalars go to %s only", path)

    def write(self, step: int, values: dict[str, float], *, kind: str) -> None:
        if self._file is None:
            return
        finite = {k: v if np.isfinite(v) else None for k, v in values.items()}
        self._file.write(json.dumps({"step": step, "kind": kind, **finite}) + "\n")
        self._file.flush()
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)

    def __enter__(self) -> _Log:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()
        if self._board is not None:
            self._board.close()


def _step_of(line: str) -> int:
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return 2**63
