"""The certificates that the proxy presents, as they were loaded."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from l4proxy.describe.times import utc_seconds

if TYPE_CHECKING:
    from l4proxy.server import Server
    from l4proxy.tls.certificate import Certificate

__all__ = ["certs"]

DAY = 86400


def certs(server: Server) -> list[dict[str, Any]]:
    """Those of the listeners, then those of the clusters."""
    return [_certificate(used_by, certificate) for used_by, certificate in server.certificates()]


def _certificate(used_by: str, one: Certificate) -> dict[str, Any]:
    return {
        "used_by": used_by,
        "path": one.path,
        "subject": one.subject,
        "issuer": one.issuer,
        "names": list(one.names),
        "serial": one.serial,
        "valid_from": utc_seconds(one.not_before),
        "valid_until": utc_seconds(one.not_after),
        "days_left": int((one.not_after - time.time()) // DAY),
    }
