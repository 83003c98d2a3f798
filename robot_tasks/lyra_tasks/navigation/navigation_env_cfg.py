"""What all navigation tasks share: scene, actions, observations, events, rewards and terminations.

A task for another purpose overrides single terms; another world or robot is a value: `env.worlds=...`,
`env.robot=omni`, `env.robot_size=small`.
"""

from __future__ import annotations

import isaaclab.sim as sim_utils
from isaaclab.assets import ArticulationCfg, AssetBaseCfg
from isaaclab.envs import ManagerBasedRLEnvCfg
from isaaclab.managers import (
    ActionTermCfg,
    CurriculumTermCfg,
    EventTermCfg,
    ObservationGroupCfg,
    ObservationTermCfg,
    RewardTermCfg,
    TerminationTermCfg,
)
from isaaclab.scene import InteractiveSceneCfg
from isaaclab.utils import configclass
from isaaclab.utils.noise import UniformNoiseCfg
from isaaclab_newton.physics import NewtonCfg

from lyra.worldgen.core.errors import ConfigError

from .. import mdp
from ..atlas import Atlas
from ..clutter import ClutterOptions
from ..robots.catalogue import RobotSpec, robot_of
from ..rules import DECIMATION, LIDAR_BEAMS, LIDAR_RANGE_M, LIDAR_RAYS, PHYSICS_STEP_S, POINT_GOAL, DriveRules
from .physics_cfg import NavigationPhysicsCfg, make_room_for_legs, share_contacts
from .randomisation_cfg import RandomisationCfg
from .robot_cfg import robot_parts


@configclass
class NavigationSceneCfg(InteractiveSceneCfg):
    """One robot an environment; worlds are added when they are known."""

    robot: ArticulationCfg | None = None
    light = AssetBaseCfg(prim_path="/World/light", spawn=sim_utils.DomeLightCfg(intensity=1500.0))


@configclass
class ActionsCfg:
    drive: ActionTermCfg | None = None
    """The robot's own, see `robot_cfg`."""


@configclass
class CommandsCfg:
    goal = mdp.GoalCommandCfg()


@configclass
class PolicyObservationsCfg(ObservationGroupCfg):
    """What a real robot can know."""

    goal = ObservationTermCfg(func=mdp.generated_commands, params={"command_name": "goal"})
    velocity = ObservationTermCfg(func=mdp.planar_velocity, noise=UniformNoiseCfg(n_min=-0.02, n_max=0.02))
    last_action = ObservationTermCfg(func=mdp.last_action, clip=(-1.0, 1.0))
    lidar = ObservationTermCfg(
        func=mdp.WarpLidar,
        params={"rays": LIDAR_RAYS, "max_range_m": LIDAR_RANGE_M, "beams": LIDAR_BEAMS},
        noise=UniformNoiseCfg(n_min=-0.005, n_max=0.005),
        clip=(0.0, 1.0),
    )
    trail = ObservationTermCfg(func=mdp.trail)

    def __post_init__(self) -> None:
        self.enable_corruption = True
        self.concatenate_terms = True


@configclass
class TeacherObservationsCfg(ObservationGroupCfg):
    """What only a simulation knows."""

    way = ObservationTermCfg(func=mdp.goal_geodesic, params={"far_m": POINT_GOAL.far_m})
    lidar: ObservationTermCfg | None = None
    """What stands around, for tasks whose robots have a camera in its place."""

    def __post_init__(self) -> None:
        self.enable_corruption = False
        self.concatenate_terms = True


@configclass
class CameraObservationsCfg(ObservationGroupCfg):
    """What a camera sees [channels, H, W]: one of the two, a group of its own because networks take pictures apart."""

    depth: ObservationTermCfg | None = None
    rgb: ObservationTermCfg | None = None

    def __post_init__(self) -> None:
        self.enable_corruption = True
        self.concatenate_terms = True


@configclass
class ObservationsCfg:
    policy: PolicyObservationsCfg = PolicyObservationsCfg()
    teacher: TeacherObservationsCfg = TeacherObservationsCfg()
    camera: CameraObservationsCfg | None = None


@configclass
class EventsCfg:
    start = EventTermCfg(func=mdp.reset_to_course, mode="reset")


@configclass
class RewardsCfg:
    progress = RewardTermCfg(func=mdp.towards_goal, weight=1.0)
    stop = RewardTermCfg(func=mdp.reached_stop, weight=5.0)
    collision = RewardTermCfg(func=mdp.ended_by, weight=-5.0, params={"term": "touched"})
    near = RewardTermCfg(func=mdp.proximity, weight=-1.5, params={"margin_m": 0.2})
    smoothness = RewardTermCfg(func=mdp.action_change, weight=-0.02)
    time = RewardTermCfg(func=mdp.time_used, weight=-0.1)


@configclass
class TerminationsCfg:
    time_out = TerminationTermCfg(func=mdp.out_of_time, time_out=True)
    arrived = TerminationTermCfg(func=mdp.arrived)
    touched = TerminationTermCfg(func=mdp.touched)


@configclass
class CurriculumCfg:
    # Whoever copies a teacher first needs no short drives to begin with; without one, `first_m` of 3 m is a good start.
    geodesic = CurriculumTermCfg(
        func=mdp.widen_geodesic_limit,
        params={"first_m": 40.0, "last_m": 80.0, "good_rate": 0.8, "poor_rate": 0.65, "growth": 2.0, "memory": 400.0},
    )


@configclass
class NavigationEnvCfg(ManagerBasedRLEnvCfg):
    """A robot drives from stop to stop in worlds that are given by name."""

    # Zero spacing: robots share the worlds that the atlas places. Engines keep robots of different environments apart.
    scene: NavigationSceneCfg = NavigationSceneCfg(num_envs=128, env_spacing=0.0, replicate_physics=True)
    actions: ActionsCfg = ActionsCfg()
    commands: CommandsCfg | None = CommandsCfg()
    observations: ObservationsCfg = ObservationsCfg()
    events: EventsCfg = EventsCfg()
    rewards: RewardsCfg = RewardsCfg()
    terminations: TerminationsCfg = TerminationsCfg()
    curriculum: CurriculumCfg | None = CurriculumCfg()
    worlds: str = ""
    """A world folder, a folder of worlds, a pattern, or a file that lists worlds."""
    floor_per_robot_m2: float = 1.25
    """With PhysX on a processor, whose broad phase sees robots of other environments that overlap: worlds are copied
    until every robot has so much free floor on average [m²]; 0: one copy of each world."""
    certified_only: bool = True
    """Leave out worlds whose certificate did not pass."""
    robot: str = "diff_drive"
    """Which one drives, see `robots.catalogue`: diff_drive and omni are embedded, jetbot, carter, anymal and go2 come
    from Isaac Lab's asset server."""
    robot_size: str = "medium"
    """Of the embedded robots: small or medium."""
    walking_policy: str = ""
    """Moves the legs of anymal and go2: TorchScript or a checkpoint of rsl_rl, instead of the server's."""
    course_source: str = mdp.RANDOM
    """`random` draws starts and goals in free space, `episodes` takes the worlds' certified episodes in turn."""
    stops: int = POINT_GOAL.stops
    """Positions to reach in one drive."""
    revisits: bool = POINT_GOAL.revisits
    """Every third stop is the one before the last one again."""
    stop_speed_m_s: float = POINT_GOAL.stop_speed_m_s
    """A stop counts as reached at no more than this speed [m/s]."""
    pace_m_s: float = POINT_GOAL.pace_m_s
    """Drives too long for `episode_length_s` have as much time as they take at this speed along the floor [m/s]."""
    goal_radius_m: float = POINT_GOAL.goal_radius_m
    """A stop is reached within this distance [m]."""
    touch_margin_m: float = POINT_GOAL.touch_margin_m
    """A gap between footprint and obstacle below this counts as touching [m]."""
    planning_margin_m: float = POINT_GOAL.planning_margin_m
    """Kept between footprint and obstacles by starts, goals and shortest paths [m]."""
    min_geodesic_m: float = 1.0
    """Shortest drive to the first stop [m]."""
    goals_per_world: int = 64
    """Size of the pool that random drives take their stops from."""
    starts_per_world: int = 256
    """Size of the pool that random drives take their starts from."""

    clutter: int = 0
    """Posts, bins and boxes that stand beside the way, at most, in other places on every drive; see `clutter`."""
    clutter_margin_m: float = 0.15
    """Kept free of them on both sides of a robot on its route [m]."""

    cover_near_m: float = 0.0
    """In exploration tasks: floor is covered from at most this far away [m]; 0: not such a task."""
    cover_sight_m: float = 6.0
    """How far a robot sees floor that is still to be covered [m]."""
    cover_share: float = 0.9
    """Share of the floor that is enough."""
    sweep_share: float = POINT_GOAL.sweep_share
    """Explorations of much floor have as much time as it takes at this share of what a robot could cover at best."""
    randomisation: RandomisationCfg = RandomisationCfg()

    def __post_init__(self) -> None:
        self.seed = 0
        self.decimation = DECIMATION
        self.sim.dt = PHYSICS_STEP_S
        self.follow(POINT_GOAL)
        self.sim.render_interval = self.decimation
        self.sim.physics = NavigationPhysicsCfg()

    def follow(self, rules: DriveRules) -> None:
        """Take over how a drive goes and ends."""
        self.stops, self.revisits = rules.stops, rules.revisits
        self.goal_radius_m, self.stop_speed_m_s = rules.goal_radius_m, rules.stop_speed_m_s
        self.episode_length_s, self.pace_m_s = rules.time_limit_s, rules.pace_m_s
        self.sweep_share = rules.sweep_share
        self.touch_margin_m, self.planning_margin_m = rules.touch_margin_m, rules.planning_margin_m

    def robot_spec(self) -> RobotSpec:
        """The robot in numbers; raises `ConfigError` for an unknown robot or size."""
        return robot_of(self.robot, self.robot_size)

    def clutter_options(self, spec: RobotSpec) -> ClutterOptions:
        """How much stands about; raises `ConfigError` where it cannot."""
        if self.clutter < 0 or self.clutter_margin_m < 0:
            raise ConfigError(f"env.clutter is {self.clutter}, its margin {self.clutter_margin_m}; expected 0 or more")
        if self.cover_near_m > 0:
            raise ConfigError("env.clutter leaves a route free, and explorations have none; set env.clutter=0")
        if self.observations.camera is not None and self.observations.camera.rgb is not None:
            raise ConfigError("colour cameras do not see clutter; set env.clutter=0 or take a task with lidar or depth")
        return ClutterOptions(
            count=self.clutter,
            passage_m=spec.footprint_radius_m + self.clutter_margin_m,
            seed=self.seed if self.seed is not None else 0,
        )

    def complete(self, atlas: Atlas) -> None:
        """Add worlds and robot to the scene, once everything that the command line says is known."""
        spec = self.robot_spec()
        parts = robot_parts(spec, self.walking_policy)
        self.scene.robot, self.actions.drive = parts.articulation, parts.drive
        if isinstance(self.sim.physics, NewtonCfg):
            share_contacts(self.sim.physics, self.scene.num_envs)
        if parts.physics_step_s != PHYSICS_STEP_S:
            self.decimation = round(DECIMATION * PHYSICS_STEP_S / parts.physics_step_s)
            self.sim.dt, self.sim.render_interval = parts.physics_step_s, self.decimation
        if parts.legs:
            make_room_for_legs(self.sim.physics)
            # Newton would take all steps of physics at once, and ask the walking policy once a step of the task.
            self.sim.use_newton_actuators = False
        for name, term in self.randomisation.events(spec).items():
            setattr(self.events, name, term)
        for s, (x, y, z) in enumerate(atlas.offsets_m.tolist()):
            k = s % len(atlas)
            world = AssetBaseCfg(
                prim_path=atlas.prim_path(s),
                spawn=sim_utils.UsdFileCfg(usd_path=str(atlas.grounds[k].world.collision_path)),
                init_state=AssetBaseCfg.InitialStateCfg(pos=(x, y, z)),
            )
            setattr(self.scene, f"world_{s}", world)
