"""What `import llmframe` imports."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import llmframe

_LATE = (
    "openai",
    "tqdm",
    "sqlite3",
    "genai_prices",
    "orjson",
    "aiohttp",
    "httpx",
    "pydantic",
    "nest_asyncio2",
)


_PROBE = """
import sys
import pandas
df = pandas.DataFrame({"a": ["text"]})
before = set(sys.modules)
import llmframe
print(*sorted({name.partition(".")[0] for name in set(sys.modules) - before}))
df.llm, df["a"].llm, llmframe.options.model, llmframe.options
with llmframe.option_context(model="m"):
    pass
print(*sorted({name.partition(".")[0] for name in set(sys.modules) - before}))
"""


def test_importing_llmframe_imports_little_beyond_pandas():
    """Reading and setting options imports no more."""
    probe = subprocess.run([sys.executable, "-c", _PROBE], capture_output=True, text=True, check=True)
    on_import, on_use = (set(line.split()) for line in probe.stdout.splitlines())
    assert "llmframe" in on_import
    for imported in (on_import, on_use):
        assert not imported & {*_LATE, "asyncio", "platformdirs", "llmframe.testing"}
        assert len(imported - {"llmframe"}) <= 3, imported


_FROM_THE_JOURNAL = """
import sys
import llmframe
llmframe.complete([None, " "], model="m", temperature=0, progress=False)
print("openai" in sys.modules, llmframe.last_run().status)
"""


def test_a_call_that_sends_nothing_does_not_wait_for_the_sdk_to_be_imported(tmp_path):
    journal = {"LLMFRAME_JOURNAL": str(tmp_path / "journal.sqlite")}
    command = [sys.executable, "-c", _FROM_THE_JOURNAL]
    probe = subprocess.run(command, env={**os.environ, **journal}, capture_output=True, text=True, check=True)
    assert probe.stdout.split() == ["False", "done"]


def test_names_that_are_imported_late_are_there():
    for name in llmframe.__all__:
        assert getattr(llmframe, name) is not None
    assert set(llmframe.__all__) <= set(dir(llmframe))
    with pytest.raises(AttributeError, match="has no attribute 'nope'"):
        _ = llmframe.nope
