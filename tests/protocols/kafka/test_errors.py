"""Error codes have Kafka's names."""

from __future__ import annotations

import kafka.errors

from l4proxy.protocols.kafka.errors import ERRORS, error_name

# What kafka-python calls otherwise than Kafka does today.
OLD_NAMES = {-1, 6, 10, 17, 39}


def test_names_are_those_of_kafka_python() -> None:
    theirs = {error.errno: error.message for error in vars(kafka.errors).values() if getattr(error, "errno", None)}
    common = {code: name for code, name in theirs.items() if code in ERRORS and code not in OLD_NAMES}
    assert len(common) > 90
    assert {code: ERRORS[code] for code in common} == common


def test_unknown_codes_have_a_name_too() -> None:
    assert error_name(0) == "NONE"
    assert error_name(-1) == "UNKNOWN_SERVER_ERROR"
    assert error_name(133) == "SHARE_SESSION_LIMIT_REACHED"
    assert error_name(9999) == "ERROR_9999"
