"""``CLIENT``, by which a client says how it wants to be served: its name, and whether it wants replies.

What it says of itself is kept here, and not with the server, whose connections others have as well. Subcommands that
mean the connection itself (`STAYS`) are for one of the client's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from l4proxy.errors import UpstreamError
from l4proxy.plugins.redis.change import is_client_name
from l4proxy.plugins.redis.replies import BAD_NAME, NO_PUSHES, OK
from l4proxy.protocols.redis.request import arguments, encode_command
from l4proxy.protocols.redis.values import encode

if TYPE_CHECKING:
    from l4proxy.plugins.redis.session import Session, Task
    from l4proxy.plugins.redis.treatment import Treatment

__all__ = ["STAYS", "cannot_be_told", "client", "reply_mode"]

NO_CAPABILITY = encode_command(b"CLIENT", b"CAPA", b"none")
"""A server (Valkey) knows no such one, and says OK; one that does not know the command says so."""
STAYS = frozenset((b"ID", b"INFO", b"TRACKING", b"TRACKINGINFO", b"CACHING", b"GETREDIR", b"NO-EVICT", b"NO-TOUCH",
                   b"IMPORT-SOURCE"))  # fmt: skip
"""Subcommands that mean the connection they are sent on, or leave something behind."""


def client(session: Session, treatment: Treatment, run: Task) -> None:
    words = arguments(run[2])
    subcommand = words[1].upper() if len(words) > 1 else b""
    if cannot_be_told(session, words):
        session.done()
        session.reply(run, NO_PUSHES)
    elif subcommand in STAYS:
        session.begin_own(treatment)
    elif mode := reply_mode(words):
        session.done()
        session.mute, session.skip = mode == b"OFF" or (session.mute and mode == b"SKIP"), False
        session.reply(run, OK if mode == b"ON" else b"")
        session.skip = mode == b"SKIP" and not session.mute
    elif subcommand == b"SETNAME" and len(words) == 3:
        session.done()
        if is_client_name(words[2]):
            session.name = words[2]
        session.reply(run, OK if is_client_name(words[2]) else BAD_NAME)
    elif subcommand == b"CAPA" and len(words) > 2:  # that the client follows -REDIRECT, which would lead it past us
        session.pass_on(treatment, (run[0], 1, NO_CAPABILITY, *run[3:]))
    elif subcommand == b"GETNAME" and len(words) == 2:
        session.done()
        session.reply(run, encode(session.name or None, session.identity.protocol))
    else:
        session.pass_on(treatment, run)


def reply_mode(words: list[bytes]) -> bytes:
    """``ON``, ``OFF`` or ``SKIP``, if it is a right ``CLIENT REPLY``."""
    _client, subcommand, mode = [word.upper() for word in words] if len(words) == 3 else (b"", b"", b"")
    return mode if subcommand == b"REPLY" and mode in (b"ON", b"OFF", b"SKIP") else b""


def cannot_be_told(session: Session, words: list[bytes]) -> bool:
    """Whether a client asks to be told when keys change, and the server, which is spoken to in RESP2, would say yes and
    tell it nothing."""
    options = [word.upper() for word in words[1:]]
    if options[:2] != [b"TRACKING", b"ON"] or b"REDIRECT" in options or session.identity.protocol != 3:
        return False
    try:
        return session.hub.pool(session.identity).translates
    except UpstreamError:
        return False
