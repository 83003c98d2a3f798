"""What a world's promises are worth in numbers: measurements on photos and worlds, and a report to look at."""

from __future__ import annotations

from .dataset_run import evaluate_dataset as evaluate_dataset
from .run import evaluate_persistence as evaluate_persistence
from .video import evaluate_video as evaluate_video
