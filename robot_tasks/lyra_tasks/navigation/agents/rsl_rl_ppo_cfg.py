"""PPO of rsl_rl for navigation tasks, with a teacher to copy first where there is one."""

from __future__ import annotations

import torch
from isaaclab.utils import configclass
from isaaclab_rl.rsl_rl import RslRlCNNModelCfg, RslRlMLPModelCfg, RslRlOnPolicyRunnerCfg, RslRlSymmetryCfg

from ...mirroring import with_mirror_images
from .imitation_cfg import ImitatingPpoAlgorithmCfg


@configclass
class NavigationPPORunnerCfg(RslRlOnPolicyRunnerCfg):
    """Small networks; the critic is told the way to the goal, the actor is not."""

    # Isaac Lab's --device moves the simulation only, and the runner's own default is CUDA.
    device = "cuda:0" if torch.cuda.is_available() else "cpu"
    num_steps_per_env = 32
    max_iterations = 500
    save_interval = 50
    experiment_name = "lyra_navigation"
    obs_groups = {"actor": ["policy"], "critic": ["policy", "teacher"]}  # noqa: RUF012 a configclass copies it
    actor = RslRlMLPModelCfg(
        hidden_dims=[128, 128],
        activation="elu",
        obs_normalization=True,
        distribution_cfg=RslRlMLPModelCfg.GaussianDistributionCfg(init_std=0.2),
    )
    critic = RslRlMLPModelCfg(hidden_dims=[128, 128], activation="elu", obs_normalization=True)
    algorithm = ImitatingPpoAlgorithmCfg(
        value_loss_coef=1.0,
        use_clipped_value_loss=True,
        clip_param=0.2,
        entropy_coef=0.0,
        num_learning_epochs=5,
        num_mini_batches=4,
        learning_rate=1.0e-4,
        schedule="adaptive",
        gamma=0.99,
        lam=0.95,
        desired_kl=0.01,
        max_grad_norm=1.0,
        symmetry_cfg=RslRlSymmetryCfg(use_data_augmentation=True, data_augmentation_func=with_mirror_images),
    )


def eyes() -> RslRlCNNModelCfg.CNNCfg:
    """Three convolutions, after which a picture is a twelfth as wide and as high."""
    return RslRlCNNModelCfg.CNNCfg(
        output_channels=[16, 32, 32], kernel_size=[5, 3, 3], stride=[3, 2, 2], padding="zeros", activation="elu"
    )


@configclass
class CameraNavigationPPORunnerCfg(NavigationPPORunnerCfg):
    """Pictures go through the actor's convolutions; the critic has the lidar that the robot lacks."""

    experiment_name = "lyra_navigation_camera"
    obs_groups = {"actor": ["policy", "camera"], "critic": ["policy", "teacher"]}  # noqa: RUF012
    actor = RslRlCNNModelCfg(
        cnn_cfg=eyes(),
        hidden_dims=[128, 128],
        activation="elu",
        obs_normalization=True,
        distribution_cfg=RslRlCNNModelCfg.GaussianDistributionCfg(init_std=0.2),
    )

    def __post_init__(self) -> None:
        # Four times fewer answers at a time than without pictures, which make them dear.
        self.algorithm.imitation.batch = 512


@configclass
class ExplorationPPORunnerCfg(NavigationPPORunnerCfg):
    """Nobody to copy from: wider trials and larger steps."""

    def __post_init__(self) -> None:
        explore_alone(self)


@configclass
class CameraExplorationPPORunnerCfg(CameraNavigationPPORunnerCfg):
    """The same with convolutions."""

    def __post_init__(self) -> None:
        explore_alone(self)


def explore_alone(cfg: NavigationPPORunnerCfg) -> None:
    """Settings without a teacher."""
    cfg.algorithm.imitation.iterations = 0
    cfg.algorithm.learning_rate = 1.0e-3
    cfg.algorithm.entropy_coef = 0.001
    cfg.actor.distribution_cfg.init_std = 0.6
