"""Left and right are alike: what a robot meets, mirrored in its own heading, teaches as much as the original.

For learning libraries that augment their batches (`rsl_rl`'s symmetry extension). It knows the terms by their names;
a term that it does not know is refused, for a wrong mirror image would teach nonsense without an error.
"""

from __future__ import annotations

from typing import Any

import torch  # noqa: TID253 this module is about tensors

from lyra.worldgen.core.errors import ConfigError

SIGNS = {
    "goal": (1.0, 1.0, -1.0),
    "way": (1.0, 1.0, 1.0, -1.0),
    "trail": (1.0, -1.0, 1.0, -1.0),
    "stops": (1.0,),
    "covered": (1.0,),
}
"""Terms whose columns keep or change their signs."""
MOTIONS = ("velocity", "last_action")
"""Terms of speed and turn rate, with that to the left between them for robots that strafe."""
RAYS = ("lidar",)
"""Terms of rays all around, the first pointing backwards."""
PICTURES = ("depth", "rgb")
"""Terms of pixels [channels, H, W], each in a group of its own."""
SECTORS = ("left",)
"""Terms of sectors all around, the first beginning at the robot's back."""
MOTION_SIGNS = {2: (1.0, -1.0), 3: (1.0, -1.0, -1.0)}
"""Of motions and actions, by their number of columns."""


def mirror(term: str, values: torch.Tensor) -> torch.Tensor:
    """[n, C] values of an observation term, or pictures [n, C, H, W], as a robot would meet them in a mirror.

    Raises:
        ConfigError: the term is unknown, or has another number of columns.
    """
    columns = values.shape[-1]
    if values.ndim == 4 and term in PICTURES:
        return values.flip(-1)
    if values.ndim != 2:
        raise ConfigError(
            f"observation '{term}' of shape {list(values.shape)} has no mirror image; add it to `mirroring`"
        )
    if term in RAYS:
        return values[:, (-torch.arange(columns, device=values.device)) % columns]
    if term in SECTORS:
        return values.flip(-1)
    signs = MOTION_SIGNS.get(columns) if term in MOTIONS else SIGNS.get(term)
    if signs is None or len(signs) != columns:
        raise ConfigError(f"observation '{term}' with {columns} columns has no mirror image; add it to `mirroring`")
    return values * values.new_tensor(signs)


def with_mirror_images(env: Any, obs: Any = None, actions: torch.Tensor | None = None) -> tuple[Any, Any]:
    """Observations and actions followed by their mirror images, as rsl_rl asks for them.

    Args:
        env: rsl_rl's wrapper of the task.
        obs: TensorDict of observation groups, [n, C] or one picture [n, C, H, W] each, or None.
        actions: [n, 2], [n, 3] or None.

    Returns:
        The same with 2 n rows; None where None was given.
    """
    if obs is not None:
        manager = env.unwrapped.observation_manager
        images = obs.clone()
        for group in obs.keys():
            names, widths = manager.active_terms[group], manager.group_obs_term_dim[group]
            if obs[group].ndim > 2:
                if len(names) != 1:
                    raise ConfigError(f"group '{group}' holds pictures and {len(names)} terms; give each its own group")
                images[group] = mirror(names[0], obs[group])
                continue
            parts = obs[group].split([width[-1] for width in widths], dim=-1)
            images[group] = torch.cat([mirror(*named) for named in zip(names, parts, strict=True)], -1)
        obs = torch.cat([obs, images])
    if actions is not None:
        actions = torch.cat([actions, actions * actions.new_tensor(MOTION_SIGNS[actions.shape[-1]])])
    return obs, actions
