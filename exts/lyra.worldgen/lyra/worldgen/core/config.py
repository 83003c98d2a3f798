"""Configuration schema. Values live in `config/*.yaml`; unknown keys are refused with the nearest name."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class GeometryConfig:
    """How the photo is understood."""

    backend: str = "auto"
    """geometry backend: auto or embedded"""
    camera_height_m: float = 1.5
    """height of the camera above the floor [m]; the whole world scales with it"""
    working_long_side_px: int = 832
    """the photo is reduced to this long side [px]; smaller photos are not enlarged"""
    max_extent_m: float = 20.0
    """farthest surface with geometry [m]; what lies beyond becomes a backdrop at this distance"""


@dataclass(frozen=True, kw_only=True)
class GenerationConfig:
    """How unseen space is explored and painted."""

    painter: str = "auto"
    """painter backend: auto or patch"""
    path: str = "auto"
    """camera path: auto, turn, forward or loop"""
    prompt: str = ""
    """text for painters that read text"""
    view_long_side_px: int = 640
    """long side of painted views [px]"""
    threads: int = 1
    """threads of the embedded painter"""


@dataclass(frozen=True, kw_only=True)
class ReconstructionConfig:
    """How views become splats and a mesh."""

    texture_px: int = 4096
    """largest side of the texture atlas [px]"""
    splat_budget: int = 1_000_000
    """most Gaussians that are kept"""


@dataclass(frozen=True, kw_only=True)
class SimulationConfig:
    """How the mesh becomes something to bump into and to drive in."""

    wall_thickness_m: float = 0.2
    """thickness of fitted boxes, away from the room [m]"""
    rest_faces: int = 15_000
    """face budget of the collision mesh for everything that is no box"""
    cell_m: float = 0.05
    """cell size of the occupancy map [m]"""
    robot_radius_m: float = 0.25
    """radius of the robot that must fit [m]"""
    robot_height_m: float = 0.6
    """height of the robot that must fit [m]"""
    episode_count: int = 100
    """navigation episodes to write"""


@dataclass(frozen=True, kw_only=True)
class CertificateConfig:
    """How hard the world is tested."""

    drops: int = 24
    """bodies dropped onto the floor"""
    drive_episodes: int = 4
    """planned episodes that a robot drives in PhysX"""
    timeout_s: float = 180.0
    """longest time for the physics process [s]"""


@dataclass(frozen=True, kw_only=True)
class WorldConfig:
    """Everything that decides what a world looks like, besides the photo."""

    seed: int = 0
    """every random stream derives from it"""
    geometry: GeometryConfig = field(default_factory=GeometryConfig)
    generation: GenerationConfig = field(default_factory=GenerationConfig)
    reconstruction: ReconstructionConfig = field(default_factory=ReconstructionConfig)
    simulation: SimulationConfig = field(default_factory=SimulationConfig)
    certificate: CertificateConfig = field(default_factory=CertificateConfig)
