"""Where requests lead: to the model that serves a name and a version now."""

from collections.abc import Callable

from pipeline.interfaces import ServingModel


class Route:
    """The way from a name and a requested version to a model.

    `version` is what was asked for: a number, a label, or None for the newest. `current` is the model that new events
    go to; None: nothing serves them, and who follows the route asks for a new one.
    """

    __slots__ = ("current", "name", "version")

    def __init__(self, name: str, version: str | None, current: ServingModel | None) -> None:
        self.name = name
        self.version = version
        self.current = current

    def __repr__(self) -> str:
        return f"<Route {self.name}/{self.version or 'newest'} to {self.current!r}>"


class Routes:
    """All ways to one model, by the version they ask for. Those that lead nowhere are forgotten."""

    __slots__ = ("_name", "_routes")

    def __init__(self, name: str) -> None:
        self._name = name
        self._routes: dict[str | None, Route] = {}

    def __len__(self) -> int:
        return len(self._routes)

    def to(self, version: str | None, model: ServingModel) -> Route:
        """Return the route for a version, which leads to `model` now."""
        route = self._routes.get(version)
        if route is None:
            route = self._routes[version] = Route(self._name, version, model)
        return route

    def update(self, resolve: Callable[[str | None], ServingModel | None]) -> None:
        """Let every route lead to what `resolve` says."""
        for version, route in list(self._routes.items()):
            route.current = resolve(version)
            if route.current is None:
                del self._routes[version]
