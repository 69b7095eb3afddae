"""The examples run: Python blocks page by page, and the commands of the README and the quickstart with them."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(python|sh)\n(.*?)^```", flags=re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#]+)(?:#[^)]*)?\)")
WITH_COMMANDS = ("README.md", "quickstart.md")


def blocks(page: Path) -> list[tuple[int, str, str]]:
    """Line, language and text of each block to run."""
    text = page.read_text(encoding="utf-8")
    return [
        (text.count("\n", 0, match.start()) + 2, match[1], match[2])
        for match in BLOCK.finditer(text)
        if match[1] == "python" or page.name in WITH_COMMANDS
    ]


def run_commands(text: str) -> None:
    """Run the lines that call homeostat, in this process."""
    from homeostat.cli.app import run

    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if words and words[0] == "homeostat":
            assert run(words[1:]) == 0, line


def what_a_reader_has() -> dict[str, object]:
    """The files and names that the README speaks of."""
    import numpy as np
    import pandas as pd
    import skops.io
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(3)
    frame = pd.DataFrame(rng.normal(size=(400, 2)), columns=["visits", "spend"])
    truth = pd.Series(np.where(frame["visits"] + rng.normal(size=400) > 0, "yes", "no"), name="label")
    frame.assign(label=truth).to_csv("history.csv", index=False)
    frame.assign(label=truth).to_csv("training.csv", index=False)
    skops.io.dump(LogisticRegression().fit(frame, truth), "churn.skops")
    return {"frame": frame, "truth": truth}


def cases() -> list[object]:
    """The pages with something to run; those with commands take longer."""
    return [
        pytest.param(
            page, id=str(page.relative_to(ROOT)), marks=[pytest.mark.slow] if page.name in WITH_COMMANDS else []
        )
        for page in PAGES
        if blocks(page)
    ]


@pytest.mark.parametrize("page", cases())
def test_the_examples_of_a_page_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": page.stem}
    if page.name == "README.md":
        names |= what_a_reader_has()
    for line, language, text in blocks(page):
        if language == "python":
            # Blank lines before it make a traceback name the line of the page.
            exec(compile("\n" * (line - 1) + text, str(page), "exec"), names)  # noqa: S102
        else:
            run_commands(text)


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_between_files_lead_somewhere(name: str) -> None:
    # mkdocs checks the pages in docs; these are outside of it.
    links = [link for link in LINK.findall((ROOT / name).read_text(encoding="utf-8")) if "://" not in link]
    assert [link for link in links if not (ROOT / link).exists()] == []
