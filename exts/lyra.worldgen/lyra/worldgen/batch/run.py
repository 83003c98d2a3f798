"""Makes the worlds of a plan: what is there stays, what failed is tried again, what keeps failing is set aside.

The manifest decides what is left to do, and the store whether it is telling the truth. A batch that was stopped at any
moment goes on with the same call; a world is finished once, however often it was begun.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..core.errors import BackendError, InputError, WorldgenError
from ..core.files import naming, write_bytes, write_json
from ..core.manifest import MANIFEST_NAME
from ..core.world_writer import held
from ..session.variation import LIST_NAME
from .ledger import NAME, ItemState, Ledger
from .plan import BatchItem, BatchPlan
from .pool import Ended, Pool, Progressed
from .store import Store

POLL_S = 0.1
FREE_BYTES = 500 * 2**20
"""With less room on the disk no world is begun: it would fail for no fault of its own."""
PLAN_NAME, LOCK_NAME, WORLDS = "batch.json", ".batch.lock", "worlds"
SHOWN = "shown"
"""Folder with what the gallery shows of worlds that were made on other machines."""


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """How far a batch is; what a face shows. A job makes one world, or all variants of one."""

    total: int
    """Jobs."""
    finished: int
    """Jobs."""
    quarantined: int
    """Jobs."""
    retries: int
    worlds: int
    """Worlds that the plan asks for."""
    worlds_finished: int
    certified: int
    """Worlds, without variants."""
    variants: int
    """Variants that the plan asks for, over all worlds."""
    variants_finished: int
    variants_certified: int
    running: Mapping[str, Progressed]
    """Where each job that is being made stands."""
    storing: tuple[str, ...]
    """Jobs that are made and on their way to the store."""
    report: Callable[[], BatchReport]
    """What `run_batch` would return if it ended now."""
    just_ended: tuple[str, ...] = ()
    """Lines about jobs that ended since the last look."""

    @property
    def fraction(self) -> float:
        """Of the whole batch, 0..1."""
        done = self.finished + self.quarantined + len(self.storing) + sum(p.fraction for p in self.running.values())
        return done / self.total if self.total else 1.0


@dataclass(frozen=True, kw_only=True)
class BatchReport:
    """How a batch ended."""

    folder: Path
    finished: Mapping[str, Mapping[str, Any]]
    """World values by name, see `session.summary.world_values`, with axes, photo licence and place."""
    quarantined: Mapping[str, str]
    """The last cause by name."""
    left: tuple[str, ...]
    """Worlds that were not tried to the end, and variants."""
    variants: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """What was made of the worlds that were to get variants, by the name of the variants' folder; see
    `session.variation.variants_values`, with the same additions."""

    @property
    def certified(self) -> int:
        return sum(values.get("passed") is True for values in self.finished.values())

    @property
    def made(self) -> dict[str, Mapping[str, Any]]:
        """Worlds and folders of variants by name."""
        return {**self.finished, **self.variants}

    @property
    def variants_made(self) -> int:
        """Variants of all worlds together."""
        return sum(int(values["variants"]) for values in self.variants.values())

    @property
    def variants_certified(self) -> int:
        return sum(int(values["certified"]) for values in self.variants.values())

    @property
    def complete(self) -> bool:
        """Whether nothing is missing and all that was measured passed."""
        measured = [values.get("passed") for values in self.made.values()]
        return not self.left and not self.quarantined and False not in measured


@dataclass
class _Work:
    """What `run_batch` keeps track of."""

    plan: BatchPlan
    states: dict[str, ItemState]
    waiting: deque[BatchItem] = field(default_factory=deque)
    held_back: dict[str, BatchItem] = field(default_factory=dict)
    """Variants by the name of the world that has to be there first."""
    running: dict[str, Progressed] = field(default_factory=dict)
    storing: dict[str, tuple[Future[None], Ended]] = field(default_factory=dict)
    failures: dict[str, int] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)


def run_batch(
    plan: BatchPlan,
    folder: Path,
    *,
    pool: Pool,
    store: Store,
    watch: Callable[[Snapshot], None] = lambda snapshot: None,
    retry_quarantined: bool = False,
    stop: threading.Event | None = None,
) -> BatchReport:
    """Make every world that is not there yet.

    Args:
        plan: the worlds.
        folder: takes the manifest, and the worlds while they are made.
        pool: makes them; closed at the end, whatever the end.
        store: keeps them.
        watch: told several times a second how far it is.
        retry_quarantined: give worlds that were set aside their attempts again.
        stop: ends the batch early when set; the same call goes on later.

    Raises:
        InputError: another batch writes to the folder, its manifest is of another plan's file, or the disk is full.
        BackendError: no worker can be started.
    """
    folder = Path(folder)
    with naming("use the batch folder", folder):
        folder.mkdir(parents=True, exist_ok=True)
    busy = f"another process{{owner}} works on this batch; wait for it or stop it: {folder}"
    try:
        with held(folder / LOCK_NAME, busy):
            return _run(plan, folder, pool, store, watch, retry_quarantined, stop or threading.Event())
    finally:
        pool.close()


def _run(
    plan: BatchPlan,
    folder: Path,
    pool: Pool,
    store: Store,
    watch: Callable[[Snapshot], None],
    retry_quarantined: bool,
    stop: threading.Event,
) -> BatchReport:
    ledger = Ledger(folder / NAME)
    write_json(folder / PLAN_NAME, {"title": plan.title, "asked": plan.asked, "worlds": [i.name for i in plan.items]})
    states = dict(ledger.replay().items)
    everything = (*plan.items, *plan.variants)
    work = _Work(plan=plan, states={i.name: states.get(i.name, ItemState()) for i in everything})
    ledger.append("batch", plan=plan.digest, worlds=len(plan.items))
    for item in everything:
        state = work.states[item.name]
        if state.quarantined and retry_quarantined:
            ledger.append("released", item.name)
            state = work.states[item.name] = ItemState(started=state.started)
        unmade = item.base and work.states[item.base].finished is None
        if state.finished is not None and (unmade or not _as_asked(item, state) or not store.holds(item.name)):
            ledger.append("lost", item.name)
            state = work.states[item.name] = ItemState(started=state.started)
        work.failures[item.name] = len(state.causes)
        if state.finished is not None or state.quarantined:
            continue
        if unmade:
            work.held_back[item.base] = item
        else:
            work.waiting.append(item)
    items = {item.name: item for item in everything}
    with ThreadPoolExecutor(2, thread_name_prefix="store") as uploads:
        while work.waiting or work.running or work.storing:
            if stop.is_set():
                break
            while work.waiting and len(work.running) < pool.slots:
                _check_disk(folder)
                item = work.waiting.popleft()
                pool.start(item)
                ledger.append("started", item.name)
                work.running[item.name] = Progressed(name=item.name, stage=pool.begins, fraction=0.0)
            for event in pool.poll():
                if isinstance(event, Progressed):
                    work.running[event.name] = event
                    continue
                work.running.pop(event.name, None)
                if event.values is None:
                    _failed(work, ledger, items[event.name], event)
                else:
                    keep = uploads.submit(_keep, store, folder, event)
                    work.storing[event.name] = (keep, event)
            for name, (kept, event) in list(work.storing.items()):
                if kept.done():
                    del work.storing[name]
                    _stored(work, ledger, store, items[name], event, kept.exception())
            watch(_snapshot(work, folder))
            work.lines.clear()
            time.sleep(POLL_S)
    return report_of(plan, folder, work.states)


def _as_asked(item: BatchItem, state: ItemState) -> bool:
    """Whether what is finished is what the plan asks for; the name of variants does not say which they are."""
    return item.order is None or (state.finished or {}).get("asked") == item.order.digest


def verdict_of(values: Mapping[str, Any]) -> str:
    """A world's verdict in words."""
    passed = values.get("passed")
    return "not measured" if passed is None else "certified" if passed else "not certified"


def told_of(values: Mapping[str, Any]) -> str:
    """What became of a world, with the checks that did not hold, or of its variants; for people."""
    if "variants" in values:
        return f"{values['variants']} variants, {values['certified']} certified"
    verdict = verdict_of(values)
    return verdict if verdict == "certified" else str(values.get("summary") or verdict)


def variants_of(values: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What is known of each variant, by the name of its folder; nothing for a world."""
    passed = {"passed": True, "failed": False}
    return {name: {"passed": passed.get(verdict)} for name, verdict in values.get("verdicts", {}).items()}


def local_place(folder: Path, name: str, place: str) -> Path | None:
    """Where a world or a folder of variants lies on this machine: where it was made, else in a store that is a folder;
    None if neither is so.

    Args:
        folder: of the batch.
        name: of the world or the variants.
        place: path or URL that the store stated.
    """
    stored = Path(place.removeprefix("file://")) if place.startswith("file://") or "://" not in place else None
    found = (p for p in (folder / WORLDS / name, stored) if p is not None)
    return next((p for p in found if (p / MANIFEST_NAME).is_file() or (p / LIST_NAME).is_file()), None)


def shown_files(values: Mapping[str, Any]) -> tuple[str, str]:
    """Picture and page of a world or of a folder of variants."""
    return ("variants.png", LIST_NAME) if "variants" in values else ("preview.png", "certificate.html")


def report_of(plan: BatchPlan, folder: Path, states: Mapping[str, ItemState]) -> BatchReport:
    """What a manifest says about the worlds of a plan."""
    everything = (*plan.items, *plan.variants)
    finished = {i.name: states[i.name].finished or {} for i in everything if _done(states, i.name)}
    aside = {i.name: states[i.name].causes[-1] for i in everything if i.name in states and states[i.name].quarantined}
    left = tuple(i.name for i in everything if i.name not in finished and i.name not in aside)
    variants = {item.name for item in plan.variants}
    return BatchReport(
        folder=folder,
        finished={name: values for name, values in finished.items() if name not in variants},
        quarantined=aside,
        left=left,
        variants={name: values for name, values in finished.items() if name in variants},
    )


def _done(states: Mapping[str, ItemState], name: str) -> bool:
    return name in states and states[name].finished is not None


def _keep(store: Store, folder: Path, event: Ended) -> None:
    """Into the store; of what another machine has put there, what the gallery shows comes here."""
    if not event.stored:
        store.put(folder / WORLDS / event.name, event.name)
        return
    if local_place(folder, event.name, store.where(event.name)) is not None:
        return
    for file in shown_files(event.values or {}):
        # A gallery without a picture is better than a world that is made again.
        with contextlib.suppress(Exception):
            data = store.read(event.name, file)
            (folder / SHOWN / event.name).mkdir(parents=True, exist_ok=True)
            write_bytes(folder / SHOWN / event.name / file, data)


def _stored(
    work: _Work, ledger: Ledger, store: Store, item: BatchItem, event: Ended, error: BaseException | None
) -> None:
    assert event.values is not None, "only worlds that were made are stored"
    if error is not None and not isinstance(error, WorldgenError):
        raise error
    if error is not None:
        _failed(work, ledger, item, Ended(name=item.name, cause=str(error)))
        return
    values = {
        **event.values,
        "place": store.where(item.name),
        "axes": dict(item.axes),
        "photo_sha256": item.photo_sha256,
        "photo_licence": item.photo_licence,
        **({} if item.order is None else {"base": item.base, "asked": item.order.digest}),
    }
    json.dumps(values, allow_nan=False)
    ledger.append("finished", item.name, values=values)
    state = work.states[item.name]
    work.states[item.name] = ItemState(started=state.started + 1, causes=state.causes, finished=values)
    work.lines.append(f"{item.name}: {told_of(values)}")
    if (next_one := work.held_back.pop(item.name, None)) is not None:
        work.waiting.append(next_one)


def _failed(work: _Work, ledger: Ledger, item: BatchItem, event: Ended) -> None:
    cause = " ".join(event.cause.split())[:2000]
    ledger.append("failed", item.name, cause=cause)
    work.failures[item.name] += 1
    state = work.states[item.name]
    state = work.states[item.name] = ItemState(started=state.started + 1, causes=(*state.causes, cause))
    if event.final or work.failures[item.name] >= work.plan.attempts:
        ledger.append("quarantined", item.name)
        work.states[item.name] = ItemState(started=state.started, causes=state.causes, quarantined=True)
        work.lines.append(f"{item.name}: set aside: {cause}")
    else:
        work.waiting.append(item)
        work.lines.append(f"{item.name}: failed, will be tried again: {cause}")


def _snapshot(work: _Work, folder: Path) -> Snapshot:
    states = work.states.values()
    worlds = [values for i in work.plan.items if (values := work.states[i.name].finished) is not None]
    variants = [values for i in work.plan.variants if (values := work.states[i.name].finished) is not None]
    order = work.plan.order
    return Snapshot(
        total=len(work.states),
        finished=len(worlds) + len(variants),
        quarantined=sum(s.quarantined for s in states),
        retries=sum(len(s.causes) for s in states),
        worlds=len(work.plan.items),
        worlds_finished=len(worlds),
        certified=sum(values.get("passed") is True for values in worlds),
        variants=len(work.plan.items) * order.count if order is not None else 0,
        variants_finished=sum(int(values["variants"]) for values in variants),
        variants_certified=sum(int(values["certified"]) for values in variants),
        running=dict(work.running),
        storing=tuple(work.storing),
        report=lambda: report_of(work.plan, folder, work.states),
        just_ended=tuple(work.lines),
    )


def _check_disk(folder: Path) -> None:
    try:
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise BackendError(f"the disk of the batch folder does not answer ({error}): {folder}") from error
    if free < FREE_BYTES:
        raise InputError(
            f"only {free >> 20} MiB are free on the disk, and a world needs {FREE_BYTES >> 20}; free some space and "
            f"run the same command again: {folder}"
        )
