"""Identity, duplicates and missing cells: which rows become which requests, before anything is sent."""

from __future__ import annotations

import asyncio
import datetime as dt
import random
import re
from collections import Counter
from decimal import Decimal
from hashlib import blake2b
from types import MappingProxyType

import numpy as np
import orjson
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import llmframe
from llmframe._addresses import normalise
from llmframe._verbs.complete import FrameCompletion, ListCompletion, SeriesCompletion

SCHEMA = {
    "type": "json_schema",
    "json_schema": {
        "name": "review",
        "strict": True,
        "schema": {
            "type": "object",
            "properties": {"why": {"type": "string"}, "label": {"type": "string"}},
            "required": ["why", "label"],
            "additionalProperties": False,
        },
    },
}
IMAGE = [
    {
        "role": "user",
        "content": [
            {"type": "text", "text": "What is this?"},
            {"type": "image_url", "image_url": {"url": "https://example.org/a.png", "detail": "low"}},
        ],
    }
]
TURNS = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]


def keys(prompts, **settings):
    settings = {"model": "gpt-6-luna", "base_url": "https://api.openai.com/v1"} | settings
    return [key.hex() for key in ListCompletion(prompts, settings).run._plan.keys]


def key(prompt="Hello", **settings):
    (only,) = keys([prompt], **settings)
    return only


def plan_of(frame, *arguments, **settings):
    into, where, overwrite, error_into = "answer", settings.pop("where", None), False, None
    column, prompt = (*arguments, None, None)[:2]
    settings = {"model": "gpt-6-luna", "api_key": "any"} | settings
    return FrameCompletion(frame, column, prompt, into, where, overwrite, error_into, settings).run._plan


def bodies(plan):
    return [orjson.loads(request.body) for request in plan.requests(range(len(plan.keys)))]


GOLDEN = {
    "text": (("Hello",), {}),
    "another spelling": (("Hello",), {"base_url": "HTTPS://API.openai.com:443/v1/"}),
    "unicode": (("Grüße 💬 列\n\x00\t",), {}),
    "messages": ((TURNS,), {}),
    "image": ((IMAGE,), {}),
    "system": (("Hi",), {"system": "Be brief."}),
    "model": (("Hello",), {"model": "gpt-5-mini"}),
    "local server": (("Hello",), {"base_url": "http://localhost:8000/v1"}),
    "temperature": (("Hello",), {"temperature": 0}),
    "several parameters": (("Hello",), {"reasoning_effort": "low", "top_p": 0.5, "seed": 7, "stop": ["\n"]}),
    "schema": (("Hello",), {"response_format": SCHEMA}),
    "extra_body": (("Hello",), {"extra_body": {"top_k": 5, "deep": {"b": 1, "a": None}}}),
    "extra_headers": (("Hello",), {"extra_headers": {"X-Route": "blue"}}),
    "version": (("Hello",), {"version": "v2"}),
}
HASHES = {
    "text": "582a1216ce28912c05531aefac8ca4f3",
    "another spelling": "582a1216ce28912c05531aefac8ca4f3",
    "unicode": "539ea2c6de7fd70a87bfe1bc7a007370",
    "messages": "df29e11499fdd2abe7550be1174ff093",
    "image": "9a3a14b56a3eb0cd24c574cedc4dea71",
    "system": "df29e11499fdd2abe7550be1174ff093",
    "model": "177c0fef2c6d42f1e3cfc625963046f9",
    "local server": "197a649489cc78ba14a8f54541d26c15",
    "temperature": "a1b08d804afbb1094db5054fa89da4f0",
    "several parameters": "3746a8c0d865fe933e93113c41406444",
    "schema": "4941b2f02c7349109fc80def6a1422f6",
    "extra_body": "b749dce43b1fc30b99d1a76bb7b1e1ca",
    "extra_headers": "7d3856640788b904d6e2c5420e2ec20f",
    "version": "9831ae3b551e25b3da7688328b29dd12",
}


@pytest.mark.parametrize("name", GOLDEN)
def test_identities_are_those_that_every_journal_out_there_holds(name):
    """Identities are those that every journal out there holds: they never change within a major version."""
    (prompt,), settings = GOLDEN[name]
    assert key(prompt, **settings) == HASHES[name]


def test_golden_identities_differ_but_where_the_request_is_the_same():
    """Golden identities differ but where the request is the same."""
    assert HASHES["another spelling"] == HASHES["text"]
    assert HASHES["system"] == HASHES["messages"]
    assert len(set(HASHES.values())) == len(HASHES) - 2


def test_the_identity_is_the_hash_of_these_very_bytes():
    """The identity is the hash of these very bytes."""
    shared = (
        b'[1,"https://api.openai.com/v1","/v1/chat/completions","gpt-6-luna",{"temperature":0},'
        b'[["x-route","blue"]],"v2"]'
    )
    messages = b'[{"content":"Hello","role":"user"}]'
    expected = blake2b(shared + b"\n" + messages, digest_size=16).hexdigest()
    assert key(temperature=0.0, extra_headers={"X-Route": "blue"}, version="v2") == expected


def test_the_kth_duplicate_draws_for_itself():
    """With `dedupe=False` the k-th duplicate draws for itself, the same draw in every run."""
    plain, *draws = keys(["Hello"] * 3, dedupe=False)
    assert plain == key()
    assert len({plain, *draws}) == 3
    assert keys(["Other", "Hello", "Hello", "Hello"], dedupe=False)[1:] == [plain, *draws]


SAME = {
    "the order of keys in a message": ([{"content": "Hello", "role": "user"}], {}),
    "a tuple of messages": (({"role": "user", "content": "Hello"},), {}),
    "an array of messages": (np.array([{"role": "user", "content": "Hello"}], dtype=object), {}),
    "mappings that are no dicts": ([MappingProxyType({"role": "user", "content": "Hello"})], {}),
    "numpy text": (np.str_("Hello"), {}),
    "one message and its text": ([{"role": "user", "content": "Hello"}], {}),
    "service_tier": ("Hello", {"service_tier": "flex"}),
    "metadata": ("Hello", {"metadata": {"team": "blue"}}),
    "user": ("Hello", {"user": "me"}),
    "safety_identifier": ("Hello", {"safety_identifier": "me"}),
    "store": ("Hello", {"store": True}),
    "prompt_cache_key": ("Hello", {"prompt_cache_key": "k"}),
    "prompt_cache_retention": ("Hello", {"prompt_cache_retention": "24h"}),
    "the same in extra_body": ("Hello", {"extra_body": {"service_tier": "flex", "prompt_cache_x": 1}}),
    "the key": ("Hello", {"api_key": "sk-another"}),
    "the timeout": ("Hello", {"timeout": 5}),
    "retries": ("Hello", {"max_retries": 0}),
    "concurrency": ("Hello", {"max_concurrency": 1}),
    "the lane": ("Hello", {"mode": "offline"}),
    "authorization": ("Hello", {"extra_headers": {"Authorization": "Bearer x", "api-key": "y"}}),
    "the address's spelling": ("Hello", {"base_url": "https://API.OpenAI.com:443/v1/#x"}),
    "fresh": ("Hello", {"fresh": True}),
    "a parameter that is None": ("Hello", {"temperature": None}),
    "n=1": ("Hello", {"n": 1}),
}


@pytest.mark.parametrize("what", SAME)
def test_what_does_not_decide_the_answer_is_not_in_the_identity(what):
    """What does not decide the answer is not in the identity."""
    prompt, settings = SAME[what]
    assert key(prompt, **settings) == key()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"temperature": 1}, {"temperature": 1.0}),
        ({"temperature": 1}, {"temperature": np.int64(1)}),
        ({"temperature": 0.5}, {"temperature": np.float64(0.5)}),
        ({"temperature": 0}, {"temperature": -0.0}),
        ({"seed": 7}, {"extra_body": {"seed": 7}}),
        ({"logit_bias": {"5": 1}}, {"logit_bias": {"5": 1.0}}),
        ({"extra_headers": {"X-A": "1"}}, {"extra_headers": {"x-a": "1"}}),
        ({"stop": ["a"]}, {"stop": ("a",)}),
        ({"top_p": 0.5, "seed": 1}, {"seed": 1, "top_p": 0.5}),
    ],
)
def test_equal_values_in_other_clothes_are_one_identity(one, other):
    """Equal values in other clothes are one identity."""
    assert key(**one) == key(**other)


DIFFERENT = {
    "model": {"model": "gpt-5-mini"},
    "server": {"base_url": "https://example.org/v1"},
    "port": {"base_url": "https://api.openai.com:8443/v1"},
    "path": {"base_url": "https://api.openai.com/v2"},
    "parameter": {"temperature": 0},
    "another value": {"temperature": 0.1},
    "true is not one": {"logprobs": True},
    "extra_body": {"extra_body": {"top_k": 1}},
    "null in extra_body": {"extra_body": {"top_k": None}},
    "extra_headers": {"extra_headers": {"OpenAI-Beta": "x"}},
    "version": {"version": "v2"},
    "system": {"system": "Be brief."},
    "nested service_tier": {"extra_body": {"x": {"service_tier": "flex"}}},
}


def test_what_decides_the_answer_is_in_the_identity():
    """What decides the answer is in the identity."""
    found = {name: key(**settings) for name, settings in DIFFERENT.items()}
    others = {f"text {text!r}": key(text) for text in ("hello", "Hello ", "Hello\n", "", "é", "é") if text}
    every = [key(), *found.values(), *others.values()]
    assert len(set(every)) == len(every)


def test_the_order_of_properties_in_schemas_and_tools_is_kept_as_given(llm):
    """The order of properties in schemas and tools is kept as given, for it decides the answer."""
    turned = orjson.loads(orjson.dumps(SCHEMA))
    properties = turned["json_schema"]["schema"]["properties"]
    turned["json_schema"]["schema"]["properties"] = dict(reversed(properties.items()))
    assert key(response_format=SCHEMA) != key(response_format=turned)
    plan = plan_of(pd.DataFrame({"a": ["x"]}), "a", response_format=SCHEMA)
    (body,) = bodies(plan)
    assert list(body["response_format"]["json_schema"]["schema"]["properties"]) == ["why", "label"]


@given(
    st.recursive(
        st.text(max_size=5) | st.integers(-100, 100) | st.booleans() | st.none(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
        max_leaves=10,
    ),
    st.randoms(use_true_random=False),
)
def test_messages_are_known_by_their_content_not_by_the_order_of_their_keys(value, chance):
    """Messages are known by their content not by the order of their keys."""

    def shuffled(value):
        if isinstance(value, dict):
            items = list(value.items())
            chance.shuffle(items)
            return {name: shuffled(item) for name, item in items}
        return [shuffled(item) for item in value] if isinstance(value, list) else value

    message = {"role": "user", "content": value, "name": "x"}
    assert key([message]) == key([shuffled(message)])


@given(st.text(), st.text())
def test_different_texts_never_share_an_identity(one, other):
    """Different texts never share an identity."""
    held = [text for text in (one, other) if text.isprintable() and text.strip()]
    assert len(keys(held)) == len(set(held))


def test_a_named_server_stands_for_changing_addresses():
    """A named server stands for changing addresses."""
    llmframe.options.server = "our-cluster"
    assert key(base_url="http://10.0.0.1/v1") == key(base_url="http://10.0.0.2/v1")


def test_azures_deployment_and_api_version_are_in_the_identity():
    """Azure's deployment and api version are in the identity."""
    import openai

    def azure(deployment="a", version="2025-01-01", host="one"):
        return openai.AzureOpenAI(
            azure_endpoint=f"https://{host}.openai.azure.com",
            azure_deployment=deployment,
            api_version=version,
            api_key="k",
        )

    def azure_key(**which):
        return ListCompletion(["Hello"], {"model": "m", "client": azure(**which)}).run._plan.keys[0]

    every = {azure_key(), azure_key(deployment="b"), azure_key(version="2026-01-01"), azure_key(host="two")}
    assert len(every) == 4
    llmframe.options.server = "ours"
    named = {azure_key(), azure_key(deployment="b"), azure_key(version="2026-01-01"), azure_key(host="two")}
    assert len(named) == 3


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("https://API.openai.com/v1/", "https://api.openai.com/v1"),
        ("https://api.openai.com:443/v1", "https://api.openai.com/v1"),
        ("http://localhost:80", "http://localhost"),
        ("http://localhost:8000/V1", "http://localhost:8000/V1"),
        ("http://me:pw@localhost:8000/v1", "http://localhost:8000/v1"),
        ("http://[::1]:8000/v1", "http://[::1]:8000/v1"),
    ],
)
def test_an_address_has_one_spelling_and_no_credentials(address, expected):
    """An address has one spelling and no credentials."""
    assert normalise(address) == expected


def test_the_recipe_that_the_journal_keeps_holds_no_prompt_no_header_and_no_key():
    """The recipe that the journal keeps holds no prompt, no header and no key."""
    secret = {
        "api_key": "sk-secret",
        "system": "secret",
        "user": "secret",
        "extra_headers": {"X": "secret"},
        "metadata": {"a": "secret"},
        "base_url": "https://example.org/v1?key=secret",
        "model": "m",
    }
    (job,) = [ListCompletion(["secret"], secret)]
    assert "secret" not in repr(job.run._plan.recipe.describe())


def test_identical_rows_are_one_request(llm):
    """Identical rows are one request."""
    df = pd.DataFrame({"a": ["x", "y", "x", "x", "y"]})
    df.llm.complete("a", "Say")
    run = llmframe.last_run()
    assert (llm.ledger.requests, run.distinct, run.answered) == (2, 2, 5)
    assert df["a_completion"].nunique() == 2


def test_with_dedupe_false_every_duplicate_is_asked_and_a_rerun_asks_none(llm):
    """With `dedupe=False` every duplicate is asked and a rerun asks none."""
    df = pd.DataFrame({"a": ["x", "x", "y"]})
    df.llm.complete("a", "Say", dedupe=False)
    assert llm.ledger.requests == 3
    df.llm.complete("a", "Say", dedupe=False)
    assert llm.ledger.requests == 3
    df.llm.complete("a", "Say")
    assert llm.ledger.requests == 3, "the first draw answers the plain call"


def test_static_text_comes_first_and_the_rows_own_last():
    """Static text comes first and the row's own last."""
    df = pd.DataFrame({"a": ["ROW"]})
    plan = plan_of(df, "a", "INSTRUCTION", system="SYSTEM", temperature=0, response_format=SCHEMA)
    (request,) = plan.requests([0])
    places = [request.body.index(part) for part in (b"json_schema", b"SYSTEM", b"INSTRUCTION", b"ROW")]
    assert places == sorted(places)


MISSING = [None, float("nan"), pd.NA, pd.NaT, np.float32("nan"), np.datetime64("NaT", "ns"), Decimal("NaN")]


@pytest.mark.parametrize("prompt", [None, "Instruction", "{a}", "{a} and {b}", "{b} alone"])
def test_no_row_with_a_missing_cell_is_ever_sent(prompt, llm):
    """No row with a missing cell is ever sent."""
    df = pd.DataFrame({"a": pd.Series(["x", *MISSING], dtype=object), "b": "y"})
    df.llm.complete("a", prompt)
    assert llm.ledger.requests == 1
    assert not re.search("nan|nat|none|<na>|null", str(llm.ledger.bodies), re.IGNORECASE)
    assert llmframe.last_run().skipped == {"a": len(MISSING)}
    assert df["a_completion"].isna().tolist() == [False] + [True] * len(MISSING)


@pytest.mark.parametrize("column", ["a", None])
def test_a_row_with_a_blank_text_is_not_sent(column, llm):
    """A row with a blank text is not sent."""
    blank = ["", " ", "\n\t ", "\u00a0", "\u3000"]
    df = pd.DataFrame({"a": ["x", *blank]})
    df.llm.complete(column, "Say {a}", into="b")
    assert llm.ledger.requests == 1
    assert llmframe.last_run().skipped == {"a": len(blank)}


def test_a_blank_beside_text_is_sent(llm):
    """A blank beside text is sent."""
    df = pd.DataFrame({"title": ["", ""], "body": ["x", " "]})
    df.llm.complete(prompt="{title}: {body}", into="y")
    assert [body["messages"][0]["content"] for body in llm.ledger.bodies] == [": x"]


@pytest.mark.parametrize(
    "column",
    [
        pd.Series([1.5, None]),
        pd.Series([1, None], dtype="Int64"),
        pd.Series([True, None], dtype="boolean"),
        pd.Series(["x", None], dtype="category"),
        pd.Series(pd.to_datetime(["2024-01-01", None])),
        pd.Series(pd.to_timedelta([1, None])),
        pd.Series(["x", None], dtype="string"),
        pd.Series(pd.PeriodIndex(["2024-01", None], freq="M")),
    ],
    ids=lambda series: str(series.dtype),
)
def test_missing_is_missing_in_every_kind_of_column(column, llm):
    """Missing is missing in every kind of column."""
    df = pd.DataFrame({"a": column, "b": ["y", "z"]})
    df.llm.complete(prompt="{a} {b}", into="c")
    assert llm.ledger.requests == 1
    assert llmframe.last_run().skipped == {"a": 1}
    assert df["c"].isna().tolist() == [False, True]


def test_rows_that_are_not_sent_are_counted_by_column_in_the_closing_line(llm, capsys):
    """Rows that are not sent are counted by column in the closing line."""
    df = pd.DataFrame({"a": ["x", None, " ", "y", "z"], "b": ["1", "2", "3", None, "5"]})
    df.llm.complete("a", "{a} {b}", progress=True)
    assert llmframe.last_run().skipped == {"a": 2, "b": 1}
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "answered" in line]
    assert "2 of 5 rows answered (not sent: a missing or blank in 2, b missing or blank in 1)" in line


def test_rows_outside_where_are_not_counted_as_skipped(llm):
    """Rows outside `where` are not counted as skipped."""
    df = pd.DataFrame({"a": ["x", None, "y"]})
    df.llm.complete("a", where=[True, False, True])
    run = llmframe.last_run()
    assert (run.rows, run.skipped, run.answered) == (2, {}, 2)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["x", "y", "", " ", None, float("nan"), pd.NA, pd.NaT]),
            st.sampled_from(["p", "q", None, pd.NA]),
            st.booleans(),
        ),
        max_size=12,
    )
)
def test_every_row_is_asked_skipped_or_left_out_and_counted_once(rows):
    """Every row is asked, skipped or left out, and counted once."""
    frame = pd.DataFrame(rows, columns=["a", "b", "asked"], dtype=object)
    plan = plan_of(frame, "a", "{b}: {a}", where=frame["asked"].astype(bool).to_numpy())
    expected, skipped = [], Counter()
    for a, b, asked in rows:
        if asked and pd.isna(a):
            skipped["a"] += 1
        elif asked and pd.isna(b):
            skipped["b"] += 1
        elif asked and not a.strip():
            skipped["a"] += 1
        expected.append(f"{b}: {a}" if asked and not pd.isna(a) and not pd.isna(b) and a.strip() else None)
    sent = [body["messages"][0]["content"] for body in bodies(plan)]
    assert [None if code < 0 else sent[code] for code in plan.codes] == expected
    assert plan.skipped == skipped
    assert len(set(sent)) == len(sent)
    for position, (text, (*_, asked)) in enumerate(zip(expected, rows, strict=True)):
        assert (plan.skipped_for(position) is not None) == (asked and text is None)


HOSTILE = {
    "dict": {"role": "user"},
    "bytes": b"text",
    "bytearray": bytearray(b"text"),
    "lone surrogate": "a\ud800b",
    "nan in messages": [{"role": "user", "content": float("nan")}],
    "infinity in messages": [{"role": "user", "content": [{"type": "text", "x": float("inf")}]}],
    "date in messages": [{"role": "user", "content": dt.date(2024, 1, 1)}],
    "numpy date in messages": [{"role": "user", "content": np.datetime64("2024-01-01", "ns")}],
    "bytes in messages": [{"role": "user", "content": b"x"}],
    "surrogate in messages": [{"role": "user", "content": "\udfff"}],
    "number as key": [{"role": "user", 5: "x"}],
    "a huge number": [{"role": "user", "content": 10**30}],
    "no role": [{"content": "x"}],
    "an empty list": [],
    "a list of texts": ["a", "b"],
    "an array of numbers": np.array([1.0, 2.0]),
    "an array without shape": np.array(5),
    "a square array": np.array([[{"role": "user"}]], dtype=object),
    "a list in a list": [[{"role": "user", "content": "x"}]],
    "half messages": [{"role": "user", "content": "x"}, "y"],
}


def _endless():
    message = {"role": "user"}
    message["content"] = [message]
    return [message]


HOSTILE["endless"] = _endless()


@pytest.mark.parametrize("what", HOSTILE)
def test_one_hostile_cell_is_refused_alone(what):
    """One hostile cell is refused alone."""
    df = pd.DataFrame({"a": pd.Series(["before", HOSTILE[what], "after"], dtype=object)})
    plan = plan_of(df, "a")
    assert plan.codes.tolist() == [0, -1, 1]
    assert plan.refused[1].code == "invalid_prompt"


def test_hostile_cells_cost_the_others_nothing(llm):
    """Hostile cells cost the others nothing."""
    df = pd.DataFrame({"a": pd.Series(["before", *HOSTILE.values(), "after"], dtype=object)})
    with pytest.warns(llmframe.CompletionWarning, match=f"{len(HOSTILE)} × invalid_prompt"):  # noqa: RUF001
        df.llm.complete("a", errors="coerce", error_into="why")
    assert df["a_completion"].notna().tolist() == [True, *[False] * len(HOSTILE), True]
    assert df["why"].str.startswith("invalid_prompt: ").sum() == len(HOSTILE)
    assert llm.ledger.requests == 2


@pytest.mark.parametrize("what", [b"x", bytearray(b"x"), memoryview(b"x")])
def test_bytes_are_never_put_into_a_template(what):
    """Bytes are never put into a template."""
    plan = plan_of(pd.DataFrame({"a": [what]}, dtype=object), None, "{a}")
    assert plan.refused[0].message.endswith("bytes are no text; decode them first")


@pytest.mark.parametrize("text", ["a" * 2**20, "\x00\x01\x1f\x7f", "\u2028\ufeff\U0010ffff", "\\\"'\r\n"])
def test_strange_texts_arrive_as_they_are(text, llm):
    """Strange texts arrive as they are."""
    df = pd.DataFrame({"a": [text]})
    df.llm.complete("a")
    assert [body["messages"][0]["content"] for body in llm.ledger.bodies] == [text]


@pytest.mark.parametrize("kind", [list, tuple, lambda turns: np.array(turns, dtype=object)])
def test_message_arrays_may_be_lists_tuples_and_arrays(kind, llm):
    """Message arrays may be lists, tuples and arrays."""
    cells = pd.Series([kind(TURNS), kind(IMAGE), "Hi"], dtype=object)
    pd.DataFrame({"m": cells}).llm.complete("m", max_concurrency=1)
    assert [body["messages"] for body in llm.ledger.bodies] == [
        TURNS,
        IMAGE,
        [{"role": "user", "content": "Hi"}],
    ]


def test_numbers_in_messages_may_be_numpys(llm):
    """Numbers in messages and parameters may be NumPy's."""
    message = {"role": "user", "content": [{"type": "text", "text": np.str_("x")}]}
    df = pd.DataFrame({"m": [[message]]})
    df.llm.complete("m", temperature=np.float64(0.5), max_completion_tokens=np.int64(50), into="y")
    (body,) = llm.ledger.bodies
    assert (body["temperature"], body["max_completion_tokens"]) == (0.5, 50)


def test_requests_are_what_was_planned_though_cells_change_meanwhile(server):
    """Requests are what was planned though cells change meanwhile."""
    llmframe.options.base_url, llmframe.options.api_key = server.base_url, "any"
    message = {"role": "user", "content": "as planned"}
    df = pd.DataFrame({"m": [[message]]})
    plan = plan_of(df, "m")
    message["content"] = "changed"
    assert [body["messages"] for body in bodies(plan)] == [[{"role": "user", "content": "as planned"}]]


def test_a_plan_notices_that_its_inputs_have_changed():
    """A plan notices that its inputs have changed."""
    df = pd.DataFrame({"a": ["x", "y"], "other": [1, 2]})
    plan = plan_of(df, "a", "Say")
    assert plan.same_inputs({"a": df["a"]})
    assert plan.same_inputs({"a": df["a"].astype(object)}), "another dtype asks the same"
    df["other"] = [5, 6]
    assert plan.same_inputs({"a": df["a"]})
    df.loc[1, "a"] = "z"
    assert not plan.same_inputs({"a": df["a"]})
    assert not plan.same_inputs({"a": df["a"].head(1)})


def test_a_series_is_planned_as_its_frame():
    """A series is planned as its frame."""
    cells = pd.Series(["x", "y"], name="a")
    settings = {"model": "m", "mode": "offline"}
    of_series = SeriesCompletion(cells, "Say {a}", None, settings).run._plan
    assert of_series.keys == plan_of(cells.to_frame(), "a", "Say {a}", **settings).keys


def test_planning_many_rows_keeps_their_order_across_chunks():
    """Planning many rows keeps their order across chunks."""
    chance = random.Random(5)
    texts = [f"text {chance.randrange(6000)}" for _ in range(10_000)]
    plan = plan_of(pd.DataFrame({"a": texts}), "a")
    distinct = list(dict.fromkeys(texts))
    assert [body["messages"][0]["content"] for body in bodies(plan)] == distinct
    assert [distinct[code] for code in plan.codes] == texts


def test_planning_from_a_running_loop_needs_no_loop():
    """Planning from a running loop needs no loop."""

    async def inside():
        return key()

    assert asyncio.run(inside()) == key()
