"""What the README says, run."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

import llmframe
from llmframe.cli.parser import parser
from llmframe.testing import LocalServer, reviews

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def test_its_python_runs_from_top_to_bottom(tmp_path, monkeypatch):
    """Every example, in one namespace, on the sample reviews; the first block's promise holds."""
    monkeypatch.chdir(tmp_path)
    reviews().to_csv("reviews.csv", index=False)
    namespace = {}
    with LocalServer() as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", "any")
        monkeypatch.setenv("LLMFRAME_MODEL", "gpt-6-luna")
        for number, block in enumerate(blocks("python")):
            exec(compile(block, f"README block {number}", "exec"), namespace)
            if number == 0:
                assert set(server.ledger.billed_by_request.values()) == {1}
    frame = llmframe.read_csv("enriched.csv")
    assert frame["sentiment"].isin(["positive", "negative"]).sum() > 200


def test_its_commands_are_commands():
    """What it shows of the command line is accepted by the command line."""
    commands = [
        line.split("#")[0]
        for block in blocks("sh")
        for line in block.splitlines()
        if line.startswith("llmframe")
    ]
    assert len(commands) >= 4
    for command in commands:
        words = [word.strip('"') for word in re.findall(r'"[^"]*"|\S+', command)]
        assert parser().parse_args(words[1:]).command


def test_it_has_the_two_commands_that_set_everything_up():
    """One line for the demonstration and one for the tests, each from nothing but Python."""
    lines = [
        line for block in blocks("sh") for line in block.splitlines() if line.startswith("python3 -m venv")
    ]
    assert [line.split("&&")[-1].split()[-1] for line in lines] == ["demo", "-q"]


@pytest.mark.parametrize("path", re.findall(r"`((?:notebooks|tests)/[\w./]+)", README))
def test_every_place_that_it_names_exists(path):
    """No dead pointers."""
    assert (ROOT / path).exists()


def test_the_changelog_speaks_of_this_version():
    """Whoever installs a version finds it there."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert version == llmframe.__version__
