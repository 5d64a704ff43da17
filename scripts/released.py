"""Keep the shape of the REST API as it is released, for the test that later versions break no program.

``make released`` runs it, once for each release. It stores what programs depend on, without texts for people.
"""

import json
import tempfile
from pathlib import Path

from app.main import create_app
from app.settings import Settings
from tests.http.compatibility import shape

KEPT = Path(__file__).parent.parent / "tests" / "http" / "released.json"


def main() -> None:
    """Write the file."""
    with tempfile.TemporaryDirectory() as directory:
        document = create_app(Settings(data_dir=Path(directory))).openapi()
    kept = {"info": {"version": document["info"]["version"]}, "paths": document["paths"]}
    kept["components"] = {"schemas": document["components"]["schemas"]}
    KEPT.write_text(json.dumps(shape(kept), indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
