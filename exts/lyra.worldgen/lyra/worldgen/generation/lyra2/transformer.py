"""The video network of Lyra 2.0: Wan 2.1 image-to-video with a packed context, rays and correspondence (our notes, 3).

One pass takes a chunk's context and the noisy latents after it as one sequence of tokens and gives the velocity of the
new latents. Parameter names are those of the released weights. Norms, modulation and rotation are computed in float32
whatever the weights are; everything that treats each token for itself runs over slices of the sequence, so that no
float32 copy of the whole sequence ever exists.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch  # noqa: TID253 - networks are classes of torch; whoever needs one imports this module lazily
import torch.nn.functional as F  # noqa: TID253 - as above
from diffusers.configuration_utils import ConfigMixin, register_to_config  # noqa: TID253 - as above
from diffusers.models.modeling_utils import ModelMixin  # noqa: TID253 - as above
from torch import nn  # noqa: TID253 - as above

from ...core.errors import ConfigError, InputError
from ..context_layout import RELEASED, ContextLayout
from .attention import attend, check_kernel, rotate_pairs
from .rotary import rotary_angles
from .token_grid import (
    MAP_CHANNELS,
    PATCH,
    SLICE_TOKENS,
    TokenGrid,
    averaged_tokens,
    kernel_of,
    patch_tokens,
    shrunk_tokens,
    token_grids,
    unfold,
)

NEW_PARTS = ("clean_patch_embeddings", "cam_encoder", "buffer_encoder")
"""What Wan 2.1 does not have, by the names that occur in their parameters."""

_TIME_BASE = 10000.0


class Lyra2Transformer3DModel(ModelMixin, ConfigMixin):
    """The network and its configuration; the defaults are the released 14B model.

    Args:
        layout: context layout string with at least one retrieved view.
        width, layers, heads, ffn_width: size of the transformer.
        text_width, image_width: of the embeddings that it is given.
        time_width: of the timestep's sines and cosines.
        latent_channels, mask_channels, ray_channels: of the inputs.
        squeeze_width: between the two matrices that take in correspondence.
        octaves: of the sines and cosines of correspondence.
        eps: of all norms but those of the image tokens.

    Raises:
        ConfigError: sizes do not fit one another.
    """

    _supports_gradient_checkpointing = True
    _no_split_modules = ["Lyra2Block"]  # noqa: RUF012 - diffusers reads plain lists
    _repeated_blocks = ["Lyra2Block"]  # noqa: RUF012
    _skip_layerwise_casting_patterns = ["patch_embedding", "time_", "img_emb", "norm", "modulation", "head"]  # noqa: RUF012
    _keep_in_fp32_modules = [  # noqa: RUF012
        "time_embedding", "time_projection", "modulation", "norm3", "norm_q", "norm_k", "norm_k_img",
    ]  # fmt: skip

    @register_to_config
    def __init__(
        self,
        *,
        layout: str = RELEASED,
        width: int = 5120,
        layers: int = 40,
        heads: int = 40,
        ffn_width: int = 13824,
        text_width: int = 4096,
        image_width: int = 1280,
        time_width: int = 256,
        latent_channels: int = 16,
        mask_channels: int = 4,
        ray_channels: int = 384,
        squeeze_width: int = 256,
        octaves: int = 2,
        eps: float = 1e-6,
    ) -> None:
        super().__init__()
        self.context = ContextLayout.parse(layout)
        if not self.context.spatial_positions:
            raise ConfigError(f"layout '{layout}' has no place for a retrieved view; expected an s segment: {RELEASED}")
        if width % heads or (width // heads) % 2 or width // heads < 6 or time_width % 2:
            raise ConfigError(
                f"width {width} with {heads} heads and time_width {time_width}; expected heads of an even width of 6 "
                "or more, and an even time_width"
            )
        self.heads, self.head_width = heads, width // heads
        self.latent_channels, self.time_width = latent_channels, time_width
        self.context_channels = 2 * latent_channels + mask_channels
        self.map_channels = MAP_CHANNELS * len(self.context.spatial_positions)
        base = self.context_channels * PATCH**2
        self.patch_embedding = nn.Linear(base, width)
        kernels = [math.prod(kernel_of(s.kind, s.kernel)) for s in self.context.segments]
        self.clean_patch_embeddings = nn.ModuleList(nn.Linear(base * n, width) for n in kernels)
        self.text_embedding = nn.Sequential(
            nn.Linear(text_width, width), nn.GELU(approximate="tanh"), nn.Linear(width, width)
        )
        self.img_emb = ImageProjection(image_width, width)
        self.time_embedding = nn.Sequential(nn.Linear(time_width, width), nn.SiLU(), nn.Linear(width, width))
        self.time_projection = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))
        self.blocks = nn.ModuleList(
            Lyra2Block(
                width,
                heads,
                ffn_width,
                ray_width=ray_channels * PATCH**2,
                map_width=self.map_channels * PATCH**2,
                squeeze_width=squeeze_width,
                octaves=octaves,
                eps=eps,
            )
            for _ in range(layers)
        )
        self.head = Head(width, latent_channels * PATCH**2, eps)
        self.gradient_checkpointing = False

    def forward(
        self,
        latents: torch.Tensor,
        *,
        cond: torch.Tensor,
        buffer: torch.Tensor,
        buffer_valid: torch.Tensor,
        timestep: torch.Tensor,
        text: torch.Tensor,
        image: torch.Tensor,
    ) -> torch.Tensor:
        """Velocity of the new latents, float32 [B, C, new, h, w].

        B chunks are computed at once; T is the layout's number of latents; h and w are even. Inputs may have any
        floating type.

        Args:
            latents: [B, C, T, h, w] clean context, then the noisy new ones.
            cond: [B, mask + C + rays, T, h, w] mask, condition and rays.
            buffer: [B, 256 * slots, T, h, w] correspondence; its type is kept until the sines, and bfloat16 would
                blur the coordinates by more than a pixel.
            buffer_valid: [T] bool: positions whose correspondence means something; history never has any.
            timestep: [B] between 0 and 1000.
            text: [B, L, text_width]. image: [B, P, image_width].

        Raises:
            InputError: a shape does not fit.
        """
        h, w = self._check(latents, cond, buffer, buffer_valid, timestep, text, image)
        grids = token_grids(self.context, h, w)
        clean = self.context_channels - self.latent_channels
        x = self.embed(torch.cat([latents, cond[:, :clean].to(latents.dtype)], 1), grids)
        rays = self.ray_tokens(cond[:, clean:], grids).to(x.dtype)
        maps, valid = self.map_tokens(buffer, buffer_valid, grids)
        angles = rotary_angles(self.context, h, w, head_width=self.head_width, device=x.device)
        cos, sin = angles.cos()[None], angles.sin()[None]
        time, modulation = self.embed_time(timestep)
        text, image = self.text_embedding(text.to(x.dtype)), self.img_emb(image.to(x.dtype))
        checkpoint: Any = self._gradient_checkpointing_func
        again = self.gradient_checkpointing and torch.is_grad_enabled()
        for block in self.blocks:
            inputs = (x, modulation, rays, maps, valid.to(x.dtype), cos, sin, text, image)
            x = checkpoint(block, *inputs) if again else block(*inputs)
        new = grids[-1]
        out = self.head(x[:, -new.tokens :], time)
        return unfold(out.float(), new.size, self.latent_channels)

    def embed(self, x: torch.Tensor, grids: list[TokenGrid]) -> torch.Tensor:
        """Tokens [B, L, width] of latents, mask and condition [B, 2 C + mask, T, h, w]."""
        embeddings: list[Any] = [*self.clean_patch_embeddings, self.patch_embedding]
        dtype = self.patch_embedding.weight.dtype
        return torch.cat(
            [embed(patch_tokens(x, grid).to(dtype)) for embed, grid in zip(embeddings, grids, strict=True)], 1
        )

    def ray_tokens(self, rays: torch.Tensor, grids: list[TokenGrid]) -> torch.Tensor:
        """[B, L, 4 * rays] of ray latents [B, rays, T, h, w]."""
        return torch.cat([averaged_tokens(rays, grid) for grid in grids], 1)

    def map_tokens(
        self, buffer: torch.Tensor, buffer_valid: torch.Tensor, grids: list[TokenGrid]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """[B, L, 4 * 256 * slots] of correspondence, zeros where history is, and [1, L, 1] bool: means something."""
        maps, valid = [], []
        for grid in grids:
            if grid.retrieved or grid is grids[-1]:
                maps.append(shrunk_tokens(buffer, grid))
                each = buffer_valid[grid.start : grid.stop].bool()
                valid.append(each[:, None].expand(-1, grid.tokens // len(each)).reshape(-1))
            else:
                maps.append(buffer.new_zeros(len(buffer), grid.tokens, buffer.shape[1] * PATCH**2))
                valid.append(buffer_valid.new_zeros(grid.tokens, dtype=torch.bool))
        return torch.cat(maps, 1), torch.cat(valid)[None, :, None]

    def embed_time(self, timestep: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Embedding of timesteps [B, width] and what it adds to every block's modulation [B, 6, width], float32."""
        half = self.time_width // 2
        powers = torch.arange(half, dtype=torch.float64, device=timestep.device) / half
        angles = timestep.double()[:, None] * _TIME_BASE**-powers
        told = torch.cat([angles.cos(), angles.sin()], -1)
        with _no_autocast(told.device):
            time = self.time_embedding(told.to(next(self.time_embedding.parameters()).dtype))
            return time.float(), self.time_projection(time).float().unflatten(1, (6, -1))

    def set_attention_kernel(self, kernel: str) -> None:
        """Which kernel all attention uses, one of `attention.KERNELS`; raises `ConfigError` for another."""
        for module in self.modules():
            if isinstance(module, _Attention):
                module.kernel = check_kernel(kernel)

    @torch.no_grad()
    def initialise(self, generator: torch.Generator | None = None) -> None:
        """Start values of what Wan 2.1 does not have, for training; everything else stays as it is.

        Embeddings of the context begin as the base embedding of the same patch made small by averaging. The
        matrices of rays and correspondence are drawn from a normal distribution cut off at three deviations.

        Args:
            generator: on the parameters' device.
        """
        std = (self.head_width * self.heads) ** -0.5
        embeddings: Any = self.clean_patch_embeddings
        for segment, embedding in zip(self.context.segments, embeddings, strict=True):
            kernel = kernel_of(segment.kind, segment.kernel)
            embedding.weight.copy_(clean_weight(self.patch_embedding.weight, self.context_channels, kernel))
            embedding.bias.copy_(self.patch_embedding.bias)
        for name, weight in self.named_parameters():
            if "cam_encoder" in name or "buffer_encoder" in name:
                nn.init.trunc_normal_(weight, std=std, a=-3 * std, b=3 * std, generator=generator)

    def _check(self, latents: Any, cond: Any, buffer: Any, valid: Any, timestep: Any, text: Any, image: Any) -> Any:
        c: Any = self.config
        # One input of another length than all others is to be the one that is named.
        b = statistics.mode(len(x) for x in (latents, cond, buffer, timestep, text, image))
        _expect("latents", latents, (b, c.latent_channels, self.context.total_latents, None, None))
        positions = latents.shape[2:]
        _expect("cond", cond, (b, c.mask_channels + c.latent_channels + c.ray_channels, *positions))
        _expect("buffer", buffer, (b, self.map_channels, *positions))
        _expect("buffer_valid", valid, (self.context.total_latents,))
        _expect("timestep", timestep, (b,))
        _expect("text", text, (b, None, c.text_width))
        _expect("image", image, (b, None, c.image_width))
        return positions[1:]


class Lyra2Block(nn.Module):
    """One layer; rays and correspondence reach the queries and keys of its self-attention, not the values."""

    def __init__(
        self,
        width: int,
        heads: int,
        ffn_width: int,
        *,
        ray_width: int,
        map_width: int,
        squeeze_width: int,
        octaves: int,
        eps: float,
    ) -> None:
        super().__init__()
        self.eps, self.octaves = eps, octaves
        self.modulation = nn.Parameter(torch.randn(1, 6, width) / width**0.5)
        self.self_attn = SelfAttention(width, heads, eps)
        self.norm3 = WideLayerNorm(width, eps=eps)
        self.cross_attn = CrossAttention(width, heads, eps)
        self.ffn = nn.Sequential(nn.Linear(width, ffn_width), nn.GELU(approximate="tanh"), nn.Linear(ffn_width, width))
        self.cam_encoder = nn.Linear(ray_width, width, bias=False)
        self.buffer_encoder = nn.Sequential(
            nn.Linear(2 * octaves * map_width, squeeze_width, bias=False), nn.Linear(squeeze_width, width, bias=False)
        )

    def forward(
        self,
        x: torch.Tensor,
        modulation: torch.Tensor,
        rays: torch.Tensor,
        maps: torch.Tensor,
        valid: torch.Tensor,
        cos: torch.Tensor,
        sin: torch.Tensor,
        text: torch.Tensor,
        image: torch.Tensor,
    ) -> torch.Tensor:
        """[B, L, width] tokens after this layer.

        Args:
            x: [B, L, width] tokens.
            modulation: [B, 6, width] float32, of the timestep.
            rays, maps: [B, L, ...] of each token; `maps` counts where `valid` [1, L, 1] is 1.
            cos, sin: [1, L, d / 2] of the rotary angles.
            text, image: [B, ..., width] embedded.
        """
        shift1, scale1, gate1, shift2, scale2, gate2 = (self.modulation.float() + modulation).split(1, 1)
        context = self.cross_attn.keys_values(text, image)

        def ask(x: torch.Tensor, rays: torch.Tensor, maps: torch.Tensor, valid: torch.Tensor, *turn: torch.Tensor):
            y = modulated(x, shift1, scale1, self.eps)
            corresponding = self.buffer_encoder(waves(maps, self.octaves, x.dtype))
            where = self.cam_encoder(rays) + valid * corresponding
            return self.self_attn.heads_of(y, y + where, *turn)

        def answer(x: torch.Tensor, mixed: torch.Tensor) -> tuple[torch.Tensor]:
            x = gated(x, self.self_attn.o(mixed.flatten(2)), gate1)
            x = x + self.cross_attn(self.norm3(x), *context)
            return (gated(x, self.ffn(modulated(x, shift2, scale2, self.eps)), gate2),)

        mixed = self.self_attn(*over_slices(ask, x, rays, maps, valid, cos, sin))
        return over_slices(answer, x, mixed)[0]


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int, eps: float) -> None:
        super().__init__()
        self.heads, self.kernel = heads, "auto"
        self.q, self.k, self.v, self.o = (nn.Linear(width, width) for _ in range(4))
        self.norm_q, self.norm_k = (WideRmsNorm(width, eps=eps) for _ in range(2))

    def split(self, x: torch.Tensor) -> torch.Tensor:
        """[B, L, width] to [B, L, heads, d]."""
        return x.unflatten(-1, (self.heads, -1))


class SelfAttention(_Attention):
    """Attention among all tokens of the chunk."""

    def heads_of(
        self, y: torch.Tensor, placed: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Queries and keys of the tokens that know their place, values of those that do not; [B, L, heads, d]."""
        q, k = self.split(self.norm_q(self.q(placed))), self.split(self.norm_k(self.k(placed)))
        return rotate_pairs(q, cos[0], sin[0]), rotate_pairs(k, cos[0], sin[0]), self.split(self.v(y))

    def forward(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        """[B, L, heads, d], before the output matrix."""
        return attend(q, k, v, kernel=self.kernel)


class CrossAttention(_Attention):
    """Attention to text and image tokens, each with a softmax of its own, by the same queries."""

    def __init__(self, width: int, heads: int, eps: float) -> None:
        super().__init__(width, heads, eps)
        self.k_img, self.v_img = nn.Linear(width, width), nn.Linear(width, width)
        self.norm_k_img = WideRmsNorm(width, eps=eps)

    def keys_values(self, text: torch.Tensor, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Keys and values of text, then of image tokens."""
        keys = self.split(self.norm_k(self.k(text))), self.split(self.norm_k_img(self.k_img(image)))
        return keys[0], self.split(self.v(text)), keys[1], self.split(self.v_img(image))

    def forward(
        self, x: torch.Tensor, k: torch.Tensor, v: torch.Tensor, k_img: torch.Tensor, v_img: torch.Tensor
    ) -> torch.Tensor:
        """[B, L, width] of tokens [B, L, width]."""
        q = self.split(self.norm_q(self.q(x)))
        mixed = attend(q, k, v, kernel=self.kernel) + attend(q, k_img, v_img, kernel=self.kernel)
        return self.o(mixed.flatten(2))


class Head(nn.Module):
    """From tokens to patches of velocity."""

    def __init__(self, width: int, patch_width: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.modulation = nn.Parameter(torch.randn(1, 2, width) / width**0.5)
        self.head = nn.Linear(width, patch_width)

    def forward(self, x: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        """[B, L, patch_width] of tokens [B, L, width] and the time's embedding [B, width]."""
        shift, scale = (self.modulation.float() + time[:, None]).split(1, 1)
        return over_slices(lambda x: (self.head(modulated(x, shift, scale, self.eps)),), x)[0]


class ImageProjection(nn.Module):
    """Image tokens brought to the transformer's width."""

    def __init__(self, image_width: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Sequential(
            WideLayerNorm(image_width),
            nn.Linear(image_width, image_width),
            nn.GELU(),
            nn.Linear(image_width, width),
            WideLayerNorm(width),
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """[B, P, width]."""
        return self.proj(image)


class WideLayerNorm(nn.LayerNorm):
    """Layer norm in float32, given back in the type of its input."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        weight, bias = self.weight.float(), self.bias.float()
        return F.layer_norm(input.float(), self.normalized_shape, weight, bias, self.eps).to(input.dtype)


class WideRmsNorm(nn.Module):
    """RMS norm over all heads at once in float32, given back in the type of its input."""

    def __init__(self, width: int, *, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.rms_norm(x.float(), self.weight.shape, self.weight.float(), self.eps).to(x.dtype)


def modulated(x: torch.Tensor, shift: torch.Tensor, scale: torch.Tensor, eps: float) -> torch.Tensor:
    """Layer norm of [B, L, width], stretched and moved, in float32."""
    return torch.addcmul(shift, F.layer_norm(x.float(), x.shape[-1:], eps=eps), 1 + scale).to(x.dtype)


def gated(x: torch.Tensor, change: torch.Tensor, gate: torch.Tensor) -> torch.Tensor:
    """`x + gate * change`, in float32."""
    return torch.addcmul(x.float(), change.float(), gate).to(x.dtype)


def waves(x: torch.Tensor, octaves: int, dtype: torch.dtype) -> torch.Tensor:
    """Sines and cosines of pi x, 2 pi x, ...: [..., C] to [..., 2 * octaves * C], all sines of an octave first."""
    out = x.new_empty((*x.shape[:-1], 2 * octaves, x.shape[-1]), dtype=dtype)
    for i in range(octaves):
        angle = math.pi * 2**i * x.float()
        out[..., 2 * i, :] = angle.sin()
        out[..., 2 * i + 1, :] = angle.cos()
    return out.flatten(-2)


def over_slices(
    function: Callable[..., tuple[torch.Tensor, ...]], *per_token: torch.Tensor
) -> tuple[torch.Tensor, ...]:
    """`function` of tensors [B, L, ...] whose result treats each token for itself, slice by slice of the sequence."""
    count = per_token[0].shape[1]
    if count <= SLICE_TOKENS:
        return function(*per_token)
    starts = range(0, count, SLICE_TOKENS)
    parts = [function(*(x[:, start : start + SLICE_TOKENS] for x in per_token)) for start in starts]
    columns = list(zip(*parts, strict=True))
    del parts
    whole = []
    while columns:  # each result's slices are let go as soon as they are joined
        whole.append(torch.cat(columns.pop(0), 1))
    return tuple(whole)


def clean_weight(base: torch.Tensor, channels: int, kernel: tuple[int, int, int]) -> torch.Tensor:
    """The base embedding [width, channels * 4] stretched over an enlarged patch: it sees that patch made small."""
    weight = base.unflatten(1, (channels, 1, PATCH, PATCH))
    for axis, times in enumerate(kernel, start=2):
        weight = weight.repeat_interleave(times, axis)
    return weight.flatten(1) / math.prod(kernel)


def _no_autocast(device: torch.device) -> AbstractContextManager[Any]:
    """Autocast off where the device knows it: a timestep is told in float32."""
    known = torch.amp.autocast_mode.is_autocast_available(device.type)
    return torch.autocast(device.type, enabled=False) if known else nullcontext()


def _expect(name: str, tensor: torch.Tensor, shape: tuple[int | None, ...]) -> None:
    got = tuple(tensor.shape)
    if len(got) != len(shape) or any(w is not None and w != g for g, w in zip(got, shape, strict=True)):
        wanted = "(" + ", ".join("any" if s is None else str(s) for s in shape) + ")"
        raise InputError(f"{name} has shape {got}; expected {wanted}")
