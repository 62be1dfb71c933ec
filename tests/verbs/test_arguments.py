"""Keywords of a call: what wins, what is refused, and which model and client they mean."""

from __future__ import annotations

import asyncio
import inspect
import math
import re
from pathlib import Path

import pandas as pd
import pytest

import llmframe
from llmframe._addresses import is_openai
from llmframe._keywords import CompletionKeywords
from llmframe._verbs.arguments import _OWN_ARGUMENTS, DEFAULT_MODEL, resolve
from llmframe._verbs.complete import COMPLETE
from llmframe.accessor import DataFrameLLM
from llmframe.testing import LocalServer, made_up_answer


def resolved(**arguments):
    return resolve(COMPLETE, arguments)


BAD = {
    "model": ["", " ", 5],
    "api_key": ["", 5, "“key”", "key\u200b", "\ufeffkey", "key\nnext", "kéy", "\ud800"],
    "base_url": [
        "", 5, "localhost:8000", "ftp://x", "http://me:key@x/v1", "http://x/v1?a=b", "http://x/v1?", "http://x/v1#top",
        "http://x/v1/chat/completions", "http:///v1", "http://x:y/v1", "http://x:70000/v1", "http://[::1/v1", "http://x y/v1",
    ],
    "client": ["sk-key", 5],
    "server": ["", 5],
    "journal": [
        "", 5, b"a", "mysql://u:p@host/db", Path("mysql://u:p@host/db"), "postgresql+psycopg://host/db", "file:///a.db", "file:a.db",
        "sqlite:///a.db", "jdbc:h2://a", "'redis://host'", "False", "none", "0", ":memory:", "a\0b",
    ],
    "mode": ["fast", 1],
    "errors": ["ignore", True],
    "max_concurrency": [0, -1, 1.5, True, "5"],
    "requests_per_minute": [0, -1, float("inf"), float("nan"), "5", True],
    "tokens_per_minute": [0, -1, float("inf"), float("nan"), "5", True],
    "max_retries": [-1, 1.5, True],
    "timeout": [0, -1, float("inf"), float("nan"), "5", True],
    "progress": [1, "yes"],
    "prices": [5, {"m": 1}, {"m": {"input": 1}}, {"m": {"input": -1, "output": 1}}, {"m": {"input": 1, "output": 1, "x": 1}},
               {"m": {"input": 1, "output": math.nan}}, {"m": {"input": math.inf, "output": 1}}, {"m": {"input": True, "output": 1}},
               {"m": {"input": 1, "output": 1, "cache_write": -0.1}}, {"m": {"input": "1", "output": 1}}],
    "loop": ["mine", True],
}  # fmt: skip


@pytest.mark.parametrize(("name", "value"), [(name, value) for name in BAD for value in BAD[name]])
def test_a_bad_value_names_its_setting_wherever_it_is_given(name, value):
    with pytest.raises(ValueError, match=f"^{name} must be"):
        setattr(llmframe.options, name, value)
    with pytest.raises(ValueError, match=f"^{name} must be"), llmframe.option_context(**{name: value}):
        pass
    if name not in {"server", "prices", "loop"}:
        with pytest.raises(ValueError, match=f"^{name} must be"):
            resolved(**{"model": "m", name: value})


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({"dedupe": "yes"}, TypeError, "^dedupe must be True or False"),
        ({"fresh": 1}, TypeError, "^fresh must be"),
        ({"retry_failed": "all"}, TypeError, "^retry_failed must be"),
        ({"version": 2}, TypeError, "^version must be text"),
        ({"extra_body": [1]}, TypeError, "^extra_body must be a dict"),
        ({"extra_headers": "X: 1"}, TypeError, "^extra_headers must be a dict"),
        ({"extra_headers": {"X": 1}}, TypeError, "^extra_headers must map text to text"),
        ({"extra_headers": {"X Y": "1"}}, ValueError, "^extra_headers: 'X Y' is no header's name"),
        ({"extra_headers": {"X:": "1"}}, ValueError, "^extra_headers: 'X:' is no header's name"),
        ({"extra_headers": {"": "1"}}, ValueError, "^extra_headers: '' is no header's name"),
        (
            {"extra_headers": {"X": "1\r\nY: 2"}},
            ValueError,
            "^extra_headers: the value of 'X' .*carriage return",
        ),
        (
            {"extra_headers": {"X": "é"}},
            ValueError,
            r"^extra_headers: the value of 'X' .*character 1 of 1 is U\+00E9",
        ),
        ({"extra_body": {"messages": []}}, ValueError, "^extra_body: 'messages'"),
        ({"extra_body": {"stream": True}}, ValueError, "^extra_body: 'stream'"),
        ({"extra_body": {"n": 2}}, ValueError, "^extra_body: 'n'"),
        ({"temperature": float("nan")}, ValueError, "^temperature: "),
        ({"temperature": object()}, ValueError, "^temperature: .*plain JSON"),
        ({"stop": {"a", "b"}}, ValueError, "^stop: "),
        ({"extra_body": {"top_k": pd.NA}}, ValueError, "^top_k: "),
        ({"metadata": {1: "x"}}, ValueError, "^metadata: "),
        ({"user": "\ud800"}, ValueError, "^user: "),
        ({"seed": 10**30}, ValueError, "^seed: "),
        ({"n": 2}, ValueError, "^n: one answer goes into a cell.*dedupe=False"),
        ({"stream": True}, TypeError, "^stream: "),
        ({"stream": False}, TypeError, "^stream: "),
        ({"stream_options": {}}, TypeError, "^stream: "),
        ({"messages": []}, TypeError, "unexpected keyword 'messages'"),
        ({"hedge": 0.1}, TypeError, "unexpected keyword 'hedge'"),
    ],
)
def test_a_bad_argument_is_an_error_that_names_it(arguments, error, said):
    with pytest.raises(error, match=said):
        resolved(model="m", **arguments)


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("temprature", "temperature"),
        ("max_tokes", "max_tokens"),
        ("reasoning_efort", "reasoning_effort"),
        ("max_concurency", "max_concurrency"),
        ("sytem", "system"),
        ("overwrit", "overwrite"),
        ("retry_faild", "retry_failed"),
    ],
)
def test_an_unknown_word_is_a_type_error_with_a_suggestion_before_anything_is_planned(word, meant):
    def never(row):
        raise AssertionError("planned")

    with pytest.raises(TypeError, match=f"unexpected keyword '{word}'; did you mean '{meant}'"):
        pd.DataFrame({"a": ["x"]}).llm.complete("a", never, model="m", **{word: 1})


@pytest.mark.parametrize("verb", _OWN_ARGUMENTS)
def test_the_arguments_of_a_verb_that_errors_know_are_those_of_its_signature(verb):
    parameters = inspect.signature(getattr(DataFrameLLM, verb)).parameters.keys()
    assert set(_OWN_ARGUMENTS[verb]) == parameters - CompletionKeywords.__annotations__.keys() - {"self"}


def test_a_word_like_no_other_is_pointed_to_extra_body():
    with pytest.raises(TypeError, match="goes into extra_body="):
        resolved(model="m", zzzzqqqq=1)


def test_the_apis_own_parameters_are_those_of_the_installed_sdk(llm):
    llmframe.complete(["x"], temperature=0, reasoning_effort="low", seed=5, extra_body={"top_p": 0.5})
    (body,) = llm.ledger.bodies
    assert {name: body[name] for name in ("temperature", "reasoning_effort", "seed", "top_p")} == {
        "temperature": 0,
        "reasoning_effort": "low",
        "seed": 5,
        "top_p": 0.5,
    }


SECRET = "sk-proj-abcdefghijklmnop"


@pytest.mark.parametrize(
    ("name", "value", "advice"),
    [
        ("base_url", f"http://x/v1?key={SECRET}", "write 'http://x/v1'.*client=.*default_query="),
        ("base_url", "http://x/v1/chat/completions/?a=b", "write 'http://x/v1',"),
        ("base_url", f"http://x/v1#{SECRET}", "write 'http://x/v1'"),
        ("base_url", "http://x/v1/chat/completions/", "write 'http://x/v1'"),
        ("journal", f"mysql://me:{SECRET}@host/db", "an address (mysql://…)"),
        ("journal", Path(f"mysql://me:{SECRET}@host/db"), "an address (mysql://…)"),
        ("journal", f"sqlite:///{SECRET}.db", "write the file's path alone"),
        ("journal", "false", "write journal=False"),
        ("api_key", f"{SECRET}\u201d", "character 25 of 25 is U+201D (RIGHT DOUBLE QUOTATION MARK)"),
        ("api_key", f"{SECRET}\n{SECRET}", "character 25 of 49 is U+000A (a line break)"),
    ],
)
@pytest.mark.parametrize("variable", [False, True])
def test_what_cannot_be_used_is_said_in_one_line_without_secrets(name, value, advice, variable, monkeypatch):
    """It is named as the argument or as the variable of the environment that brought it."""
    arguments = {"model": "m", name: value}
    if variable:
        monkeypatch.setenv(ENVIRONMENT[name][0], str(arguments.pop(name)))
    with pytest.raises(ValueError) as refused:
        resolved(**arguments)
    said = str(refused.value)
    assert said.startswith(ENVIRONMENT[name][0] if variable else f"{name} must be")
    assert re.search(advice if ".*" in advice else re.escape(advice), said)
    assert SECRET not in said
    assert "\n" not in said


@pytest.mark.parametrize("name", ["api_key", "base_url", "journal"])
def test_what_the_environment_brings_matters_only_where_it_is_used(name, monkeypatch):
    import openai

    for variable, bad in (
        ("OPENAI_API_KEY", "“k”"),
        ("OPENAI_BASE_URL", "http://x/v1?a"),
        ("LLMFRAME_JOURNAL", "a://b"),
    ):
        monkeypatch.setenv(variable, bad)
    client = openai.AsyncOpenAI(api_key="k", base_url="http://x/v1")
    assert resolved(model="m", client=client, journal=False).account.client is client
    good = {"api_key": "k", "base_url": "http://x/v1", "journal": "a.sqlite"}
    assert resolved(model="m", **good).account.api_key == "k"
    assert resolved(model="m", mode="offline", **{**good, "api_key": None}).mode == "offline"
    with pytest.raises(ValueError, match=ENVIRONMENT[name][0]):
        resolved(model="m", **{**good, name: None})


ENVIRONMENT = {
    "model": ("LLMFRAME_MODEL", "from-env", "from-option", "from-argument"),
    "api_key": ("OPENAI_API_KEY", "k-env", "k-option", "k-argument"),
    "base_url": ("OPENAI_BASE_URL", "http://env:1/v1", "http://option:1/v1", "http://argument:1/v1"),
    "journal": ("LLMFRAME_JOURNAL", "env.sqlite", "option.sqlite", "argument.sqlite"),
}


def _said(name, call):
    return {
        "model": call.model,
        "api_key": call.account.api_key,
        "base_url": call.account.base_url,
        "journal": str(call.journal),
    }[name]


@pytest.mark.parametrize("name", ENVIRONMENT)
def test_arguments_win_over_options_and_options_over_the_environment(name, monkeypatch):
    variable, environment, option, argument = ENVIRONMENT[name]
    rest = {} if name == "model" else {"model": "m"}
    monkeypatch.setenv(variable, f" {environment} ")
    assert _said(name, resolved(**rest)) == environment
    setattr(llmframe.options, name, option)
    assert _said(name, resolved(**rest)) == option
    with llmframe.option_context(**{name: f"{option}x"}):
        assert _said(name, resolved(**rest)) == f"{option}x"
        assert _said(name, resolved(**{**rest, name: argument})) == argument
    setattr(llmframe.options, name, None)
    assert _said(name, resolved(**rest)) == environment
    monkeypatch.setenv(variable, " ")
    assert name == "model" or _said(name, resolved(**rest)) != environment


def test_journal_true_is_the_environments_place_or_the_default(monkeypatch):
    monkeypatch.setenv("LLMFRAME_JOURNAL", "env.sqlite")
    assert resolved(model="m", journal=True).journal == Path("env.sqlite")
    llmframe.options.journal = True
    assert resolved(model="m").journal == Path("env.sqlite")
    monkeypatch.delenv("LLMFRAME_JOURNAL")
    assert resolved(model="m").journal is True
    assert resolved(model="m", journal=False).journal is False
    assert resolved(model="m", journal=Path("a")).journal == Path("a")


def test_options_reach_the_wire(server):
    llmframe.options.base_url, llmframe.options.api_key = server.base_url, "k1"
    llmframe.options.model, llmframe.options.journal = "gpt-5-mini", False
    llmframe.complete(["x"], extra_headers={"X-Mine": "yes"})
    assert server.ledger.bodies[0]["model"] == "gpt-5-mini"
    assert server.ledger.headers["authorization"] == "Bearer k1"
    assert server.ledger.headers["x-mine"] == "yes"
    with llmframe.option_context(api_key="k2", model="gpt-5-nano"):
        llmframe.complete(["x"])
    assert server.ledger.headers["authorization"] == "Bearer k2"
    assert server.ledger.bodies[1]["model"] == "gpt-5-nano"

    async def key():
        await asyncio.sleep(0)
        return "k3"

    llmframe.complete(["x"], api_key=key)
    assert server.ledger.headers["authorization"] == "Bearer k3"


@pytest.mark.parametrize(
    ("address", "own"),
    [
        ("https://api.openai.com/v1", True),
        ("https://API.openai.com:443/v1/", True),
        ("https://eu.api.openai.com/v1", True),
        ("https://api.openai.com.example.org/v1", False),
        ("https://example.org/api.openai.com", False),
        ("http://localhost:8000/v1", False),
    ],
)
def test_the_default_model_is_for_openais_own_address_only(address, own):
    assert is_openai(address) is own
    if own:
        assert resolved(base_url=address).model == DEFAULT_MODEL
    else:
        with pytest.raises(ValueError, match=r"^model: there is no default model"):
            resolved(base_url=address, mode="offline")


def test_without_a_model_elsewhere_the_error_lists_the_servers_models():
    with LocalServer(models=["llama-9", "qwen-7"]) as server:
        with pytest.raises(ValueError, match=r"^model: .*pass model=.*'llama-9', 'qwen-7'"):
            llmframe.complete(["x"], base_url=server.base_url, api_key="any")
        assert server.ledger.requests == 0


def test_without_a_model_a_server_that_is_down_is_no_other_error():
    with pytest.raises(ValueError, match="the server does not list its models"):
        llmframe.complete(["x"], base_url="http://127.0.0.1:9/v1", api_key="any")


@pytest.mark.parametrize("kind", ["OpenAI", "AsyncOpenAI"])
def test_a_client_brings_its_own_settings(kind, server):
    import openai

    llmframe.options.api_key, llmframe.options.base_url = "not this", "http://127.0.0.1:9/v1"
    client = getattr(openai, kind)(
        api_key="the clients", base_url=server.base_url, default_headers={"X-Team": "blue"}
    )
    (text,) = llmframe.complete(["x"], client=client, model="gpt-6-luna")
    assert text == made_up_answer(server.ledger.bodies[0])
    assert server.ledger.headers["authorization"] == "Bearer the clients"
    assert server.ledger.headers["x-team"] == "blue"
    llmframe.options.client = client
    assert llmframe.complete(["x"], model="gpt-6-luna") == [text]
    assert server.ledger.requests == 1
    assert "the clients" not in repr(llmframe.options)


def test_a_client_beside_a_key_or_an_address_is_an_error():
    import openai

    client = openai.OpenAI(api_key="k")
    for extra in ({"api_key": "k"}, {"base_url": "http://x/v1"}):
        with pytest.raises(ValueError, match=r"^client: it brings its own"):
            resolved(model="m", client=client, **extra)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"base_url": "http://me:pw@x/v1?a=b"}, "its base_url must be .*query: write 'http://x/v1'"),
        ({"base_url": "http://x/v1/chat/completions"}, "its base_url must be .*write 'http://x/v1'"),
        ({"api_key": "a-key\n"}, r"its api_key cannot be sent; its character 6 of 6 is U\+000A .*strip"),
        ({"organization": "org-a\n"}, r"its header 'OpenAI-Organization' cannot be sent; .*U\+000A"),
        ({"default_headers": {"X-Team": "é"}}, r"its header 'X-Team' cannot be sent; .*U\+00E9"),
        ({"api_key": "“a-key”"}, r"its api_key cannot be sent; its character 1 of 7 is U\+201C"),
    ],
)
@pytest.mark.parametrize("kind", ["OpenAI", "AsyncOpenAI"])
def test_a_client_whose_settings_cannot_be_used_is_refused_before_anything_is_sent(kind, settings, said):
    import openai

    client = getattr(openai, kind)(**{"base_url": "http://x/v1", "api_key": "k", **settings})
    with pytest.raises(ValueError, match=f"^client: {said}") as refused:
        resolved(model="m", client=client)
    assert "a-key" not in str(refused.value)
    assert "pw" not in str(refused.value)


def test_azures_api_version_and_other_default_queries_are_no_query_of_the_address():
    import openai

    azure = openai.AzureOpenAI(azure_endpoint="https://x.example", api_version="2026-01-01", api_key="k")
    assert resolved(model="m", client=azure).server.endswith("?api-version=2026-01-01")
    token = openai.AzureOpenAI(azure_endpoint="https://x.example", api_version="1", azure_ad_token="a\nb")
    with pytest.raises(ValueError, match=r"^client: its azure_ad_token cannot be sent"):
        resolved(model="m", client=token)
    plain = openai.OpenAI(base_url="http://x/v1", api_key="k", default_query={"a": "b"})
    assert resolved(model="m", client=plain).server == "http://x/v1"


def test_a_class_is_no_client():
    import openai

    with pytest.raises(ValueError, match=r"^client must be .*openai\.AsyncOpenAI\(\)"):
        resolved(model="m", client=openai.AsyncOpenAI)


def test_what_is_no_client_is_an_error():
    class Chatty:
        chat = None

    with pytest.raises(TypeError, match=r"^client must be an AsyncOpenAI"):
        resolved(model="m", client=Chatty())
