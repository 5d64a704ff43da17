"""Keep the shape of the REST API and the schema as they are released, for the tests that later versions break neither.

``make released`` runs it, once for each release. It stores what programs depend on, without texts for people, and which
columns the release does not use any more. The rows of a backup are kept, too, if its directory is named.
"""

import json
import shutil
import sys
import tempfile
from pathlib import Path

from app.main import create_app
from app.settings import Settings
from app.store import migrations
from app.store.backups import Backup
from app.store.compatibility import RETIRED
from app.store.tables import metadata
from tests.http.compatibility import shape

TESTS = Path(__file__).parent.parent / "tests"
KEPT = TESTS / "http" / "released.json"
SCHEMA = TESTS / "store" / "released.json"
ROWS = TESTS / "store" / "released"


def main() -> None:
    """Write the files."""
    with tempfile.TemporaryDirectory() as directory:
        document = create_app(Settings(data_dir=Path(directory))).openapi()
    kept = {"info": {"version": document["info"]["version"]}, "paths": document["paths"]}
    kept["components"] = {"schemas": document["components"]["schemas"]}
    KEPT.write_text(json.dumps(shape(kept), indent=1, sort_keys=True) + "\n")
    (schema,) = migrations.heads()
    columns = [column for table in metadata.tables.values() for column in table.c]
    retired = [f"{column.table.name}.{column.name}" for column in columns if column.info.get(RETIRED)]
    SCHEMA.write_text(json.dumps({"schema": schema, "retired": retired}) + "\n")
    for directory in map(Path, sys.argv[1:]):
        Backup(directory).verify()
        shutil.copytree(directory / "tables", ROWS / schema / "tables")
        shutil.copy(directory / "manifest.json", ROWS / schema)


if __name__ == "__main__":
    main()
