"""`llmframe.options` and `option_context`."""

from __future__ import annotations

import asyncio
import inspect
import re
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

import llmframe

OPTIONS = [
    "api_key", "base_url", "client", "errors", "journal", "keep_batch_files", "loop", "max_concurrency",
    "max_retries", "mode", "model", "prices", "progress", "reattach", "server", "timeout",
]  # fmt: skip


def test_options_are_tab_completable():
    assert dir(llmframe.options) == OPTIONS


def test_every_option_can_be_read_set_and_set_back():
    values = {
        "api_key": "k", "base_url": "http://localhost:1/v1", "client": None, "errors": "coerce", "journal": False,
        "keep_batch_files": True, "reattach": False, "loop": "nested", "max_concurrency": 3, "max_retries": 0, "mode": "offline", "model": "m",
        "prices": {"m": {"input": 1, "cached_input": 0, "cache_write": 1.25, "output": 2}}, "progress": True, "server": "s", "timeout": 0.5,
    }  # fmt: skip
    assert sorted(values) == OPTIONS
    defaults = {name: getattr(llmframe.options, name) for name in OPTIONS}
    for name, value in values.items():
        setattr(llmframe.options, name, value)
        assert getattr(llmframe.options, name) == value
        assert name in repr(llmframe.options)
        setattr(llmframe.options, name, None)
        assert getattr(llmframe.options, name) == defaults[name] or name == "progress"


def test_an_unknown_option_is_an_error_with_a_suggestion():
    with pytest.raises(AttributeError, match="did you mean 'max_concurrency'"):
        llmframe.options.max_concurency = 5
    with pytest.raises(AttributeError, match="no option 'zzz'; there are "):
        _ = llmframe.options.zzz
    with pytest.raises(TypeError, match="did you mean 'model'"), llmframe.option_context(modell="m"):
        pass


SECRET = "sk-proj-abcdefghijklmnopqrstuvwxyz"


def test_the_key_is_masked_wherever_settings_are_shown():
    llmframe.options.api_key = SECRET
    assert "api_key = 'sk-…wxyz'" in repr(llmframe.options)
    for key in (SECRET, "short", "sk-1234567890"):
        llmframe.options.api_key = key
        assert key not in repr(llmframe.options)
    with pytest.raises(ValueError, match="not shown") as error:
        llmframe.options.api_key = [SECRET]
    assert SECRET not in str(error.value)
    llmframe.options.api_key = lambda: SECRET
    assert "api_key = <function>" in repr(llmframe.options)


def test_a_key_given_as_a_client_is_not_shown():
    with pytest.raises(ValueError, match=r"^client must be") as error:
        llmframe.options.client = SECRET
    assert SECRET not in str(error.value)


@given(st.text(min_size=1).filter(str.strip))
def test_a_mask_never_shows_most_of_a_key(key):
    from llmframe._options import mask

    shown = mask(key).strip("'").split("…")
    assert sum(map(len, shown)) <= min(7, len(key) * 7 // 16)


def test_a_context_ends_with_its_block_also_after_an_error():
    llmframe.options.model = "outer"
    with llmframe.option_context(model="one"):
        with llmframe.option_context(max_concurrency=2):
            assert (llmframe.options.model, llmframe.options.max_concurrency) == ("one", 2)
        with pytest.raises(RuntimeError), llmframe.option_context(model="two"):
            raise RuntimeError
        assert llmframe.options.model == "one"
        assert llmframe.options.max_concurrency is None
    assert llmframe.options.model == "outer"


def test_a_context_is_its_tasks_own():
    async def task(name):
        with llmframe.option_context(model=name):
            await asyncio.sleep(0.01)
            return llmframe.options.model

    async def both():
        return await asyncio.gather(task("one"), task("two"))

    assert asyncio.run(both()) == ["one", "two"]


def test_a_context_is_its_threads_own():
    llmframe.options.model = "everywhere"
    seen = []
    with llmframe.option_context(model="here"):
        thread = threading.Thread(target=lambda: seen.append(llmframe.options.model))
        thread.start()
        thread.join()
    assert seen == ["everywhere"]


def test_a_run_keeps_the_settings_of_its_call(llm):
    with llmframe.option_context(model="gpt-5-mini"):
        run = llmframe.complete(["x"], wait=False)
    run.result(10)
    assert llm.ledger.bodies[0]["model"] == "gpt-5-mini"


def test_the_docstring_names_every_option():
    assert [
        name
        for name in OPTIONS
        if not re.search(rf"^{name} :", inspect.getdoc(type(llmframe.options)), re.MULTILINE)
    ] == []
