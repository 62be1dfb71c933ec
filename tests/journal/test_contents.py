"""What is in a journal's file, who may read it, and where it is."""

import contextlib
import os
import stat
import sys

import openai
import orjson
import pandas as pd
import pytest
from helpers import MODEL, asked
from journal.files import names_beside, sql

import llmframe
from llmframe._journal import journal_path


def test_an_answer_is_kept_whole_with_what_it_cost(llm, tmp_path):
    """Body, usage, lane, tier and recipe can be read from the file later."""
    asked(2).llm.complete("q", service_tier="flex", temperature=0, version="v7")
    with sql(tmp_path / "journal.sqlite") as journal:
        columns = (
            "body, prompt_tokens, completion_tokens, cached_tokens, reasoning_tokens, cache_write_tokens, "
            "lane, tier, model, recipe"
        )
        rows = journal.execute(f"SELECT {columns} FROM answer").fetchall()
        recipes = dict(journal.execute("SELECT id, description FROM recipe"))
    assert len(rows) == 2
    body = orjson.loads(rows[0][0])
    usage = body["usage"]
    assert body["object"] == "chat.completion"
    assert rows[0][1:] == (
        usage["prompt_tokens"],
        usage["completion_tokens"],
        0,
        0,
        0,
        "live",
        "flex",
        MODEL,
        rows[0][9],
    )
    recipe = orjson.loads(recipes[rows[0][9]])
    assert recipe["model"] == MODEL
    assert recipe["params"] == {"service_tier": "flex", "temperature": 0}
    assert recipe["version"] == "v7"


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
def test_the_file_is_for_its_owners_eyes_only(llm, tmp_path):
    """The journal, its WAL and the directory that is made for it are closed to others."""
    place = tmp_path / "new" / "journal.sqlite"
    run = asked(3).llm.complete("q", journal=place, wait=False)
    llm.ledger.wait_for(lambda ledger: ledger.answered)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in place.parent.iterdir()}
    run.result()
    assert set(modes.values()) == {0o600}
    assert stat.S_IMODE(place.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(place.stat().st_mode) == 0o600


def test_neither_prompts_nor_keys_are_in_the_file(llm, tmp_path):
    """No bytes of cells, templates, system texts, keys, secret headers or keys in the address."""
    secrets = {
        "api_key": "sk-secret-in-argument",
        "extra_headers": {
            "Authorization": "Bearer sk-secret-in-header",
            "X-Api-Key": "sk-secret-in-other-header",
        },
    }
    frame = pd.DataFrame({"q": ["zebra crossing"], "w": ["walrus"]})
    with contextlib.suppress(llmframe.StoppedError):
        frame.llm.complete("q", "giraffe {q} {w}", system="hippo {w}", user="ostrich", **secrets)
    frame.llm.complete(
        "q", "giraffe {q} {w}", into="a", system="hippo {w}", user="ostrich", api_key=secrets["api_key"]
    )
    query = {"key": "sk-secret-in-query"}
    client = openai.OpenAI(base_url=llm.base_url, api_key="sk-secret-of-client", default_query=query)
    frame.llm.complete("q", into="c", client=client)
    frame.llm.complete("q", lambda row: [{"role": "user", "content": "panther " + row["q"]}], into="b")
    raw = b"".join(path.read_bytes() for path in tmp_path.glob("journal.sqlite*"))
    assert raw.startswith(b"SQLite format 3")
    for word in (b"sk-secret", b"zebra", b"walrus", b"giraffe", b"hippo", b"panther", b"ostrich"):
        assert word not in raw, word


def test_the_journal_is_where_it_is_said_to_be(llm, tmp_path, monkeypatch):
    """The argument wins over the environment, that over the user's data directory; False keeps nothing."""
    frame = asked(1)
    frame.llm.complete("q", journal=str(tmp_path / "argument.sqlite"), into="a")
    frame.llm.complete("q", into="b")
    assert names_beside(tmp_path / "x") == ["argument.sqlite", "journal.sqlite"]
    frame.llm.complete("q", journal=False, into="c")
    assert llm.ledger.billed == 3
    monkeypatch.delenv("LLMFRAME_JOURNAL")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    frame.llm.complete("q", into="d")
    assert journal_path(True).is_file()
    if sys.platform == "linux":
        assert journal_path(True) == tmp_path / "data" / "llmframe" / "journal.sqlite"
