"""Robots and sensors that differ from environment to environment: `env.randomisation.enabled=true`."""

from __future__ import annotations

from isaaclab.envs import mdp
from isaaclab.managers import EventTermCfg, SceneEntityCfg
from isaaclab.utils import configclass

from ..camera_faults import CameraFaultOptions
from ..lidar_faults import FaultOptions
from ..robots.catalogue import RobotSpec


@configclass
class RandomisationCfg:
    """Ranges that are drawn from, each environment for itself. A range of one value, or 0, leaves a thing as it is."""

    enabled: bool = False
    seed: int = 0
    """Of the lidars' and cameras' faults; everything else is drawn by Isaac Lab from the task's seed."""
    in_evaluation: bool = False
    """Whether evaluation drives with it, too; the same seed gives the same drives there."""
    friction: tuple[float, float] = (0.6, 1.2)
    """Of the tyres, drawn once."""
    mass: tuple[float, float] = (0.8, 1.25)
    """Factor of the base's mass, drawn once."""
    gains: tuple[float, float] = (0.7, 1.3)
    """Factor of the wheels' velocity gain, drawn at every reset."""
    lidar_noise_m: float = 0.02
    """Standard deviation of ranges."""
    lidar_dropout: float = 0.02
    """Share of rays that do not come back."""
    lidar_latency_steps: int = 2
    """Most steps of the task that a scan is late, drawn at every reset."""
    push_m_s: float = 0.3
    """Largest sideways or forward speed that a push adds."""
    push_every_s: tuple[float, float] = (4.0, 8.0)
    """Between two pushes."""

    camera_exposure_ev: float = 0.7
    """Largest exposure too much or too little of colour cameras, drawn at every reset [EV]."""
    camera_white_balance: float = 0.15
    """Largest share by which red and blue light are too strong or too weak, drawn at every reset."""
    camera_noise: float = 0.02
    """Standard deviation of a pixel's values, of 0..1, in every picture."""

    def camera(self) -> CameraFaultOptions | None:
        """Faults of colour cameras; None without any. Raises `ConfigError` for values that make no sense."""
        if not self.enabled:
            return None
        return CameraFaultOptions(
            exposure_ev=self.camera_exposure_ev,
            white_balance=self.camera_white_balance,
            noise=self.camera_noise,
            seed=self.seed,
        )

    def lidar(self, max_range_m: float) -> FaultOptions | None:
        """Faults of a lidar of that range; None without any. Raises `ConfigError` for values that make no sense."""
        if not self.enabled:
            return None
        return FaultOptions(
            noise=self.lidar_noise_m / max_range_m,
            dropout=self.lidar_dropout,
            latency_steps=self.lidar_latency_steps,
            seed=self.seed,
        )

    def events(self, robot: RobotSpec) -> dict[str, EventTermCfg]:
        """Event terms by name; empty unless enabled."""
        if not self.enabled:
            return {}
        wheels = SceneEntityCfg("robot", body_names=robot.grips)
        base = SceneEntityCfg("robot", body_names=robot.base_body)
        found = {
            "random_friction": EventTermCfg(
                func=mdp.randomize_rigid_body_material,
                mode="startup",
                params={
                    "asset_cfg": wheels,
                    "static_friction_range": self.friction,
                    "dynamic_friction_range": self.friction,
                    "restitution_range": (0.0, 0.0),
                    "num_buckets": 64,
                    "make_consistent": True,
                },
            ),
            "random_mass": EventTermCfg(
                func=mdp.randomize_rigid_body_mass,
                mode="startup",
                params={"asset_cfg": base, "mass_distribution_params": self.mass, "operation": "scale"},
            ),
            "random_gains": EventTermCfg(
                func=mdp.randomize_actuator_gains,
                mode="reset",
                params={
                    "asset_cfg": SceneEntityCfg("robot", joint_names=".*"),
                    "damping_distribution_params": self.gains,
                    "operation": "scale",
                },
            ),
        }
        if self.push_m_s > 0:
            reach = (-self.push_m_s, self.push_m_s)
            found["push"] = EventTermCfg(
                func=mdp.push_by_setting_velocity,
                mode="interval",
                interval_range_s=self.push_every_s,
                params={"velocity_range": {"x": reach, "y": reach}},
            )
        return found
