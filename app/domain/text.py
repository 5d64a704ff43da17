"""Text that came from outside, made fit to be stored, logged and read."""

SHOWN = 300  # characters of a reason


def plain(text: str, limit: int = SHOWN) -> str:
    """The text as one line of at most `limit` characters, with a space for whatever does not print.

    Control characters, line breaks, escapes of terminals, marks that turn the direction of writing, and halves of
    surrogate pairs do not print. What is longer ends in an ellipsis.
    """
    start = text[: 4 * limit]  # what is cut off anyway costs nothing
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in start).split())
    return line if len(line) <= limit and len(start) == len(text) else f"{line[: limit - 1]}…"
