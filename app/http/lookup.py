"""Find the route of a call without trying one after the other.

The framework compares a path with the expressions of all routes, in their order. There are about a hundred, and the one
of a heartbeat comes late. Here they are kept by the method, the number of the path's segments and the second segment,
such as `clients`, so that only a few are compared. What is not found here is looked for by the framework, which knows
the answers to wrong methods and paths.
"""

from collections import defaultdict
from collections.abc import Iterable

from starlette.convertors import StringConvertor
from starlette.routing import BaseRoute, Match, Route
from starlette.types import Receive, Scope, Send

_FOUND = "tcsfeel.route"
_Key = tuple[str, int, str]
_SECOND = 2  # where the second segment is, after the empty one in front of the first slash


class RouteIndex(BaseRoute):
    """Stands before all routes, and leads to those that it knows. Their parameters contain no slash."""

    def __init__(self, routes: Iterable[BaseRoute]) -> None:
        self._routes: dict[_Key, list[Route]] = defaultdict(list)
        for route in routes:
            if not isinstance(route, Route):
                raise TypeError(f"{route!r} is no route with a method and a path")
            segments = route.path.split("/")
            known = all(isinstance(one, StringConvertor) for one in route.param_convertors.values())
            if not known or len(segments) <= _SECOND or "{" in segments[1] + segments[_SECOND]:
                raise ValueError(f"the path {route.path} has no second segment by which its route could be found")
            for method in route.methods or ():
                self._routes[method, len(segments), segments[_SECOND]].append(route)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Find the route, which goes into the scope."""
        if scope["type"] != "http" or scope.get("root_path"):
            return Match.NONE, {}
        segments = scope["path"].split("/")
        if len(segments) <= _SECOND:
            return Match.NONE, {}
        for route in self._routes.get((scope["method"], len(segments), segments[_SECOND]), ()):
            match, child = route.matches(scope)
            if match is Match.FULL:
                child[_FOUND] = route
                return match, child
        return Match.NONE, {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the route answer that was found."""
        await scope[_FOUND].handle(scope, receive, send)
