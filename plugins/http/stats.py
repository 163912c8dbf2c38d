"""What is counted of HTTP."""

from __future__ import annotations

from l4proxy.stats import SECONDS, Stats, counter, gauge, histogram, labelled_counter

__all__ = ["CLASSES", "Http2Stats", "HttpClusterStats", "HttpRouteStats", "HttpStats"]

CLASSES = ("", "1xx", "2xx", "3xx", "4xx", "5xx", "5xx", "5xx", "5xx", "5xx")
"""Of statuses, by their first digit. What is beyond 599 is no status and yet in use (999): it passes as it came, and
counts as an error of the server (RFC 9110 section 15)."""


class HttpStats(Stats, subsystem="http", labels=("http",)):
    """Requests of one use of the ``http`` filter."""

    requests_total = counter("Requests.")
    requests_active = gauge("Requests under way.")
    responses_total = labelled_counter(
        "Responses, by class of status; none: the client was gone before.", label="class"
    )
    connections_total = labelled_counter("Connections that spoke HTTP, by its version.", label="version")
    protocol_errors_total = labelled_counter("Requests that were no HTTP, by the rule they broke.", label="rule")
    timeouts_total = labelled_counter("Time limits that were reached, by name.", label="limit")
    resets_total = labelled_counter("Requests that ended before their responses did, by why.", label="reason")
    upgrades_total = labelled_counter("Connections switched to another protocol.", label="protocol")


class Http2Stats(Stats, subsystem="http2", labels=("peers",)):
    """HTTP/2 of the clients of one ``http`` filter, or of the endpoints of one cluster."""

    floods_total = labelled_counter("Connections ended because of too much of something, by what it was.", label="kind")
    glitches_total = counter("Oddities of peers that are connected no more.")
    stream_errors_total = labelled_counter("Requests or responses that were malformed, by the rule.", label="rule")
    stream_ids_exhausted_total = counter("Connections that had no numbers left for further requests.")
    goaways_total = labelled_counter("GOAWAY frames received, by their code.", label="code")


class HttpRouteStats(Stats, subsystem="http_route", labels=("http", "route")):
    """Requests of one route."""

    responses_total = labelled_counter("Responses, by class of status.", label="class")
    request_seconds = histogram("From the first byte of a request to the last of its response.", buckets=SECONDS)


class HttpClusterStats(Stats, subsystem="http_cluster", labels=("cluster",)):
    """Requests to one cluster."""

    requests_active = gauge("Requests under way.")
    requests_pending = gauge("Requests that wait for a connection.")
    responses_total = labelled_counter("Responses of endpoints, by class of status.", label="class")
    response_seconds = histogram("From sending a request to the last byte of its response.", buckets=SECONDS)
    failures_total = labelled_counter("Tries without a response, by why.", label="reason")
    retries_total = labelled_counter("Further tries, by why.", label="reason")
    retries_forbidden_total = labelled_counter("Further tries that a limit forbade.", label="limit")
    overflow_total = labelled_counter("Requests refused by a limit, by its name.", label="limit")
