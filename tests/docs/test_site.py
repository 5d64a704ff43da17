"""The documentation site: all pages are in it, and it is built strictly where Sphinx is installed (`make site`)."""

import subprocess
from pathlib import Path

import pytest

from scripts import site
from tcsfeel.cli import cli
from tests.docs.pages import ROOT

PYTHON = ROOT / "build" / "docs" / "bin" / "python"
built = pytest.mark.skipif(not (ROOT / "build/docs/.installed").exists(), reason="`make site` has not installed Sphinx")


def test_every_page_is_in_the_navigation_once() -> None:
    named = [name for entries in site.NAVIGATION.values() for name in entries.split()]
    places = {place.with_suffix("").as_posix() for place in site.pages().values()}
    decisions = {place for place in places if place.startswith("adr/")}
    assert sorted(named) == sorted(places - decisions - {"index"} | {"cli", "decisions"})


def test_links_lead_to_the_places_of_the_site(tmp_path: Path) -> None:
    site.lay_out(tmp_path / "pages")
    index = (tmp_path / "pages" / "index.md").read_text()
    assert "[contributing](contributing.md)" in index
    assert "[decisions](decisions.md)" in index
    decision = (tmp_path / "pages" / "adr" / "0009-no-differential-privacy-yet.md").read_text()
    assert "[agents](../agents.md)" in decision
    agents = (tmp_path / "pages" / "agents.md").read_text()
    assert "](files/examples/numpy_mlp.py)" in agents
    assert (tmp_path / "pages/files/examples/numpy_mlp.py").read_bytes() == (
        ROOT / "examples/numpy_mlp.py"
    ).read_bytes()


def test_a_directory_with_other_files_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine").write_text("precious")
    monkeypatch.setattr("sys.argv", ["site.py", str(tmp_path)])
    with pytest.raises(SystemExit, match="name a new directory"):
        site.main()
    assert (tmp_path / "mine").read_text() == "precious"


def test_a_link_to_a_file_that_is_missing_stops_the_build(tmp_path: Path) -> None:
    page = ROOT / "docs" / "rounds.md"
    broken = tmp_path / "rounds.md"
    broken.write_text("See [nothing](nothing.md).")
    with pytest.raises(SystemExit, match=r"rounds\.md links to nothing\.md, which does not exist"):
        site.laid_out(page, site.pages(), tmp_path, text=broken.read_text())


def test_links_inside_of_code_stay_and_links_to_directories_become_text(tmp_path: Path) -> None:
    text = "A [part](../deploy) and\n```python\nx[0](nothing)\n```\n"
    assert site.laid_out(ROOT / "docs" / "rounds.md", site.pages(), tmp_path, text=text) == (
        "A part and\n```python\nx[0](nothing)\n```\n"
    )


def test_all_commands_are_on_their_page() -> None:
    page = "".join(site.commands(cli))
    for command in ("serve", "agent", "webhooks redeliver", "audit verify", "describe round"):
        assert f"\n## tcsfeel {command}\n" in page
    assert "--label-privacy" in page


@built
def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    subprocess.run([PYTHON, ROOT / "scripts" / "site.py", tmp_path / "site"], check=True)  # noqa: S603  (our own program)
    python = (tmp_path / "site" / "python.html").read_text()
    assert "tcsfeel.client.Client.download_model" in python
    assert 'id="tcsfeel.agent.FitResult"' in python
    for page in (tmp_path / "site").rglob("*.html"):
        assert 'src="http' not in page.read_text(), page
    assert "quorum" in (tmp_path / "site" / "searchindex.js").read_text()


@built
@pytest.mark.parametrize(
    ("text", "fails"),
    [
        ("[a](other.md#there)", False),
        ("[a](#nowhere)", True),
        ("[a](other.md#nowhere)", True),
        ("[a](missing.md)", True),
        ("![a](missing.png)", True),
    ],
)
def test_the_build_fails_on_what_leads_nowhere(text: str, fails: bool, tmp_path: Path) -> None:
    source = tmp_path / "pages"
    source.mkdir()
    (source / "index.md").write_text(f"# Home\n\n{text}\n\n```{{toctree}}\nother\n```\n")
    (source / "other.md").write_text("# Other\n\n## There\n")
    conf = (ROOT / "docs" / "site" / "conf.py").read_text()
    (source / "conf.py").write_text(conf.replace('html_theme = "furo"', "").replace('["static"]', "[]"))
    assert (site.sphinx(source, tmp_path / "site", python=str(PYTHON)) != 0) is fails
