"""What a service allows, and where it lives: values only."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Quota:
    """What one user may have and do."""

    worlds: int = 50
    """worlds that a user may keep"""
    storage_mib: int = 20_000
    """room that a user's worlds and uploads may take [MiB]"""
    queued_jobs: int = 20
    """jobs of a user that may wait or run at a time"""
    job_s: float = 7200.0
    """longest run time of a job [s]"""
    streams: int = 32
    """uploads, downloads and event streams that a user may have open at a time"""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What the service accepts from anybody."""

    photo_bytes: int = 64 * 2**20
    """largest photo [bytes]"""
    photo_px: int = 60_000_000
    """most pixels of a photo"""
    trajectory_bytes: int = 16 * 2**20
    """largest trajectory file [bytes]"""
    captions_bytes: int = 2**20
    """largest captions file [bytes]"""
    scene_bytes: int = 512 * 2**20
    """largest file of another program [bytes]"""
    json_bytes: int = 256 * 2**10
    """largest request that is no upload [bytes]"""
    request_s: float = 120.0
    """longest time that the body of a request may take [s]"""
    header_s: float = 10.0
    """longest time that the head of a request may take [s]"""
    queued_jobs: int = 1000
    """jobs of all users that may wait at a time"""
    crashes: int = 3
    """how often in a row a job's worker may die without progress before the job counts as failed"""
    stream_s: float = 3600.0
    """how long an event stream stays open; clients connect again [s]"""
    connections: int = 500
    """connections at a time"""


@dataclass(frozen=True, kw_only=True)
class ServiceConfig:
    """One service."""

    data: Path
    """Folder with the database, uploads and worlds; nobody else may write to it."""
    limits: Limits = field(default_factory=Limits)
    quota: Quota = field(default_factory=Quota)
    """Of users without one of their own."""
    config_file: Path | None = None
    """YAML file with the settings that worlds are made with where users say nothing: weights, devices, sizes."""
    devices: tuple[str, ...] = ("",)
    """One worker at a time for each; what `CUDA_VISIBLE_DEVICES` says there, empty for a CPU."""
    launcher: tuple[str, ...] = ()
    """How workers are started; this installation when empty."""
    grace_s: float = 5.0
    """How long a worker may take to stop before it is killed [s]."""

    @property
    def uploads(self) -> Path:
        return self.data / "uploads"

    @property
    def worlds(self) -> Path:
        return self.data / "worlds"
