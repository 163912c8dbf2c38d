"""Plugins, as a program sees them: what is installed, what it adds itself, and what is wrong with one."""

from typing import Any

from l4proxy import Filter, NoConfig, PluginError, PluginManager, Register, __version__, hookimpl, load_plugins
from l4proxy.registry import Kind


class Hush(Filter[NoConfig]):
    """Drop what the client says."""

    name = "hush"

    def on_client_data(self, data: bytes) -> bytes | None:
        return None


class Plugin:
    """A module with these functions is a plugin, and so is an object with these methods."""

    l4proxy_requires = f">={__version__}"

    @hookimpl
    def register_filters(self, register: Register[Any]) -> None:
        register(Hush)


class Misspelt:
    @hookimpl
    def register_filter(self, register: Register[Any]) -> None:
        register(Hush)


def refusal(plugins: PluginManager, plugin: object) -> str:
    try:
        plugins.register(plugin, "misspelt")
    except PluginError as error:
        return str(error)
    return ""


def main() -> None:
    plugins: PluginManager = load_plugins()  # everything that is installed
    plugins.register(Plugin(), "hush")
    assert plugins.registry.find(Kind.FILTER, "hush") is Hush
    (info,) = (info for info in plugins.plugins() if info.name == "hush")
    assert info.registered == ("filter hush",)
    assert "there is no hook register_filter (did you mean 'register_filters'?)" in refusal(plugins, Misspelt())


if __name__ == "__main__":
    main()
