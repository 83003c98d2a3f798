"""How a teacher is copied before PPO: `agent.algorithm.imitation.iterations=40` and so on on the command line."""

from __future__ import annotations

from isaaclab.utils import configclass
from isaaclab_rl.rsl_rl import RslRlPpoAlgorithmCfg


@configclass
class ImitationCfg:
    """Of `imitation.ImitatingPPO`."""

    iterations: int = 40
    """Of copying, before those of PPO; 0: no teacher."""
    share: float = 0.5
    """Of these iterations until the teacher drives no robot any more."""
    ask_every: int = 2
    """Steps between two questions to the teacher; robots that it drives do as it said last."""
    batch: int = 2048
    """Answers that a step of the optimiser looks at; there are as many steps an iteration as PPO makes."""
    learning_rate: float = 1.0e-3
    """At first; falls to a tenth."""


@configclass
class ImitatingPpoAlgorithmCfg(RslRlPpoAlgorithmCfg):
    """PPO after imitation."""

    class_name: str = "lyra_tasks.navigation.agents.imitation:ImitatingPPO"
    imitation: ImitationCfg = ImitationCfg()
