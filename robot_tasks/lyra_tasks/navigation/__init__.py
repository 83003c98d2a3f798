"""Navigation tasks as Isaac Lab finds them: through the entry point group `isaaclab.tasks`.

Importing this registers names only; configurations and environments load when a task is made.
"""

import gymnasium as gym

__all__ = ["TASKS"]

TASKS = {
    "Lyra-PointGoal-DiffDrive-Lidar": "point_goal_env_cfg:LidarPointGoalEnvCfg",
    "Lyra-PointGoal-DiffDrive-Teacher": "point_goal_env_cfg:TeacherPointGoalEnvCfg",
    "Lyra-Patrol-DiffDrive-Lidar": "patrol_env_cfg:LidarPatrolEnvCfg",
    "Lyra-Explore-DiffDrive-Lidar": "explore_env_cfg:LidarExploreEnvCfg",
    "Lyra-Deliver-DiffDrive-Lidar": "deliver_env_cfg:LidarDeliverEnvCfg",
    "Lyra-PointGoal-DiffDrive-Depth": "camera_env_cfg:DepthPointGoalEnvCfg",
    "Lyra-Patrol-DiffDrive-Depth": "camera_env_cfg:DepthPatrolEnvCfg",
    "Lyra-Explore-DiffDrive-Depth": "camera_env_cfg:DepthExploreEnvCfg",
    "Lyra-Deliver-DiffDrive-Depth": "camera_env_cfg:DepthDeliverEnvCfg",
    "Lyra-PointGoal-DiffDrive-Rgb": "camera_env_cfg:RgbPointGoalEnvCfg",
    "Lyra-Patrol-DiffDrive-Rgb": "camera_env_cfg:RgbPatrolEnvCfg",
    "Lyra-Explore-DiffDrive-Rgb": "camera_env_cfg:RgbExploreEnvCfg",
    "Lyra-Deliver-DiffDrive-Rgb": "camera_env_cfg:RgbDeliverEnvCfg",
}
"""Task name: its configuration, relative to this package."""

for _name, _cfg in TASKS.items():
    _eyes = "Camera" if _name.endswith(("-Depth", "-Rgb")) else ""
    _runner = f"{_eyes}{'Exploration' if 'Explore' in _name else 'Navigation'}PPORunnerCfg"
    gym.register(
        id=_name,
        entry_point=f"{__name__}.env:NavigationEnv",
        disable_env_checker=True,
        kwargs={
            "env_cfg_entry_point": f"{__name__}.{_cfg}",
            "rsl_rl_cfg_entry_point": f"{__name__}.agents.rsl_rl_ppo_cfg:{_runner}",
            "default_agent": "rsl_rl",
        },
    )
