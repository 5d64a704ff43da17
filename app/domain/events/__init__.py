"""The catalog of typed events.

An event is a frozen value of one of the classes of the modules beside this one; `CATALOG` has all of them by the name
of their type. The store accepts nothing else, so readers can rely on the fields that the catalog lists. The docstring
of a class says when the event happens, and the annotation of a field says what the field means. The page
`docs/events.md` shows both.
"""

from app.domain.events.catalog import CATALOG
from app.domain.events.event import Event, Subject

__all__ = ["CATALOG", "Event", "Subject"]
