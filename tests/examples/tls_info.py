"""What is known of a client's TLS: its certificate decides whether it may come in."""

from dataclasses import dataclass

from l4proxy import Filter, TlsInfo
from l4proxy.testing import harness


@dataclass(frozen=True, slots=True)
class MembersConfig:
    names: tuple[str, ...]
    """Alternative names of the certificates that may come in."""


class Members(Filter[MembersConfig]):
    """Let only members in."""

    name = "members"

    def on_connect(self) -> None:
        tls: TlsInfo | None = self.conn.tls
        if tls is None or not set(tls.peer_sans) & set(self.config.names):
            self.conn.close("no_member")


def main() -> None:
    ada = TlsInfo(server_name="club.example", version="TLSv1.3", peer_sans=("ada.example",))
    assert harness(Members, names=["ada.example"], tls=ada).closed is None
    closed = harness(Members, names=["ada.example"]).closed
    assert closed is not None
    assert closed.detail == "no_member"


if __name__ == "__main__":
    main()
