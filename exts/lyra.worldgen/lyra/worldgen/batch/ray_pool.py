"""Worlds made on a Ray cluster: each on whatever node has room, kept in a store that all nodes reach.

A node may die at any moment. Ray says so, the batch tries the world again, and the store takes the same names again.
The worker on the node is a process of the task's own that ends when the task does.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..core.config import WorldConfig
from ..core.errors import BackendError, InputError
from ..core.files import naming
from ..core.optional import require
from ..session.commands import Generate, Vary, command_from_json, command_to_json
from ..session.worker import own_launcher
from .plan import BatchItem, VariantsOrder
from .pool import Ended, LocalPool, Progressed, command_of
from .store import UrlStore

POLL_S = 0.2


class RayPool:
    """Tasks on a cluster that runs already, which says of a task only that it has ended."""

    begins = "given to the cluster"

    def __init__(
        self,
        store: UrlStore,
        *,
        address: str = "auto",
        cpus: float = 1.0,
        gpus: float = 0.0,
        memory_bytes: int = 0,
        slots: int | None = None,
        launcher: Sequence[str] | None = None,
    ) -> None:
        """
        Args:
            store: takes the worlds; every node must reach its URL.
            address: of the cluster, `auto` for the one of this machine, or `ray://HOST:PORT`.
            cpus, gpus, memory_bytes: what one world needs; Ray runs as many as fit.
            slots: worlds asked for at a time; twice what the cluster's cores hold when None.
            launcher: how nodes start `lyra-worldgen`; the node's own installation when None.

        Raises:
            DependencyError: ray is missing.
            BackendError: no cluster answers at the address.
        """
        ray = require("ray", extra="ray")
        try:
            if not ray.is_initialized():
                with warnings.catch_warnings():
                    # Ray's tip about a default of its future versions; no error, and nothing that users could act on.
                    warnings.filterwarnings("ignore", category=FutureWarning, message="Tip: In future versions of Ray")
                    ray.init(address=address, logging_level="ERROR", log_to_driver=False)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise BackendError(
                f"no Ray cluster answers at '{address}' ({error}); start one with `ray start --head`"
            ) from error
        self._ray, self._store = ray, store
        self._launcher = list(launcher) if launcher is not None else None
        needs: dict[str, Any] = {"num_cpus": cpus, "max_retries": 0}
        needs |= {"num_gpus": gpus} if gpus else {}
        needs |= {"memory": memory_bytes} if memory_bytes else {}
        self._make = ray.remote(make_on_node).options(**needs)
        held = float(ray.cluster_resources().get("CPU", 1.0)) / max(cpus, 1e-9)
        # Twice as many as run: a node that frees a place finds the next world waiting.
        self.slots = slots or max(1, int(2 * held))
        self._tasks: dict[Any, str] = {}

    def start(self, item: BatchItem) -> None:
        for key in ("path", "captions"):
            value = str(getattr(item.config.generation, key))
            if value.endswith((".npz", ".json")):
                raise InputError(f"generation.{key} is a file; nodes cannot read it, give the name of a path: {value}")
        photo = b""
        if not item.base:
            with naming("read the photo", item.photo):
                photo = item.photo.read_bytes()
        plain = command_of(replace(item, photo=Path(item.photo.name)), Path())
        command = command_to_json(replace(plain, photo=Path(item.photo.name)) if isinstance(plain, Generate) else plain)
        task = self._make.remote(item.name, photo, command, self._store.url, self._launcher, item.base)
        self._tasks[task] = item.name

    def poll(self) -> list[Progressed | Ended]:
        if not self._tasks:
            return []
        ready, _ = self._ray.wait(list(self._tasks), num_returns=len(self._tasks), timeout=0, fetch_local=False)
        found: list[Progressed | Ended] = []
        for task in ready:
            name = self._tasks.pop(task)
            try:
                found.append(self._ray.get(task))
            # Whatever ended the task, the world is not there: lost nodes and workers, lost results, errors of ours.
            except Exception as error:
                text = str(error).strip().splitlines()
                cause = f"{type(error).__name__}: {text[-1] if text else 'no reason given'}"
                found.append(Ended(name=name, cause=cause))
        return found

    def close(self) -> None:
        for task in self._tasks:
            # What Ray no longer knows cannot be cancelled, and must not hide why the batch ends.
            with contextlib.suppress(Exception):
                self._ray.cancel(task, force=True)
        self._tasks.clear()


def make_on_node(
    name: str,
    photo: bytes,
    command: Mapping[str, Any],
    store_url: str,
    launcher: Sequence[str] | None,
    base: str = "",
) -> Ended:
    """Make one world, or the variants of `base`, in a scratch folder of this node and put it into the store; runs
    inside a Ray task."""
    told, store = command_from_json(command), UrlStore(store_url)
    with tempfile.TemporaryDirectory(prefix="lyra-batch-") as scratch:
        place, root = Path(scratch) / "photo", Path(scratch) / "worlds"
        item = BatchItem(
            name=name, photo=place, photo_sha256="", photo_licence="", config=WorldConfig(), axes={}, base=base
        )
        if isinstance(told, Vary):
            order = VariantsOrder(count=told.count, seed=told.seed, ranges=told.ranges, certify=told.certify)
            item = replace(item, order=order)
        else:
            assert isinstance(told, Generate), "the pool sends nothing else"
            place = Path(scratch) / Path(told.photo).name
            place.write_bytes(photo)
            item = replace(item, photo=place, config=told.config)
        pool = LocalPool(root, slots=1, launcher=launcher or own_launcher(), fetch=store.fetch)
        try:
            pool.start(item)
            ended = _wait(pool)
        finally:
            pool.close()
        if ended.values is None:
            return ended
        store.put(root / name, name)
        return Ended(name=name, values=ended.values, stored=True)


def _wait(pool: LocalPool) -> Ended:
    while True:
        for event in pool.poll():
            if isinstance(event, Ended):
                return event
        time.sleep(POLL_S)
