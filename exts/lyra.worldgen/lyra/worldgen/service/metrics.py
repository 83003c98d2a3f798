"""What an operator watches, in Prometheus' words; sums over all users, nothing about any of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest  # noqa: TID253
from prometheus_client.core import GaugeMetricFamily  # noqa: TID253

from .database import ENDED, Database
from .supervisor import Supervisor


class Metrics:
    """The counters of one server."""

    def __init__(self, database: Database, supervisor: Supervisor) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "lyra_requests", "Requests by route and status", ["method", "route", "status"], registry=self._registry
        )
        self.request_s = Histogram(
            "lyra_request_seconds", "Time until the head of the answer", ["route"], registry=self._registry
        )
        self.refused = Counter("lyra_uploads_refused", "Uploads that were not taken", ["kind"], registry=self._registry)
        self._registry.register(_State(database, supervisor))  # pyright: ignore[reportArgumentType]

    def seen(self, scope: dict[str, Any], status: int, seconds: float) -> None:
        """Count a request that was answered."""
        route = getattr(scope.get("route"), "path", "other")
        method = scope["method"] if route != "other" else "other"
        self.requests.labels(method, route, str(status)).inc()
        self.request_s.labels(route).observe(seconds)

    def text(self) -> bytes:
        """Everything in the text format."""
        return generate_latest(self._registry)


class _State:
    """Numbers that are looked up when somebody asks."""

    def __init__(self, database: Database, supervisor: Supervisor) -> None:
        self._database, self._supervisor = database, supervisor

    def collect(self) -> Iterator[Any]:
        counts = self._database.counts()
        jobs = GaugeMetricFamily("lyra_jobs", "Jobs by state", labels=["state"])
        for state in ("queued", "running", *ENDED):
            jobs.add_metric([state], counts.get(state, 0))
        yield jobs
        yield GaugeMetricFamily("lyra_busy_workers", "Workers that work", value=self._supervisor.busy_workers)
