"""Why a demo ends without its result."""


class DemoFailed(Exception):
    """The message is one line that says why."""
