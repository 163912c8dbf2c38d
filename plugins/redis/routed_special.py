"""What is done for special commands where it matters which server a command goes to, as far as it is something else
than with one server."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from l4proxy.plugins.redis.client_command import STAYS, client
from l4proxy.plugins.redis.only_node import answer_about_cluster
from l4proxy.plugins.redis.replies import OK, error_reply
from l4proxy.plugins.redis.special import HANDLERS, Handler, to_own
from l4proxy.plugins.redis.treatment import Role, Treatment
from l4proxy.protocols.redis.request import arguments

if TYPE_CHECKING:
    from l4proxy.plugins.redis.routed import RoutedSession
    from l4proxy.plugins.redis.session import Session, Task

__all__ = ["ROUTED_HANDLERS"]


def multi(session: Session, treatment: Treatment, run: Task) -> None:
    cast("RoutedSession", session).promise(run)


def readonly(session: Session, treatment: Treatment, run: Task) -> None:
    """Whether replicas may answer, the read policy says."""
    session.done()
    session.reply(run, OK)


def wait(session: Session, treatment: Treatment, run: Task) -> None:
    if len(session.hub.router.shards()) > 1:
        _refuse(session, run, "WAIT")
    else:
        HANDLERS[Role.WAIT](session, treatment, run)


def routed_client(session: Session, treatment: Treatment, run: Task) -> None:
    """What means the connection it is sent on cannot be meant, where there are several."""
    words = arguments(run[2])
    subcommand = words[1].upper() if len(words) > 1 else b""
    if subcommand not in STAYS or len(session.hub.router.shards()) == 1:
        client(session, treatment, run)
    elif subcommand == b"ID":
        session.done()
        session.reply(run, b":%d\r\n" % session.id)
    else:
        _refuse(session, run, f"CLIENT {subcommand.decode('latin-1')}")


def _refuse(session: Session, run: Task, what: str) -> None:
    session.done()
    session.reply(run, error_reply(f"ERR {what} is not served where keys are on several servers"))


def asking(session: Session, treatment: Treatment, run: Task) -> None:
    """Only who knows the nodes of a cluster says this; nothing follows from it here."""
    session.done()
    session.reply(run, OK)


def about_cluster(session: Session, treatment: Treatment, run: Task) -> None:
    data = answer_about_cluster(session, run)
    if data is None:
        session.pass_on(treatment, run)
    else:
        session.done()
        session.reply(run, data)


def own(session: Session, treatment: Treatment, run: Task) -> None:
    if treatment.name == "ASKING":
        asking(session, treatment, run)
    else:
        to_own(session, treatment, run)


ROUTED_HANDLERS: dict[Role, Handler] = {
    **HANDLERS,
    Role.MULTI: multi,
    Role.READONLY: readonly,
    Role.WAIT: wait,
    Role.CLIENT: routed_client,
    Role.OWN: own,
    Role.CLUSTER: about_cluster,
}
