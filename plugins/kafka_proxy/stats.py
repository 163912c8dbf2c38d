"""What ``kafka_proxy`` counts. Requests and records are for the ``kafka`` filter to count."""

from __future__ import annotations

from l4proxy.stats import Stats, counter, gauge, labelled_counter

__all__ = ["KafkaProxyStats"]


class KafkaProxyStats(Stats, subsystem="kafka_proxy", labels=("cluster",)):
    """Of each cluster of brokers."""

    brokers = gauge("Brokers, as far as they were seen.", merge="max")
    unplaced_brokers = gauge("Brokers that have no port or name here, and of whom clients are not told.", merge="max")
    rewritten_responses_total = labelled_counter("Responses in which addresses were rewritten, by API.", label="api")
    refused_requests_total = labelled_counter("Requests for APIs that clients may not use.", label="api")
    unanswered_parts_total = labelled_counter(
        "Parts of requests that another cluster has not answered, by that cluster.", label="routed_to"
    )
    misdirected_total = counter("Connections meant for brokers whose addresses nobody had told.")
    authentications_total = labelled_counter("SASL authentications, by outcome.", label="outcome")
    protocol_errors_total = labelled_counter("Connections closed for what clients or brokers sent.", label="reason")
