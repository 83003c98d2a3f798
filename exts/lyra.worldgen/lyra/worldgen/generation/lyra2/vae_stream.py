"""The causal video VAE, chunk by chunk: what its convolutions remember is a value that the caller holds.

diffusers' `AutoencoderKLWan` forgets its caches at every call and clamps what it decodes; a world that grows needs
neither. Facts: our notes on Lyra 2.0, section 4.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from ...core.errors import BackendError, InputError
from ...core.optional import require

FRAMES_PER_LATENT = 4
"""Frames that share a latent, after the first frame, which has one of its own."""
CELL_PX = 8
"""Side of the square of pixels that one latent cell stands for [px]."""


@dataclass(frozen=True, kw_only=True)
class VaeCache:
    """What encoder or decoder remember of a clip so far; never changed, so going back to an older one undoes the rest.

    Holds on to the graph of what it was computed from unless that ran under `torch.no_grad`; see `detached`.
    """

    part: str
    """encoder or decoder."""
    size: tuple[int, int, int]
    """Batch, height and width of what goes in."""
    latents: int
    """Latents that have passed so far."""
    states: tuple[Any, ...]
    """One entry a causal convolution: a tensor, None, or the mark that the decoder's upsampling leaves."""

    def detached(self) -> VaeCache:
        """The same memory without the graph that led to it."""
        return self._each(lambda state: state.detach())

    def to(self, device: Any) -> VaeCache:
        """The same memory on another device."""
        return self._each(lambda state: state.to(device))

    def bytes(self) -> int:
        """Memory of its tensors."""
        return sum(state.numel() * state.element_size() for state in self.states if hasattr(state, "detach"))

    def _each(self, change: Any) -> VaeCache:
        return replace(self, states=tuple(change(s) if hasattr(s, "detach") else s for s in self.states))


class StreamingVae:
    """Encodes and decodes a video that comes in pieces; the pieces give bit for bit what the whole would.

    Differentiable; wrap calls in `torch.no_grad()` where no gradient is wanted.

    Args:
        vae: an `AutoencoderKLWan` of the Wan 2.1 kind, placed and in its number type.

    Raises:
        InputError: the VAE is of another kind.
    """

    def __init__(self, vae: Any) -> None:
        config = vae.config
        if config.get("is_residual") or config.get("patch_size") is not None:
            raise InputError(
                "the VAE has residual shortcuts or patches (Wan 2.2); expected the VAE of Wan 2.1, which Lyra 2.0 uses"
            )
        for name in ("latents_mean", "latents_std"):
            if len(config[name]) != config.z_dim:
                raise InputError(f"{name} of the VAE has {len(config[name])} entries; expected {config.z_dim}")
        self.vae = vae

    @property
    def latent_channels(self) -> int:
        return int(self.vae.config.z_dim)

    def encode(self, video: Any, cache: VaeCache | None = None) -> tuple[Any, VaeCache]:
        """Latents of the next frames: normalised means of the posterior.

        Args:
            video: [B, 3, T, H, W] in -1..1; T is 1 + 4 m at the start of a clip and 4 m after that.
            cache: of the encoder after the frames before; None at the start of a clip.

        Returns:
            latents [B, 16, m (+ 1 at the start), H / 8, W / 8] float32, and the cache after them.

        Raises:
            InputError: shapes do not fit, or the cache is another one's.
            BackendError: the encoder returned NaN or infinity.
        """
        torch = require("torch", extra="models")
        batch, _, frames, height, width = _expect_video("video", video, int(self.vae.config.in_channels))
        if height % CELL_PX or width % CELL_PX:
            raise InputError(f"video is {height} x {width} pixels; expected multiples of {CELL_PX}")
        first = 1 if cache is None else 0
        if frames < 1 or (frames - first) % FRAMES_PER_LATENT:
            expected = "1 + 4 m frames at the start of a clip" if first else "4 m frames after the start of a clip"
            raise InputError(f"video has {frames} frames; expected {expected}")
        states = self._states("encoder", cache, (batch, height, width))
        video = video.to(self._place(), self.vae.dtype)
        mean, std = self._scale(video.device)
        latents = []
        at = 0
        while at < frames:
            step = 1 if first and at == 0 else FRAMES_PER_LATENT
            features = self.vae.encoder(video[:, :, at : at + step], feat_cache=states, feat_idx=[0])
            # The last convolution sees one latent at a time too: over several its sums may round differently.
            moments = self.vae.quant_conv(features)
            latents.append((moments[:, : self.latent_channels].float() - mean) / std)
            at += step
        result = _expect_finite("encoder", torch.cat(latents, 2))
        return result, self._remember("encoder", cache, (batch, height, width), states, len(latents))

    def decode(self, latents: Any, cache: VaeCache | None = None) -> tuple[Any, VaeCache]:
        """Frames of the next latents; values may leave -1..1.

        Args:
            latents: [B, 16, m, h, w], normalised.
            cache: of the decoder after the latents before; None at the start of a clip.

        Returns:
            video [B, 3, T, 8 h, 8 w] float32 with 1 + 4 (m - 1) frames at the start of a clip and 4 m after that, and
            the cache after them.

        Raises:
            InputError: shapes do not fit, or the cache is another one's.
            BackendError: the decoder returned NaN or infinity.
        """
        torch = require("torch", extra="models")
        batch, _, count, height, width = _expect_video("latents", latents, self.latent_channels)
        if count < 1:
            raise InputError("latents is empty; expected at least one latent")
        states = self._states("decoder", cache, (batch, height, width))
        mean, std = self._scale(self._place())
        features = (latents.to(self._place()).float() * std + mean).to(self.vae.dtype)
        frames = []
        for at in range(count):
            one = self.vae.post_quant_conv(features[:, :, at : at + 1])
            frames.append(self.vae.decoder(one, feat_cache=states, feat_idx=[0]).float())
        result = _expect_finite("decoder", torch.cat(frames, 2))
        return result, self._remember("decoder", cache, (batch, height, width), states, count)

    def _states(self, part: str, cache: VaeCache | None, size: tuple[int, int, int]) -> list[Any]:
        """A list of its own for the network to write into."""
        if cache is None:
            module = getattr(self.vae, part)
            return [None] * sum(type(layer).__name__ == "WanCausalConv3d" for layer in module.modules())
        if cache.part != part:
            raise InputError(f"cache belongs to the {cache.part}; expected one of the {part}")
        if cache.size != size:
            raise InputError(
                f"cache is for (batch, height, width) = {cache.size}; what comes now is {size}, and a clip keeps its "
                "size"
            )
        return list(cache.states)

    def _remember(
        self, part: str, before: VaeCache | None, size: tuple[int, int, int], states: list[Any], count: int
    ) -> VaeCache:
        passed = count + (before.latents if before is not None else 0)
        return VaeCache(part=part, size=size, latents=passed, states=tuple(states))

    def _place(self) -> Any:
        """Where the network takes its input, also while its weights wait elsewhere."""
        hook = getattr(self.vae, "_hf_hook", None)
        return getattr(hook, "execution_device", None) or self.vae.device

    def _scale(self, device: Any) -> tuple[Any, Any]:
        """Mean and deviation of the latents, [1, 16, 1, 1, 1]."""
        torch = require("torch", extra="models")
        config = self.vae.config
        shape = (1, -1, 1, 1, 1)
        return tuple(
            torch.tensor(config[name], dtype=torch.float32, device=device).view(shape)
            for name in ("latents_mean", "latents_std")
        )


def _expect_video(name: str, tensor: Any, channels: int) -> tuple[int, int, int, int, int]:
    shape = tuple(tensor.shape)
    if len(shape) != 5 or shape[1] != channels:
        raise InputError(f"{name} has shape {shape}; expected (batch, {channels}, time, height, width)")
    return shape


def _expect_finite(part: str, result: Any) -> Any:
    if not bool(result.isfinite().all()):
        bad = int((~result.isfinite()).sum())
        raise BackendError(
            f"the VAE's {part} returned {bad} NaN or infinite values of {result.numel()}; check the weights, or run it "
            "in float32 (models.dtype=float32)"
        )
    return result
