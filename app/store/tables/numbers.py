"""Numbers that the database gives to rows as it writes them."""

from typing import Any

from sqlalchemy import BigInteger
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement


class NextChange(FunctionElement[int]):
    """The number of a change of a client."""

    type = BigInteger()
    inherit_cache = True


@compiles(NextChange, "sqlite")
def _next_number(_element: NextChange, _compiler: SQLCompiler, **_options: Any) -> str:
    return "(SELECT coalesce(max(change), 0) + 1 FROM clients)"


@compiles(NextChange, "postgresql")
def _this_transaction(_element: NextChange, _compiler: SQLCompiler, **_options: Any) -> str:
    return "txid_current()"
