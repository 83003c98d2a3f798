"""Many worlds of one list: photos × seeds × paths × painters × variations, resumable, each exactly once."""

from .plan import BatchItem as BatchItem
from .plan import BatchPlan as BatchPlan
from .plan import load_plan as load_plan
from .run import BatchReport as BatchReport
from .run import run_batch as run_batch

__all__ = ["BatchItem", "BatchPlan", "BatchReport", "load_plan", "run_batch"]
