"""A load balancing policy: made anew for each list of endpoints, asked for each connection."""

from collections.abc import Sequence
from dataclasses import dataclass

from l4proxy import Address, Endpoint, EndpointSpec, LoadBalancer, Register, hookimpl


@dataclass(frozen=True, slots=True)
class FirstFreeConfig:
    connections: int = 10
    """How many an endpoint gets before the next one has its turn."""


class FirstFree(LoadBalancer[FirstFreeConfig]):
    """Fill the endpoints one after the other."""

    name = "first_free"

    def __init__(self, config: FirstFreeConfig, endpoints: Sequence[Endpoint]) -> None:
        super().__init__(config, sorted(endpoints, key=lambda endpoint: endpoint.name))

    def choose(self, hash_key: int | None) -> Endpoint | None:
        free = [one for one in self.endpoints if one.active < self.config.connections]
        return free[0] if free else None


@hookimpl
def register_load_balancers(register: Register[type[FirstFree]]) -> None:
    register(FirstFree)


def main() -> None:
    one, two = (Endpoint(EndpointSpec.of_address(Address("127.0.0.1", port))) for port in (8001, 8002))
    balancer = FirstFree(FirstFreeConfig(connections=1), [two, one])
    assert balancer.choose(None) is one
    one.active = 1
    assert balancer.choose(None) is two
    two.active = 1
    assert balancer.choose(None) is None


if __name__ == "__main__":
    main()
