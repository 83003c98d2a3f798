"""Deliver: fetch a load in one zone, set it down in another. With the load on, the robot is heavier."""

from __future__ import annotations

from isaaclab.managers import EventTermCfg
from isaaclab.utils import configclass

from .. import mdp
from ..rules import DELIVER
from .navigation_env_cfg import EventsCfg, NavigationEnvCfg
from .patrol_env_cfg import SeveralStopsObservationsCfg


@configclass
class DeliverEventsCfg(EventsCfg):
    payload = EventTermCfg(
        func=mdp.CarryPayload, mode="interval", interval_range_s=(0.0, 0.0), params={"payload_kg": 3.0}
    )


@configclass
class LidarDeliverEnvCfg(NavigationEnvCfg):
    """Two zones; a load changes hands only when the robot is slow."""

    observations = SeveralStopsObservationsCfg()
    events = DeliverEventsCfg()

    def __post_init__(self) -> None:
        super().__post_init__()
        self.follow(DELIVER)
