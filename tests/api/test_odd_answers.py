"""Odd bodies of answers and errors, as runs see them."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import openai
import pytest
from api.wire import GOOD, http
from helpers import asked

import llmframe

ODD = {
    "refusal": b'{"choices":[{"message":{"content":null,"refusal":"No \\ud83d"},"finish_reason":"stop"}]}',
    "content": b'{"choices":[{"message":{"content":"Yes \\ud83d\\ude00 \\ud83d"},"finish_reason":"stop"}]}',
    "model": GOOD.replace(b'"usage"', b'"model":"m\\ud83d","usage"'),
    "tier": GOOD.replace(b'"usage"', b'"service_tier":"t\\udc00","usage"'),
    "more tokens than SQLite counts": GOOD.replace(b":1,", b":%d," % 2**63),
    "more tokens than JSON counts": GOOD.replace(b":1,", b":1" + b"0" * 400 + b","),
    "a surrogate and very many tokens": GOOD.replace(b":1,", b":1" + b"0" * 400 + b',"x":"\\ud83d",'),
    "no end of tokens": GOOD.replace(b'"usage":{', b'"usage":{"total_tokens":1' + b"0" * 310 + b","),
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::llmframe.CompletionWarning")
@pytest.mark.parametrize("reply", ODD.values(), ids=ODD)
@pytest.mark.parametrize("ours", [True, False], ids=["our client", "the user's"])
def test_an_answer_with_odd_text_or_numbers_costs_no_other_its_place(wire, tmp_path, reply, ours):
    """Half of a surrogate pair and numbers beyond all bounds: the journal keeps the answer, and reads it back."""
    wire.reply = http(reply)
    account = {"base_url": f"{wire.url}/v1", "api_key": "any"}
    if not ours:
        account = {"client": openai.OpenAI(**account)}
    journal = tmp_path / "j.sqlite"
    frame = asked(3)
    for _ in range(2):
        frame.llm.complete(
            "q",
            into="a",
            error_into="why",
            errors="coerce",
            model="m",
            journal=journal,
            overwrite=True,
            **account,
        )
        assert llmframe.last_run().status == "done"
        said = frame["a"].fillna(frame["why"]).tolist()
        assert said == said[:1] * 3
        assert said[0] in {"refusal: the model refused: No \ufffd", "Yes \U0001f600 \ufffd", "Yes."}
        assert llmframe.last_run().tokens.total < 100
    assert len(wire.seen) == 3
    frame.llm.to_csv(tmp_path / "out.csv")
    exported = subprocess.run(
        [sys.executable, "-m", "llmframe", "journal", "export", tmp_path / "out.jsonl"],
        env={**os.environ, "LLMFRAME_JOURNAL": str(journal)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert exported.returncode == 0, exported.stderr
    assert len((tmp_path / "out.jsonl").read_bytes().splitlines()) == 3


@pytest.mark.parametrize(
    ("reply", "code", "words"),
    [
        (http(b"<html>Please log in</html>", media="text/html"), "unexpected_endpoint", "a web page"),
        (http(b"[1, 2]"), "unexpected_endpoint", "1; 2"),
        (http(b'{"ok": true}'), "unexpected_endpoint", "not as the API does"),
        (http(b'{"id": "chatcm'), "unparsable_answer", "not a JSON object"),
        (http(b'{"object": "chat.completion"}'), "unparsable_answer", "incomplete"),
        (
            http(b'{"error": {"message": "Slow down", "code": 503}}'),
            "http_503",
            "Slow down",
        ),
        (
            http(b"<html>\n<h1>502 Bad Gateway</h1>\n</html>", "502 Bad Gateway", media="text/html"),
            "http_502",
            r"HTTP 502 \(Bad Gateway\)",
        ),
        (http(b"oops", "500 Internal Server Error", media="text/plain"), "http_500", "."),
    ],
)
def test_odd_replies_fail_their_row_with_words(wire, reply, code, words):
    """Web pages, bare lists and errors with status 200 become a row's reason, without markup."""
    wire.reply = reply
    settings = {"base_url": f"{wire.url}/v1", "api_key": "any", "model": "m", "max_retries": 0}
    with pytest.raises(llmframe.CompletionError) as error:
        asked(1).llm.complete("q", into="a", **settings)
    (failure,) = error.value.run.failures.itertuples()
    assert failure.code == code
    assert re.search(words, failure.message)
    assert "<" not in failure.message


ODD_HEADERS = {
    "no numbers": [b"nan", b"inf", b"-inf"],
    "beyond all bounds": [b"1e400", b"9" * 5_000, b"1" + b"0" * 400],
    "negative": [b"-1", b"-1", b"-1"],
    "not latin-1": [b"\xff\xfe", b"\x80", "\uff16\uff10".encode()],
    "empty": [b"", b"", b""],
    "lists": [b"60, 60", b"[59]", b"1s;w=60"],
    "more left than there is": [b"60", b"9000", b"1s"],
    "years": [b"60000", b"59000", b"99999d"],
}


@pytest.mark.slow
@pytest.mark.parametrize("values", ODD_HEADERS.values(), ids=ODD_HEADERS)
@pytest.mark.parametrize("ours", [True, False], ids=["our client", "the user's"])
def test_odd_headers_cost_no_row(wire, values, ours):
    """Limits and waits that cannot be right are absent: at answers and at refusals, also when they are sent twice."""
    limits = b"".join(
        b"x-ratelimit-%s-%s: %s\r\n" % (name, unit, value)
        for unit in (b"requests", b"tokens")
        for name, value in zip((b"limit", b"remaining", b"reset"), values, strict=True)
    )
    waits = (
        b"retry-after: %s\r\nretry-after-ms: %s\r\n" % (values[0], values[1])
        if values[0] not in {b"60", b"60000"}
        else b""
    )
    odd = (limits + waits) * 2
    replies = iter([http(b"{}", "429 Too Many Requests"), http(b"{}", "503 Unavailable"), *[http()] * 8])
    wire.reply = lambda _: next(replies).replace(b"content-type", odd + b"content-type", 1)
    account = {"base_url": f"{wire.url}/v1", "api_key": "any"}
    if not ours:
        account = {"client": openai.OpenAI(**account)}
    frame = asked(6)
    frame.llm.complete("q", into="a", model="m", journal=False, **account)
    assert frame["a"].tolist() == ["Yes."] * 6
    assert len(wire.seen) == 8
