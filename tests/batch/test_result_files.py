"""Result files with odd, broken, doubled and missing lines: each costs its own row at most."""

from __future__ import annotations

import json

import orjson
import pytest
from batch.calls import DAY, complete, interrupt, rewritten, right, start, use_empty_journal
from helpers import about, answer, asked

import llmframe
from llmframe._api import CHAT_COMPLETIONS
from llmframe._batch.lines import read_result
from llmframe._values import FaultKind
from llmframe.testing import Batches, Fault, Reply

KEY = "0" * 32
BODY = {"choices": [{"message": {"content": "yes"}, "finish_reason": "stop"}]}
ANSWER = {"status_code": 200, "body": BODY}


def read(**members):
    return read_result(orjson.dumps({"custom_id": KEY, **members}), CHAT_COMPLETIONS)


@pytest.mark.parametrize(
    "members",
    [
        {"response": ANSWER},
        {"response": ANSWER | {"status_code": "200"}},
        {"response": ANSWER | {"status_code": 200.0}},
        {"response": ANSWER | {"status_code": 201}},
        {"response": ANSWER | {"status_code": None}},
        {"response": ANSWER | {"status_code": 0}},
        {"response": ANSWER | {"body": json.dumps(BODY)}},
        {"response": json.dumps(ANSWER)},
        {"response": ANSWER, "error": {}},
        {"response": ANSWER, "error": ""},
        {"response": ANSWER, "error": {"code": None, "message": None}},
    ],
)
def test_an_answer_is_read_in_any_form(members):
    result = read(**members)
    assert result.fault is None
    assert result.body == BODY


WORDS = {"code": "server_error", "message": "boom"}


@pytest.mark.parametrize(
    ("members", "kind", "code"),
    [
        ({"response": {"status_code": 0, "body": ""}}, "passing", "no_answer"),
        ({"response": {"status_code": 0, "body": {}}}, "passing", "no_answer"),
        ({"response": {"status_code": None, "body": None}}, "passing", "no_answer"),
        ({"response": None, "error": None}, "passing", "no_answer"),
        ({}, "passing", "no_answer"),
        ({"response": {"status_code": 200, "body": None}}, "passing", "unparsable_answer"),
        ({"response": {"status_code": 200, "body": "a page"}}, "passing", "unparsable_answer"),
        ({"response": {"status_code": 200, "body": {"error": WORDS}}}, "passing", "server_error"),
        ({"response": None, "error": WORDS}, "passing", "server_error"),
        ({"response": {}, "error": WORDS}, "passing", "server_error"),
        ({"response": {"status_code": 0, "body": ""}, "error": "boom"}, "passing", "no_answer"),
        ({"response": {"status_code": "500", "body": ""}}, "passing", "http_500"),
        ({"response": {"status_code": 500, "body": None}, "error": WORDS}, "passing", "server_error"),
        ({"response": {"status_code": "429", "body": ""}}, "limit", "http_429"),
        ({"response": None, "error": {"code": "rate_limit_exceeded", "message": "slow"}}, "limit", "rate_limit_exceeded"),
        ({"response": None, "error": {"code": 429, "message": "slow"}}, "limit", "http_429"),
        ({"response": None, "error": {"code": "429", "message": "slow"}}, "limit", "http_429"),
        ({"error": {"code": "insufficient_quota", "message": "broke"}}, "fatal", "insufficient_quota"),
        ({"response": {"status_code": 400, "body": json.dumps({"error": {"code": "context_length_exceeded"}})}}, "row", "context_length_exceeded"),
    ],
)  # fmt: skip
def test_a_line_without_an_answer_says_why(members, kind, code):
    """Its kind is decided by the status, the error in its body, or the one beside it, whichever there is."""
    fault = read(**members).fault
    assert (fault.kind, fault.code) == (FaultKind(kind), code)
    words = json.dumps(members)
    assert not ("boom" in words or "slow" in words) or fault.message in {"boom", "slow"}


def _number(line):
    """Return the number of the row that a good line answers."""
    text = line["response"]["body"]["choices"][0]["message"]["content"]
    return next(number for number, each in enumerate(asked(6)["q"]) if answer(each) == text)


def _change(*numbers):
    """Return an edit that replaces the lines of these rows by what a function of a line returns."""

    def by(edit):
        def lines(all_lines):
            return [new for line in all_lines for new in (edit(line) if _number(line) in numbers else [line])]

        return lines

    return by


FIRST = _change(0, 3)
ODD_ONCE = {
    "left out": lambda _: [],
    "broken": lambda line: [json.dumps(line).encode()[:-30] + b"\n"],
    "no JSON": lambda _: [b"upstream error\n"],
    "a list": lambda _: [[1, 2]],
    "a number": lambda _: [7],
    "no custom_id": lambda line: [{key: value for key, value in line.items() if key != "custom_id"}],
    "null custom_id": lambda line: [line | {"custom_id": None}],
    "another's custom_id": lambda line: [line | {"custom_id": "row-1"}],
    "status 0": lambda line: [line | {"response": {"status_code": 0, "body": ""}}],
    "no body": lambda line: [line | {"response": {"status_code": 200, "body": None}}],
    "no response": lambda line: [line | {"response": None, "error": {"code": "batch_expired", "message": "x"}}],
}  # fmt: skip


@pytest.mark.parametrize("form", ODD_ONCE)
@pytest.mark.parametrize("journal", ["kept", "emptied"])
def test_a_line_that_cannot_be_used_costs_its_row_alone(form, journal, llm, tmp_path):
    """That row is submitted again; the others are not, also on a new machine after an interrupt."""
    llm.batches = Batches(seconds=DAY)
    frame = asked(6)
    interrupt(start(frame))
    llm.advance(2 * DAY)
    files = []

    def write(content, downloads):
        files.append(content)
        return (
            rewritten(FIRST(ODD_ONCE[form])).write_file(content, downloads)
            if content == files[0]
            else content
        )

    llm.batches = Batches(write_file=write)
    if journal == "emptied":
        use_empty_journal(tmp_path)
    complete(frame)
    assert right(frame)
    assert llm.ledger.batches_created == 2
    assert llm.ledger.billed == 6 + 2
    assert max(llm.ledger.billed_by_request.values()) == 2


def _twice(bad, *, good_first):
    return lambda line: [line, line | bad] if good_first else [line | bad, line]


BAD = {
    "status 0": {"response": {"status_code": 0, "body": ""}},
    "limit": {"response": {"status_code": 429, "body": {"error": {"message": "slow down"}}}},
    "refused": {"response": {"status_code": 400, "body": {"error": {"message": "too long"}}}},
    "expired": {"response": None, "error": {"code": "batch_expired", "message": "x"}},
    "empty": {"response": {"status_code": 200, "body": {"choices": []}}},
    "refusal": {
        "response": {
            "status_code": 200,
            "body": {"choices": [{"message": {"content": None, "refusal": "no"}, "finish_reason": "stop"}]},
        }
    },
}


@pytest.mark.parametrize("good_first", [True, False], ids=["the first", "the second"])
@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("way", ["complete", "collect"])
def test_of_two_lines_of_one_row_the_good_one_counts(bad, good_first, way, llm):
    """Whichever comes first; nothing is submitted again."""
    edit = _change(*range(6))(_twice(BAD[bad], good_first=good_first))
    llm.batches = Batches(seconds=0 if way == "complete" else DAY, write_file=rewritten(edit).write_file)
    frame = asked(6)
    if way == "collect":
        interrupt(start(frame))
        llm.advance(2 * DAY)
        llmframe.collect()
    complete(frame)
    assert right(frame)
    assert (llm.ledger.batches_created, llm.ledger.billed) == (1, 6)


def test_the_good_line_counts_whichever_file_it_is_in(llm):
    """The output file has a fault for a row, and the error file its answer."""
    good = []

    def swap(lines):
        answers = [line for line in lines if line["response"]["status_code"] == 200]
        if answers:
            good.extend(answers[:2])
            return [answers[0] | BAD["expired"], answers[1] | BAD["refused"], *answers[2:]]
        return [*lines, *good]

    llm.batches = rewritten(swap)
    llm.faults = [Fault("context_length_exceeded", when=about(5))]
    frame = asked(6)
    with pytest.raises(llmframe.CompletionError, match="1 × context_length_exceeded"):  # noqa: RUF001
        complete(frame)
    assert right(frame.drop(5))
    assert llm.ledger.batches_created == 1


def test_of_two_faults_a_line_of_a_row_has_one_reason(llm):
    llm.faults = [Fault("context_length_exceeded", when=about(2))]
    llm.batches = rewritten(lambda lines: [*lines, *lines])
    with pytest.raises(llmframe.CompletionError, match="1 × context_length_exceeded"):  # noqa: RUF001
        complete(asked(4))
    assert llmframe.last_run().answered == 3
    assert llm.ledger.batches_created == 1


@pytest.mark.parametrize("counted", [True, False], ids=["counted", "not counted"])
@pytest.mark.parametrize("cut", [-20, -1_500])
def test_a_file_that_is_cut_off_is_downloaded_again(counted, cut, llm):
    """A download may end early without an error of the connection, and within a line."""
    llm.batches = Batches(
        write_file=lambda content, downloads: content[:cut] if downloads < 3 else content,
        write_batch=None if counted else lambda batch, _: batch | {"request_counts": None},
    )
    frame = asked(6)
    complete(frame)
    assert right(frame)
    assert (llm.ledger.batches_created, llm.ledger.billed) == (1, 6)


@pytest.mark.parametrize("counted", [True, False], ids=["counted", "not counted"])
def test_a_file_that_stays_cut_off_is_not_paid_again(counted, llm):
    """The run stops, and goes on when the file is whole."""
    uncounted = None if counted else lambda batch, _: batch | {"request_counts": None}
    llm.batches = Batches(write_file=lambda content, _: content[:-1_500], write_batch=uncounted)
    frame = asked(6)
    with pytest.raises(llmframe.StoppedError, match="not whole"):
        complete(frame)
    llm.batches = Batches(write_batch=uncounted)
    complete(frame)
    assert right(frame)
    assert (llm.ledger.batches_created, llm.ledger.billed) == (1, 6)


def test_a_last_line_without_its_newline_is_a_line(llm):
    llm.batches = Batches(write_file=lambda content, _: content.rstrip(b"\n"))
    frame = asked(3)
    complete(frame)
    assert right(frame)
    assert llm.ledger.downloads == 1


@pytest.mark.parametrize(
    "content",
    [b"", b"<html>\n<body>Bad gateway</body>\n</html>\n" * 3, b"{}\n" * 6],
    ids=["empty", "a page", "no ids"],
)
def test_a_file_that_tells_of_no_row_is_not_taken_for_its_answers(content, llm):
    """What the batch says that it has answered is paid: nothing is submitted again until the file can be read."""
    llm.batches = Batches(write_file=lambda whole, downloads: content if downloads < 4 else whole)
    frame = asked(6)
    complete(frame)
    assert right(frame)
    llm.batches = Batches(write_file=lambda *_: content)
    other = asked(6, 12)
    with pytest.raises(llmframe.StoppedError, match="not whole"):
        complete(other)
    llm.batches = Batches()
    complete(other)
    assert right(other)
    assert (llm.ledger.batches_created, llm.ledger.billed) == (2, 12)


def test_lines_that_come_later_are_waited_for(llm):
    """The file grows for a while after the batch has ended."""
    llm.batches = Batches(
        write_file=lambda content, downloads: b"".join(content.splitlines(keepends=True)[:downloads])
    )
    frame = asked(6)
    complete(frame)
    assert right(frame)
    assert (llm.ledger.batches_created, llm.ledger.billed) == (1, 6)


def test_usage_that_makes_no_sense_costs_no_row(llm):
    """More tokens were cached than the prompt has."""

    def boast(lines):
        for line in lines:
            if _number(line) == 1:
                usage = line["response"]["body"]["usage"]
                usage |= {"prompt_tokens": 40_000, "prompt_tokens_details": {"cached_tokens": 41_000}}
        return lines

    llm.batches = rewritten(boast)
    frame = asked(6)
    complete(frame)
    assert right(frame)
    assert complete(frame, overwrite=True).sent == 0
    assert llm.ledger.billed == 6


def test_an_interrupt_between_two_unknown_endings_costs_no_third_answer(llm):
    """The first answer came in the batch of an earlier run."""
    llm.faults = [Fault(Reply(choice={"finish_reason": "weird"}), when=about(2))]
    llm.batches = Batches(seconds=DAY)
    frame = asked(4)
    interrupt(start(frame))
    llm.advance(2 * DAY)
    llm.batches = Batches()
    with pytest.raises(llmframe.CompletionError, match="1 × finish_reason"):  # noqa: RUF001
        complete(frame)
    assert llm.ledger.billed == 4 + 1
