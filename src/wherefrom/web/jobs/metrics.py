"""Counters and gauges of the service, in the format of Prometheus."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from wherefrom.core.errors import InputError
from wherefrom.web.jobs.history import JobHistory, JobState

SECONDS = (0.5, 1, 2, 5, 10, 20, 60, 300)


class Metrics:
    """Counters of this process, and gauges that are read from the history when asked for."""

    def __init__(self, history: JobHistory) -> None:
        self.registry = CollectorRegistry()
        self._ended = Counter(
            "wherefrom_jobs_ended", "Jobs that ended", ["state"], registry=self.registry
        )
        self.refused = Counter(
            "wherefrom_uploads_refused", "Uploads refused", ["status"], registry=self.registry
        )
        self.deaths = Counter(
            "wherefrom_worker_deaths", "Worker processes that died", registry=self.registry
        )
        self.seconds = Histogram(
            "wherefrom_job_seconds", "Seconds of a job", buckets=SECONDS, registry=self.registry
        )
        self.registry.register(_Queue(history))

    def ended(self, state: JobState) -> None:
        """Count a job that ended."""
        self._ended.labels(state=str(state)).inc()

    def render(self) -> bytes:
        """The text that /metrics gives."""
        return generate_latest(self.registry)


class _Queue(Collector):
    """How many jobs are in each state."""

    def __init__(self, history: JobHistory) -> None:
        self._history = history

    def collect(self) -> Iterable[Metric]:
        jobs = GaugeMetricFamily("wherefrom_jobs", "Jobs in the history", labels=["state"])
        with suppress(InputError):  # without the history only the counters are given
            for state, count in self._history.counts().items():
                jobs.add_metric([state], count)
        yield jobs
