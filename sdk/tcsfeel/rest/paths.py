"""Fill ids and numbers into the paths of the REST API."""

from string import Formatter
from urllib.parse import quote

from tcsfeel.rest.problems import FieldError, Invalid
from tcsfeel.text import plain


def path(template: str, *parts: str | int) -> str:
    """Fill parts into a template such as ``/v1/clients/{client_id}``, each as one quoted segment.

    Raises `Invalid` if a part is empty or cannot be sent. The error names the argument as the template does.
    """
    names = [name for _, name, _, _ in Formatter().parse(template) if name]
    filled = {name: _segment(name, str(part)) for name, part in zip(names, parts, strict=True)}
    return template.format(**filled)


def _segment(name: str, text: str) -> str:
    if not text:
        raise _wrong(name, "should not be empty")
    try:
        return quote(text, safe="") if text.strip(".") else text.replace(".", "%2E")
    except UnicodeEncodeError:
        raise _wrong(name, f"should be Unicode text, not {plain(ascii(text), 100)}") from None


def _wrong(name: str, detail: str) -> Invalid:
    error = FieldError(f"/path/{name}", detail)
    kind, title = "urn:tcsfeel:problem:invalid", "The request is not valid"
    return Invalid(422, f"{error.pointer} {detail}", type=kind, title=title, errors=(error,))
