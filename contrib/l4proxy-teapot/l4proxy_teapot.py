"""Answer whoever wants coffee: a whole HTTP filter in nine lines."""

from l4proxy import NoConfig, Register, hookimpl
from l4proxy.plugins.http.message import HttpFilter, HttpRequest, HttpResponse


class Teapot(HttpFilter[NoConfig]):
    """Answer whoever wants coffee."""

    name = "teapot"

    def on_request(self, request: HttpRequest) -> HttpRequest | None:
        return request if request.path != "/coffee" else self.reply(request, HttpResponse(418, "short and stout\n"))


@hookimpl
def register_message_filters(register: Register[type[Teapot]]) -> None:
    register(Teapot)
