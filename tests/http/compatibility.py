"""Compare two OpenAPI documents: what could break a program that was written for the old one.

The rules are those of CONTRIBUTING.md, "What an API may change". Requests and answers differ: a request may get new
fields that are optional, and an answer may get any new field.

- An operation, a parameter, a field, a media type, the status of a success, or a value of an enum is removed.
- A parameter, a body, or a field of a request is required that was not.
- A type is taken away from what a request may have, or added to what an answer may have.
- A bound of a request is tighter, or its pattern is another one.
- A field of an answer that was always there may be absent.
- An operation needs a higher role.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

Node = Mapping[str, Any]

METHODS = ("get", "put", "post", "delete", "patch", "head", "options")
ROLE, OWN_CLIENT = "x-tcsfeel-role", "x-tcsfeel-own-client"
RANKS = ("none", "invitation", "agent", "viewer", "operator", "admin")
OF_PEOPLE = {"description", "title", "summary", "examples", "example", "tags", "operationId", "default"}
UPPER = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
LOWER = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")


def shape(node: Any, *, of_names: bool = False) -> Any:
    """Return a document without what only people read. `of_names`: the keys of this node are names, not keywords."""
    if isinstance(node, list):
        return [shape(item) for item in node]
    if not isinstance(node, dict):
        return node
    names = {"properties", "schemas", "paths", "responses", "content", "headers"}
    return {
        key: shape(value, of_names=not of_names and key in names)
        for key, value in node.items()
        if of_names or key not in OF_PEOPLE
    }


def breaks(old: Node, new: Node) -> list[str]:
    """Say what in the new document could break programs, a line for each."""
    return list(dict.fromkeys(_Comparison(old, new).operations()))


@dataclass(frozen=True, slots=True)
class _Comparison:
    old: Node
    new: Node
    seen: set[tuple[str, str, bool]] = field(default_factory=set)

    def operations(self) -> Iterator[str]:
        for path, item in self.old["paths"].items():
            for method in (name for name in METHODS if name in item):
                name, now = f"{method.upper()} {path}", self.new["paths"].get(path, {}).get(method)
                if now is None:
                    yield f"{name} is removed"
                else:
                    yield from self._operation(name, item[method], now)

    def _operation(self, name: str, old: Node, new: Node) -> Iterator[str]:
        yield from _roles(name, old, new)
        before, after = _parameters(old), _parameters(new)
        for key, known in before.items():
            if key not in after:
                yield f"{name}: the parameter {key} is removed"
            else:
                yield from self._schema(f"{name}: the parameter {key}", known["schema"], after[key]["schema"], True)
        for key, now in after.items():
            if now.get("required") and not before.get(key, {}).get("required"):
                yield f"{name}: the parameter {key} is required now"
        yield from self._body(name, old.get("requestBody", {}), new.get("requestBody", {}))
        for status, known in old["responses"].items():
            if status.startswith("2"):
                if status not in new["responses"]:
                    yield f"{name} does not answer {status} any more"
                else:
                    yield from self._content(f"{name}, answer {status}", known, new["responses"][status], False)

    def _body(self, name: str, old: Node, new: Node) -> Iterator[str]:
        if new.get("required") and not old.get("required"):
            yield f"{name}: a body is required now"
        yield from self._content(f"{name}, body", old, new, True)

    def _content(self, place: str, old: Node, new: Node, asked: bool) -> Iterator[str]:
        for media, known in old.get("content", {}).items():
            now = new.get("content", {}).get(media)
            if now is None:
                yield f"{place}: {media} is removed"
            elif "schema" in known and "schema" in now:
                yield from self._schema(place, known["schema"], now["schema"], asked)

    def _schema(self, place: str, old: Node, new: Node, asked: bool) -> Iterator[str]:
        """Compare what a request may have (`asked`), or what an answer may have."""
        pair = (str(old.get("$ref", "")), str(new.get("$ref", "")), asked)
        if all(pair[:2]):
            place = pair[0].rpartition("/")[2]
            if pair in self.seen:
                return
            self.seen.add(pair)
        before, after = self._kinds(old, self.old), self._kinds(new, self.new)
        wanted, given = (before, after) if asked else (after, before)
        for kind in wanted:
            if kind not in given and not (kind == "integer" and "number" in given):
                yield f"{place} {'may not be' if asked else 'may be'} {kind} {'any more' if asked else 'now'}"
        for kind, known in before.items():
            if kind in after:
                yield from self._one(place, known, after[kind], asked)

    def _one(self, place: str, old: Node, new: Node, asked: bool) -> Iterator[str]:
        """Compare two schemas of one type."""
        yield from _values(place, old, new, asked)
        if asked:
            yield from _bounds(place, old, new)
        fields, now = old.get("properties", {}), new.get("properties", {})
        for name, known in fields.items():
            if name not in now:
                yield f"{place}: the field {name} is removed"
            else:
                yield from self._schema(f"{place}.{name}", known, now[name], asked)
        needed, needed_now = set(old.get("required", ())), set(new.get("required", ()))
        for name in sorted(needed_now - needed if asked else (needed - needed_now) & set(now)):
            yield f"{place}: the field {name} {'is required now' if asked else 'may be absent now'}"
        for inner in ("items", "additionalProperties"):
            if isinstance(old.get(inner), dict) and isinstance(new.get(inner), dict):
                yield from self._schema(f"{place}, {inner}", old[inner], new[inner], asked)

    def _kinds(self, node: Node, document: Node) -> dict[str, Node]:
        """List the schemas that a value may have, by type; several objects by their names."""
        if "$ref" in node:
            name = str(node["$ref"]).rpartition("/")[2]
            return self._kinds(document["components"]["schemas"][name], document)
        found: dict[str, Node] = {}
        for one in node.get("anyOf") or node.get("oneOf") or ():
            for kind, schema in self._kinds(one, document).items():
                named = str(one["$ref"]).rpartition("/")[2] if "$ref" in one and kind in found else kind
                found[named] = schema
        return found or {str(node.get("type", "anything")): node}


def _roles(name: str, old: Node, new: Node) -> Iterator[str]:
    before, after = old.get(ROLE, "none"), new.get(ROLE, "none")
    if RANKS.index(after) > RANKS.index(before):
        yield f"{name} needs the role {after} now, not {before}"
    if old.get(OWN_CLIENT) and not new.get(OWN_CLIENT):
        yield f"{name} may not be called by the client's own agent any more"


def _parameters(operation: Node) -> dict[str, Node]:
    return {f"{one['name']} ({one['in']})": one for one in operation.get("parameters", ())}


def _values(place: str, old: Node, new: Node, asked: bool) -> Iterator[str]:
    """Compare the values of enums."""
    before, after = (node.get("enum") or ([node["const"]] if "const" in node else None) for node in (old, new))
    if before is None:
        if asked and after is not None:
            yield f"{place} may have only some values now: {', '.join(map(str, after))}"
        return
    for value in before:
        if after is not None and value not in after:
            yield f"{place}: the value {value!r} is removed"


def _bounds(place: str, old: Node, new: Node) -> Iterator[str]:
    """Compare what a request may have at most and at least, and its pattern."""
    tighter: tuple[tuple[tuple[str, ...], Callable[[float, float], bool]], ...] = (
        (UPPER, lambda before, after: after < before),
        (LOWER, lambda before, after: after > before),
    )
    for names, is_tighter in tighter:
        for name in names:
            if name in new and (name not in old or is_tighter(old[name], new[name])):
                yield f"{place}: {name} is {new[name]} now, and was {old.get(name, 'not set')}"
    if "pattern" in new and new["pattern"] != old.get("pattern"):
        yield f"{place}: its pattern is {new['pattern']} now, and was {old.get('pattern', 'not set')}"
