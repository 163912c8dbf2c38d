from l4proxy_teapot import Teapot

from l4proxy.plugins.http.headers import Headers
from l4proxy.plugins.http.message import HttpRequest


def test_only_coffee_is_answered() -> None:
    replies: list[object] = []
    teapot = Teapot()
    teapot.reply = lambda request, response: replies.append(response.status)  # type: ignore[method-assign]
    block = Headers.of({"Host": "a"}).block
    tea, coffee = HttpRequest("GET", "/tea", block), HttpRequest("GET", "/coffee?black", block)
    assert teapot.on_request(tea) is tea
    assert teapot.on_request(coffee) is None
    assert replies == [418]
