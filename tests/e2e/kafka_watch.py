"""A proxy with the kafka filter in front of every broker of a cluster, and what its metrics say."""

from __future__ import annotations

import contextlib
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from e2e.proxies import Proxy, run
from proxy_process import wait_until
from services.kafka import Door
from services.process import HOST, free_port

__all__ = ["Watched", "watch"]


class Watched:
    """The proxy, and its metrics as ``{(name, label values...): value}``, without ``l4proxy_kafka_``."""

    def __init__(self, proxy: Proxy, admin: int, doors: Sequence[Door]) -> None:
        self.proxy = proxy
        self.admin = admin
        self.bootstrap = ",".join(door.address for door in doors)

    def metrics(self) -> dict[tuple[str, ...], float]:
        with urllib.request.urlopen(f"http://{HOST}:{self.admin}/stats/prometheus") as response:
            text = response.read().decode()
        return {
            (sample.name.removeprefix("l4proxy_kafka_"), *sample.labels.values()): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name.startswith("l4proxy_kafka_")
        }

    def of_partitions(self, name: str, topic: str) -> dict[int, int]:
        """A metric by partition, as far as it is not 0."""
        return {
            int(labels[1]): int(value)
            for (metric, *labels), value in self.metrics().items()
            if metric == name and labels[0] == topic and value
        }

    def lag(self, group: str, topic: str) -> dict[int, int]:
        return {
            int(labels[2]): int(value)
            for (metric, *labels), value in self.metrics().items()
            if metric == "consumer_group_lag" and labels[:2] == [group, topic]
        }

    def wait_for(self, *key: str, at_least: float = 1) -> float:
        """Wait until a metric is there and has grown."""
        seen = 0.0

        def grown() -> bool:
            nonlocal seen
            seen = self.metrics().get(key, 0)
            return seen >= at_least

        wait_until(grown, f"{key} of {at_least}")
        return seen


@contextlib.contextmanager
def watch(
    directory: Path,
    doors: Sequence[Door],
    *,
    options: dict[str, Any] | None = None,
    listener: dict[str, Any] | None = None,
    workers: int = 1,
) -> Iterator[Watched]:
    """Clients that know ``bootstrap`` never leave the proxy: each broker is advertised at its port."""
    admin = free_port()
    config = {
        "admin": {"address": f"{HOST}:{admin}"},
        "workers": workers,
        "drain_time": "100ms",  # clients of librdkafka stay connected until they are garbage
        "listeners": [
            {
                "name": f"broker{number}",
                "address": door.address,
                "filters": [{"use": "kafka", **(options or {})}, {"use": "tcp_proxy", "cluster": f"broker{number}"}],
                **(listener or {}),
            }
            for number, door in enumerate(doors)
        ],
        "clusters": [{"name": f"broker{number}", "endpoints": [door.upstream]} for number, door in enumerate(doors)],
    }
    with run(directory, config, doors[0].proxy_port) as proxy:
        yield Watched(proxy, admin, doors)
