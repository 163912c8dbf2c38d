"""The admin interface: what a running proxy says about itself over HTTP, and the few things it can be told.

Imported only where the configuration asks for it. ``start_admin(config.admin, target)`` serves a target: one server
(``ServerTarget``), or a supervisor with its workers. The HTTP spoken here is a small, strict part of HTTP/1.1 for
operators, scrapers and probes; it has nothing to do with the protocols that are proxied.
"""

from l4proxy.admin.server import AdminServer, start_admin
from l4proxy.admin.server_target import ServerTarget
from l4proxy.admin_target import AdminTarget, Answer

__all__ = ["AdminServer", "AdminTarget", "Answer", "ServerTarget", "start_admin"]
