"""The parts of an OpenAPI document."""

from typing import Any


def operations(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        f"{method.upper()} {path}": operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


def examples(document: dict[str, Any], operation: dict[str, Any]) -> list[Any]:
    """The documented bodies of an operation."""
    content = operation["requestBody"]["content"]["application/json"]
    if "examples" in content:
        return [example["value"] for example in content["examples"].values()]
    schema = content["schema"]
    if "examples" in schema:
        return list(schema["examples"])
    return list(document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]["examples"])
