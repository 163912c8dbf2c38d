"""The ``http`` filter: requests of any version of HTTP, routed to clusters."""
