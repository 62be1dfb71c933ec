"""`llmframe.options` and `option_context`."""

from __future__ import annotations

import asyncio
import copy
import inspect
import pickle
import re
import threading

import cloudpickle
import numpy as np
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

import llmframe

OPTIONS = [
    "api_key", "base_url", "client", "errors", "journal", "keep_batch_files", "limit_patience", "longest_wait", "loop",
    "max_concurrency", "max_cost", "max_retries", "mode", "model", "prices", "progress", "reattach", "requests_per_minute", "server", "timeout",
    "tokens_per_minute",
]  # fmt: skip


def test_options_are_tab_completable():
    assert dir(llmframe.options) == OPTIONS


def test_every_option_can_be_read_set_and_set_back():
    values = {
        "api_key": "k", "base_url": "http://localhost:1/v1", "client": None, "errors": "coerce", "journal": False,
        "keep_batch_files": True, "reattach": False, "requests_per_minute": 600, "tokens_per_minute": 9e4, "loop": "nested", "limit_patience": 1.5, "longest_wait": 2, "max_concurrency": 3, "max_cost": 2.5, "max_retries": 0, "mode": "offline", "model": "m",
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


def test_one_context_serves_nested_blocks_and_threads_at_once():
    """Leaving it in one thread changes nothing in another, where it is left later."""
    llmframe.options.model = "own"
    context = llmframe.option_context(model="inner")
    both, seen = threading.Barrier(2, timeout=10), []

    def block(name):
        with llmframe.option_context(model=name), context, context:
            both.wait()
            seen.append(llmframe.options.model)
        both.wait()
        seen.append(llmframe.options.model)

    threads = [threading.Thread(target=block, args=(name,)) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == ["inner", "inner", "own", "own"]


def test_a_context_decorates_a_function_that_calls_itself():
    @llmframe.option_context(max_concurrency=3)
    def concurrency(depth):
        inner = concurrency(depth - 1) if depth else []
        return [*inner, llmframe.options.max_concurrency]

    assert concurrency(2) == [3, 3, 3]
    assert llmframe.options.max_concurrency is None


SENDING = {
    **{
        f"protocol {number}": lambda value, number=number: pickle.dumps(value, number)
        for number in range(pickle.HIGHEST_PROTOCOL + 1)
    },
    "cloudpickle": cloudpickle.dumps,
}


@pytest.fixture(params=SENDING)
def dumps(request):
    return SENDING[request.param]


def test_options_are_received_as_the_own_ones(dumps):
    """They hold nothing: what the other process has set stays."""
    llmframe.options.api_key = SECRET
    llmframe.options.model = "sender"
    raw = dumps(llmframe.options)
    llmframe.options.model = "receiver"
    assert pickle.loads(raw) is llmframe.options
    assert llmframe.options.model == "receiver"
    assert copy.copy(llmframe.options) is copy.deepcopy(llmframe.options) is llmframe.options
    for secret in (SECRET, "sender"):
        assert secret.encode() not in raw


def test_a_context_is_received_with_its_values_but_neither_key_nor_client(dumps, tmp_path):
    """They are the receiver's own, and so is what the context does not set."""
    values = {
        "model": "m", "errors": "coerce", "journal": tmp_path / "j.sqlite", "max_concurrency": 3, "max_cost": 2.5, "max_retries": 0,
        "mode": "offline", "progress": True, "server": "s", "timeout": 0.5, "base_url": "http://localhost:1/v1",
        "prices": {"m": {"input": 1, "output": 2}}, "keep_batch_files": True, "reattach": False, "requests_per_minute": 600, "tokens_per_minute": 9e4, "loop": "nested", "limit_patience": 1.5, "longest_wait": 2,
    }  # fmt: skip
    assert sorted([*values, "api_key", "client"]) == OPTIONS
    raw = dumps(llmframe.option_context(api_key=SECRET, client=None, **values))
    assert SECRET.encode() not in raw
    context = pickle.loads(raw)
    llmframe.options.api_key = "receiver's"
    with pickle.loads(dumps(context)):
        assert {name: getattr(llmframe.options, name) for name in values} == values
        assert llmframe.options.api_key == "receiver's"
    assert llmframe.options.model is None


def test_an_open_context_is_received_closed(dumps):
    context = llmframe.option_context(model="m")
    with context:
        raw = dumps(context)
    received = pickle.loads(raw)
    assert llmframe.options.model is None
    with received:
        assert llmframe.options.model == "m"
    assert llmframe.options.model is None


@pytest.mark.parametrize("kind", [openai.AsyncOpenAI, openai.OpenAI])
def test_a_context_with_a_client_is_received_with_its_address(kind, dumps, llm):
    """Rows that were meant for one server are not sent to another because the client stays behind."""
    address = llm.base_url.replace("://", "://me:password@") + "?key=password"
    raw = dumps(llmframe.option_context(client=kind(base_url=address, api_key=SECRET), model="gpt-5-nano"))
    assert b"password" not in raw
    assert SECRET.encode() not in raw
    llmframe.options.base_url = None
    with pickle.loads(raw):
        assert llmframe.options.client is None
        llmframe.complete(["x"])
    assert llm.ledger.bodies[0]["model"] == "gpt-5-nano"


def test_a_copied_context_stays_in_the_process_and_keeps_all():
    context = llmframe.option_context(api_key=SECRET)
    for copied in (copy.copy(context), copy.deepcopy([context])[0]):
        with copied:
            assert llmframe.options.api_key == SECRET


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


def test_the_options_are_shown_as_one_would_write_them(tmp_path):
    """No wrapper of ours or numpy's stands around a value."""
    assert "  prices = {}\n" in repr(llmframe.options)
    llmframe.options.prices = {"m": {"input": 1, "output": 2}}
    llmframe.options.journal = tmp_path / "journal.sqlite"
    llmframe.options.timeout = np.float64(2.5)
    shown = repr(llmframe.options)
    assert "  prices = {'m': {'input': 1, 'output': 2}}\n" in shown
    assert f"  journal = {str(tmp_path / 'journal.sqlite')!r}\n" in shown
    assert "  timeout = 2.5\n" in shown
    with pytest.raises(ValueError, match=r"got -1\.5$"):
        llmframe.options.timeout = np.float64(-1.5)
