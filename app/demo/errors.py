"""Define the error of a demo that fails."""


class DemoFailed(Exception):
    """The demo failed. The message is one line that says why."""
