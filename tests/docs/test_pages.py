"""The links of all pages lead somewhere, and the picture shows itself alone."""

import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.docs.pages import DOCS, LINK, PAGES, ROOT, anchors, prose


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_to_a_file_of_the_project_and_a_heading_in_it(path: Path) -> None:
    for link in LINK.findall(prose(path)):
        if "://" in link:
            continue
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        assert target.is_relative_to(ROOT), link
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_the_picture_is_small_complete_and_says_what_it_shows() -> None:
    text = (DOCS / "overview.svg").read_text()
    assert len(text) < 20_000
    picture = ET.fromstring(text)  # noqa: S314  (our own file)
    assert [part.tag.rpartition("}")[2] for part in picture[:2]] == ["title", "desc"]
    assert all(part.text for part in picture[:2])
    assert not re.search(r"href|@import|url\(", text)
