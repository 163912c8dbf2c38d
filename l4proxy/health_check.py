"""The contract of health checks: does an endpoint serve?

One object per cluster, made when a configuration is loaded and anew at each reload. From a cluster's first moment every
endpoint is checked, each on its own, every ``interval``, over a connection of its own that is closed behind it. The
check is a coroutine that talks to the endpoint and returns when all is well.

An endpoint that nobody has checked yet gets connections. Its first check alone decides; afterwards it takes
``unhealthy_threshold`` failures in a row to lose them, and ``healthy_threshold`` successes to have them again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Generic, TypeVar

from l4proxy.config.types import Duration, Range
from l4proxy.kind import options_of

if TYPE_CHECKING:
    import asyncio

    from l4proxy.config.schema import Cluster
    from l4proxy.endpoint import Endpoint

__all__ = ["HealthCheck", "HealthCheckOptions", "Unhealthy"]


class Unhealthy(Exception):
    """What a check raises when the endpoint answers, but not as it should. The text is for people, and short."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthCheckOptions:
    """Options of every health check; those of one derive from them."""

    interval: Annotated[Duration, Range(0.01)] = Duration(5.0)
    """From one check of an endpoint to the next, give or take a tenth."""
    timeout: Annotated[Duration, Range(0.001)] = Duration(2.0)
    """A check that is not done by then has failed."""
    unhealthy_threshold: Annotated[int, Range(1)] = 3
    """Failures in a row until an endpoint gets no new connections."""
    healthy_threshold: Annotated[int, Range(1)] = 2
    """Successes in a row until it gets them again."""


C = TypeVar("C", bound=HealthCheckOptions)


class HealthCheck(ABC, Generic[C]):
    """One way to check endpoints, registered by ``register_health_checks``; ``C`` is a frozen dataclass, its options,
    derived from ``HealthCheckOptions``.

    ``health_check = "NAME"`` in a cluster, or ``health_check = { use = "NAME", interval = "2s", ... }``.
    """

    name: ClassVar[str]
    alpn: tuple[str, ...] = ()
    """What is offered where the cluster has TLS: the protocols that this check speaks. Of the class, or set when it is
    made."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        options = options_of(cls)
        if isinstance(options, type) and not issubclass(options, HealthCheckOptions):
            raise TypeError(f"{cls.__name__}: its options, {options.__name__}, do not derive from HealthCheckOptions")

    def __init__(self, config: C, cluster: Cluster) -> None:
        """``cluster`` is the whole entry of the configuration. ValueError refuses it."""
        self.config = config
        self.cluster = cluster

    @abstractmethod
    async def check(self, endpoint: Endpoint, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Return when the endpoint serves. It is connected, by TLS where the cluster has it; whoever called closes.

        Called for each check of each endpoint. `Unhealthy`, OSError, ValueError, EOFError and running out of
        ``timeout`` mean that it does not; anything else is logged as an error of the check's own.
        """
