"""Upper-case everything the client sends: a whole plugin in nine lines."""

from l4proxy import Filter, NoConfig, Register, hookimpl


class Shout(Filter[NoConfig]):
    """Upper-case everything the client sends."""

    name = "shout"

    def on_client_data(self, data: bytes) -> bytes | None:
        return data.upper()


@hookimpl
def register_filters(register: Register[type[Shout]]) -> None:
    register(Shout)
