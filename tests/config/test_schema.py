"""What the schema's own objects work out; what they refuse is held by ``bad/``."""

from __future__ import annotations

import dataclasses
import typing

import pytest

from l4proxy.address import Address, AddressRange
from l4proxy.config import schema
from l4proxy.config.docs import field_docs
from l4proxy.config.schema import Certificate, FilterChain, Listener, ServerTls
from l4proxy.config.types import FilePath, Secret, Use

ECHO = (Use("echo"),)
CERT, KEY = FilePath("a.pem"), FilePath("a.key")
TABLES = [getattr(schema, name) for name in schema.__all__]


def test_a_listener_is_called_after_its_address() -> None:
    assert Listener(Address("127.0.0.1", 80), filters=ECHO).name == "127.0.0.1:80"
    assert Listener((Address(path="/x"), Address("", 80)), filters=ECHO).name == "unix:/x"
    assert Listener(Address("", 80), "front", ECHO).name == "front"


def test_addresses_are_always_several() -> None:
    assert Listener(Address("", 80), filters=ECHO).addresses == (Address("", 80),)
    assert Listener((Address("", 80), Address("", 81)), filters=ECHO).addresses == (Address("", 80), Address("", 81))
    ports = AddressRange("", 90, 92)
    listener = Listener((Address("", 80), ports), filters=ECHO)
    assert listener.addresses == (Address("", 80), Address("", 90), Address("", 91), Address("", 92))
    assert Listener(ports, filters=ECHO).name == ":90-92"


def test_a_listener_is_exposed_unless_all_its_addresses_are_local() -> None:
    local, other = Address("127.0.0.1", 80), Address("192.0.2.1", 80)
    assert not Listener((local, Address(path="/x")), filters=ECHO).exposed
    assert Listener((local, other), filters=ECHO).exposed
    assert Listener(local, filters=ECHO, transparent=True).exposed


def test_filters_are_one_chain() -> None:
    tls = ServerTls(CERT, KEY)
    assert Listener(Address("", 80), filters=ECHO, tls=tls).chains == (FilterChain(ECHO, tls=tls),)
    chains = (FilterChain(ECHO, "a"), FilterChain(ECHO, "b"))
    assert Listener(Address("", 80), filter_chains=chains).chains == chains


def test_the_short_certificate_comes_first() -> None:
    other = Certificate(FilePath("b.pem"), FilePath("b.key"))
    assert ServerTls(certificates=(other,)).all_certificates == (other,)
    short = ServerTls(CERT, KEY, Secret("x"), certificates=(other,))
    assert short.all_certificates == (Certificate(CERT, KEY, Secret("x")), other)


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.__name__)
def test_every_option_is_documented(table: type) -> None:
    fields = {field.name for field in dataclasses.fields(table)}
    assert field_docs(table).keys() >= fields - {"enabled"}
    assert all(typing.get_type_hints(table)[name] for name in fields)
