"""The painter `lyra2`: Lyra 2.0 with weights that the user has converted, painting a film chunk by chunk.

It needs no ring and paints no planes: what one chunk shows is remembered, shown to the network again as retrieved views
and, unless `lyra2.keep_known` is off, laid over what later chunks paint there.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..core.camera import PinholeCamera
from ..core.config import WorldConfig
from ..core.errors import BackendError, ConfigError, InputError
from ..core.frames import invert_rigid
from ..core.progress import SILENT, SupportsProgress
from ..core.views import Photo, PhotoGeometry
from .context_layout import ContextLayout
from .lyra2.caption import Captioner
from .lyra2.chunk_loop import FilmState
from .lyra2.model_folder import Lyra2Folder
from .lyra2.networks import REMEDY, Lyra2Networks, chosen_adapters, plan_line, plan_networks
from .painter import ChunkHint, Draft, FilmFormat, RingPanorama, Shot
from .paths import expect_film
from .residency import Residency, this_machine
from .warp import reference_K
from .weights import find_weights, quiet_libraries

log = logging.getLogger(__name__)

LATENTS = "new_latents"
"""Name of the array that a chunk keeps."""


@dataclass(frozen=True, kw_only=True)
class _Film:
    """The painter's memory of a film."""

    state: FilmState
    T_world_first: np.ndarray
    """[4, 4]: the network's world is the film's first camera."""


class Lyra2Painter:
    """Paints with converted weights; `ChunkPainter` protocol.

    Raises:
        ConfigError: no folder named, or settings that cannot work here.
        InputError: the folder is no converted Lyra 2.0, or incomplete.
        DependencyError: a package is missing.
        BackendError: the weights are damaged, do not load or do not fit into memory.
    """

    name = "lyra2"

    def __init__(self, config: WorldConfig) -> None:
        folder = open_folder(config)
        asked = config.lyra2
        layout = layout_of(folder)
        self.model, self.weights_licence = folder.weights.name, folder.licence
        self.keep_known = asked.keep_known
        self.film = FilmFormat(
            frames=layout.new_frames,
            width_px=asked.width_px,
            height_px=asked.height_px,
            retrieved_views=len(layout.spatial_positions),
        )
        sampling = ("sampler", "steps", "guidance", "shift") if asked.sampler == "unipc" else ("sampler",)
        self.info = {
            **{name: getattr(asked, name) for name in (*sampling, "keep_known", "quantize")},
            "size_px": [asked.width_px, asked.height_px],
            "layout": folder.config("transformer")["layout"],
            "adapters": dict(chosen_adapters(asked)),
            "sources": _sources(folder),
        }
        plan, text_device = plan_networks(folder, config.models, asked, this_machine())
        plan = replace(plan, why=plan_line(plan, text_device))
        self._residency = Residency(plan, name=self.model, remedy=REMEDY)
        self._captioner = Captioner(asked.caption_model, device=text_device) if asked.caption_model else None
        with quiet_libraries(), folder.weights.loading():
            networks = self._residency.load(
                lambda dtype: Lyra2Networks(folder, asked, dtype, plan=plan, text_device=text_device)
            )
        self.film = replace(self.film, lookback_chunks=networks.loop.lookback_chunks)

    @classmethod
    def from_config(cls, config: WorldConfig) -> Lyra2Painter:
        """Load the weights that `models.painter` names."""
        return cls(config)

    def prepare(
        self,
        photo: Photo,
        geometry: PhotoGeometry,
        *,
        seed: int,
        progress: SupportsProgress = SILENT,
        ring: RingPanorama | None = None,
    ) -> None:
        """No ring: the film turns around by itself."""

    def begin(self, rgb: np.ndarray, camera: PinholeCamera, T_world_cam: np.ndarray) -> _Film:
        with self._residency.explained("while it looked at the photo"), self._networks.coding() as loop:
            state = loop.begin(_to_network(rgb[None])[:, 0], reference_K(camera))
        return _Film(state=state, T_world_first=np.asarray(T_world_cam, float))

    def draft(
        self, memory: _Film, shot: Shot, hint: ChunkHint, *, seed: int, step: Callable[[int, int], None]
    ) -> Draft:
        facts = {}
        prompt = hint.prompt
        if not prompt and self._captioner is not None:
            prompt = self._captioner.caption(
                [_to_picture(memory.state.first_frame), _to_picture(memory.state.last_frame)]
            )
            facts["caption"] = prompt
        with self._residency.explained("while it painted"):
            with self._networks.coding() as loop:
                inputs = loop.assemble(
                    memory.state,
                    last_depth_z=hint.last_depth_z_m,
                    retrieved=[replace(view, w2c=view.w2c @ memory.T_world_first) for view in hint.retrieved],
                    **_cameras(memory, shot),
                )
            latents = self._networks.sample(
                inputs, prompt=prompt, last_frame=memory.state.last_frame, seed=seed, step=step
            )
        return replace(self.redraft(memory, {LATENTS: latents}), facts=facts)

    def redraft(self, memory: _Film, kept: Mapping[str, np.ndarray]) -> Draft:
        latents = kept.get(LATENTS)
        expected = (*memory.state.latents.shape[:1], self._networks.layout.new_latents, *memory.state.latents.shape[2:])
        if latents is None or latents.shape != expected or latents.dtype != np.float32:
            found = "nothing" if latents is None else f"{latents.dtype} {latents.shape}"
            raise InputError(
                f"a chunk keeps {found} as {LATENTS}; expected float32 {expected}: it was painted with another model "
                "or size, undo it or generate the world again"
            )
        with self._residency.explained("while it decoded a chunk"), self._networks.coding() as loop:
            frames, decoder = loop.decode(memory.state, latents)
        return Draft(frames=_from_network(frames), kept={LATENTS: latents}, after=decoder, facts={})

    def accept(self, memory: _Film, shot: Shot, draft: Draft, frames: np.ndarray) -> _Film:
        with self._residency.explained("while it took in a chunk"), self._networks.coding() as loop:
            state = loop.advance(memory.state, _to_network(frames), draft.after, **_cameras(memory, shot))
        return replace(memory, state=state)

    def free(self) -> None:
        """Let go of the weights; the painter cannot paint any more."""
        self._residency.free()

    @property
    def _networks(self) -> Lyra2Networks:
        if self._residency.model is None:
            raise BackendError(f"the model '{self.model}' was freed; make the painter again")
        return self._residency.model


def open_folder(config: WorldConfig) -> Lyra2Folder:
    """The folder that `models.painter` names, found whole; nothing is loaded.

    Raises:
        ConfigError: nothing is named.
        InputError: it is no folder of a converted Lyra 2.0.
    """
    weights = find_weights(config.models.painter, key="models.painter", flag="--painter-model", download=False)
    if weights.path is None:
        raise ConfigError(
            f"models.painter is '{weights.given}', which is no folder here; the painter lyra2 takes a folder that "
            "tools/convert_lyra2.py wrote, and fetches nothing"
        )
    return Lyra2Folder.open(weights.path)


def layout_of(folder: Lyra2Folder) -> ContextLayout:
    """What the network's context is made of; raises `InputError` where its configuration names no layout."""
    text = folder.config("transformer").get("layout")
    if not isinstance(text, str):
        raise InputError(
            f"the network's configuration names no layout; convert the released files again: {folder.path}"
        )
    return ContextLayout.parse(text)


def _sources(folder: Lyra2Folder) -> dict[str, Any]:
    """Released file, size and hash of every converted part, as the conversion recorded them."""
    parts = folder.index.get("parts")
    described = parts.items() if isinstance(parts, dict) else ()
    return {str(name): part.get("sources") for name, part in described if isinstance(part, dict)}


def check_settings(config: WorldConfig) -> str:
    """Refuse, without loading anything, what the painter could not paint with; raises as `Lyra2Painter` does.

    Returns:
        how the weights would be held, in one line.
    """
    expect_film(config.generation.path)
    folder = open_folder(config)
    layout_of(folder)
    unknown = [name for name, _ in chosen_adapters(config.lyra2) if name not in folder.loras()]
    if unknown:
        there = ", ".join(folder.loras()) or "none"
        raise InputError(f"the folder holds no adapter '{unknown[0]}'; it has: {there}: {folder.path}")
    if config.lyra2.caption_model:
        Captioner(config.lyra2.caption_model, device="cpu")
    plan, text_device = plan_networks(folder, config.models, config.lyra2, this_machine())
    return f"weights {folder.weights.name}: {plan_line(plan, text_device)}"


def _cameras(memory: _Film, shot: Shot) -> dict[str, np.ndarray]:
    """Cameras of a shot as the network's world has them."""
    return {
        "new_w2c": np.stack([invert_rigid(T) @ memory.T_world_first for T in shot.Ts_world_cam]),
        "new_K": np.stack([reference_K(camera) for camera in shot.cameras]),
    }


def _to_network(frames: np.ndarray) -> np.ndarray:
    """[T, H, W, 3] 0..255 to [3, T, H, W] float32 in -1..1."""
    return np.ascontiguousarray(np.moveaxis(frames, -1, 0), np.float32) / np.float32(127.5) - np.float32(1)


def _from_network(frames: np.ndarray) -> np.ndarray:
    """[3, T, H, W] in -1..1 to [T, H, W, 3] float32, black 0, white 255, not clipped."""
    return np.ascontiguousarray(np.moveaxis((frames + np.float32(1)) * np.float32(127.5), 0, -1))


def _to_picture(frame: np.ndarray) -> np.ndarray:
    """[3, H, W] in -1..1 to [H, W, 3] uint8."""
    return np.clip(_from_network(frame[:, None])[0] + 0.5, 0, 255).astype(np.uint8)
