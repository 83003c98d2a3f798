"""Building a world: the only place that joins the stages."""

from .backends import choose_painter as choose_painter
from .backends import resolve_backends as resolve_backends
from .imports import import_world as import_world
from .journey import branch_world as branch_world
from .journey import extend_world as extend_world
from .journey import undo_world as undo_world
from .rescale import rescale_world as rescale_world
from .run import build_world as build_world
from .run import finish_world as finish_world
from .run import rerun_stage as rerun_stage
from .stage import Stage as Stage
from .stage import StageContext as StageContext
from .stage import Stages as Stages
from .stages import default_stages as default_stages
