"""A whole training run: films and weights opened, the loop run."""

from __future__ import annotations

from pathlib import Path

from ..core.errors import ConfigError
from ..core.files import naming, write_json
from ..core.optional import require
from ..core.progress import SILENT, SupportsProgress
from ..core.schema import resolved_dict
from .components import folder_components, small_components
from .config import TrainingConfig
from .dataset import FilmFolder
from .trainer import Outcome, Trainer

SETTINGS_NAME = "settings.json"


def open_films(config: TrainingConfig, root: Path) -> FilmFolder:
    """Films at the size and length that the configuration asks for; raises `InputError`."""
    data = config.data
    return FilmFolder(
        root,
        frames=data.frames,
        resize_hw=(data.height_px, data.resize_width_px),
        crop_hw=(data.height_px, data.width_px),
        held=data.held,
    )


def train(
    config: TrainingConfig,
    films: Path,
    out: Path,
    *,
    weights: Path | None = None,
    start: Path | None = None,
    cpu: bool = False,
    progress: SupportsProgress = SILENT,
) -> Outcome:
    """Train until the configured step; goes on from the newest checkpoint in `out`.

    Args:
        config: everything but films and weights.
        films: folder of training films.
        out: folder of the run.
        weights: converted Lyra 2.0 to start from; None makes a small network.
        start: finished run of a small network to start from.
        cpu: whether to stay on the processor.
        progress: told each step; only the first of several processes speaks.

    Raises:
        InputError: films, weights or checkpoints cannot be used.
        ConfigError: settings do not fit one another.
        DependencyError: a package of the extra `train` is missing.
        BackendError: the loss is not finite.
    """
    if weights is not None and start is not None:
        raise ConfigError("a run starts from weights or from another run; give one of the two")
    accelerate = require("accelerate", extra="train")
    opened = open_films(config, films)
    state = accelerate.PartialState(cpu=cpu)
    with naming("write", out):
        out.mkdir(parents=True, exist_ok=True)
    with state.main_process_first():
        if weights is None:
            components = small_components(config, opened, out, start=start, device=state.device)
        else:
            components = folder_components(config, weights, device=state.device)
    trainer = Trainer(config, components, opened, out, cpu=cpu)
    if state.is_main_process:
        write_json(out / SETTINGS_NAME, resolved_dict(config))
    return trainer.run(progress=progress if state.is_main_process else SILENT)
