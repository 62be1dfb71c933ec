"""Answers word for word: the replies of the local server, live and in the lines of batches."""

from __future__ import annotations

import math
import time

import pytest
from testing.batch_client import ran, rows
from testing.client import ask, call, content_of, send, statuses

from llmframe.testing import Fault, Reply, made_up_answer

FLAGGED = {"error": {"message": "Your input was flagged.", "code": 403}}


def test_a_reply_has_any_status_and_body(server):
    """JSON of any form is sent as it is; a refusal is not billed."""
    for status, body in (
        (403, FLAGGED),
        (422, {"detail": [{"msg": "too long"}]}),
        (400, [FLAGGED]),
        (429, 7),
    ):
        server.faults = [Fault(Reply(status, body))]
        assert call(server, ask())[:2] == (status, body)
    assert (server.ledger.billed, server.ledger.answered) == (0, 0)


@pytest.mark.parametrize(
    ("body", "kind"),
    [("Too Many Requests", "text/plain"), ("<html>…</html>", "text/html"), ("", "text/plain")],
)
def test_a_text_is_sent_as_text_and_a_page_as_a_page(server, body, kind):
    server.faults = [Fault(Reply(429, body))]
    _, answer, headers = call(server, ask())
    assert (answer.decode(), headers["content-type"]) == (body, kind)


def test_a_reply_without_a_body_has_the_apis_own(server):
    """From 300 on it is an error's; below, the completion that the server would have made."""
    server.faults = [Fault(Reply(), first=1), Fault(Reply(529))]
    assert content_of(call(server, ask())[1]) == made_up_answer(ask())
    status, answer, _ = call(server, ask())
    assert (status, answer["error"]["message"]) == (529, "Overloaded")


def test_a_reply_changes_members_of_a_completion(server):
    """Message, choice and body have their own; `...` leaves a member out, and the rest stays."""
    server.faults = [
        Fault(
            Reply(
                message={"content": [{"type": "text", "text": "Half"}], "reasoning": "Hm."},
                choice={"finish_reason": "error", "logprobs": ...},
                completion={"usage": None, "error": {"message": "overloaded"}, "system_fingerprint": ...},
            )
        )
    ]
    _, answer, _ = call(server, ask())
    (choice,) = answer["choices"]
    assert choice["message"]["content"] == [{"type": "text", "text": "Half"}]
    assert (choice["message"]["reasoning"], choice["message"]["role"]) == ("Hm.", "assistant")
    assert (choice["finish_reason"], "logprobs" in choice) == ("error", False)
    assert (answer["usage"], answer["error"]) == (None, {"message": "overloaded"})
    assert "system_fingerprint" not in answer
    assert answer["object"] == "chat.completion"


def test_what_has_choices_is_billed_unless_told_otherwise(server):
    """Half an answer is paid; an error with status 200 is not."""
    half = {"choices": [{"message": {"content": "Half"}}]}
    bills = [
        (Reply(choice={"finish_reason": "error"}), 1),
        (Reply(200, half), 1),
        (Reply(200, {"error": "Unexpected endpoint"}), 0),
        (Reply(choice={"finish_reason": "error"}, billed=False), 0),
        (Reply(502, "<html>", billed=True), 1),
    ]
    for reply, billed in bills:
        server.reset()
        server.faults = [Fault(reply)]
        call(server, ask())
        assert server.ledger.billed == billed


def test_headers_of_a_reply_replace_the_servers(server):
    """They are compared without case; the wait of the fault is stated like that of other errors."""
    spent = Reply(
        429, {"error": "Quota of the day"}, headers={"Retry-After": "28800", "X-Request-Id": "mine"}
    )
    server.faults = [Fault(spent)]
    _, _, headers = call(server, ask())
    assert (headers["retry-after"], headers["x-request-id"]) == ("28800", "mine")
    server.faults = [Fault(Reply(429, ""), seconds=3)]
    assert call(server, ask())[2]["retry-after"] == "3"


def test_a_reply_can_be_late(server):
    """The delay comes on top of the server's latency."""
    server.faults = [Fault(Reply(delay=0.2))]
    began = time.monotonic()
    call(server, ask())
    assert time.monotonic() - began >= 0.2


def test_numbers_that_no_strict_json_holds_are_sent(server):
    """NaN and integers of more than 64 bits arrive as they are written."""
    server.faults = [
        Fault(Reply(completion={"usage": {"prompt_tokens": math.nan, "completion_tokens": 10**30}}))
    ]
    usage = call(server, ask())[1]["usage"]
    assert math.isnan(usage["prompt_tokens"])
    assert usage["completion_tokens"] == 10**30


def test_replies_follow_each_other_for_one_request(server):
    """The first that is not used up is sent: a limit, an error, an answer."""
    server.faults = [Fault(Reply(429), times_per_request=1), Fault(Reply(500), times_per_request=2)]
    assert statuses(server, [ask()] * 4) == [429, 500, 500, 200]


def test_a_text_chooses_the_requests_that_contain_it(server):
    """Every message is looked at, and parts of one too."""
    server.faults = [Fault(Reply(403), when="flagged")]
    parts = ask() | {
        "messages": [{"role": "user", "content": [{"type": "text", "text": "flagged"}]}, *ask()["messages"]]
    }
    assert statuses(server, [ask("good"), ask("a flagged one"), parts]) == [200, 403, 403]


def test_a_reply_can_be_that_of_another_endpoint(server):
    """With a path it answers requests to files, batches and models."""
    server.faults = [Fault(Reply(200, {"object": "list", "data": None}), path="/v1/models")]
    assert send(server, "/models", method="GET")[:2] == (200, {"object": "list", "data": None})


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Reply(99), "between 200 and 599"),
        (lambda: Reply(delay=-1), "delay"),
        (lambda: Reply(400, choice={"finish_reason": "stop"}), "leave out the body and the status"),
        (lambda: Reply(200, {}, message={"content": ""}), "leave out the body and the status"),
        (lambda: Fault(Reply(), path="/v1/files"), "leave the path out"),
        (lambda: Fault("500", path="/v1/files", when="text"), "pass a function"),
    ],
)
def test_a_reply_that_makes_no_sense_is_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


@pytest.mark.asyncio
async def test_replies_are_lines_of_a_batch(server, api):
    """An error is in the error file and not billed, a changed completion in the output file and billed."""
    server.faults = [
        Fault(Reply(403, FLAGGED), when="Row 0"),
        Fault(Reply(choice={"finish_reason": "error"}), when="Row 1"),
        Fault(Reply(429, "Too Many\nRequests"), when="Row 2"),
        Fault(Reply(200, b'{\n"error":\n"no"}'), when="Row 3"),
        Fault(Reply(500, ""), when="Row 4"),
    ]
    batch, output, errors = await ran(api, rows(6))
    said = {name: line["response"] for name, line in (output | errors).items()}
    assert (said["row-0"]["status_code"], said["row-0"]["body"]) == (403, FLAGGED)
    assert said["row-1"]["body"]["choices"][0]["finish_reason"] == "error"
    assert (said["row-2"]["status_code"], said["row-2"]["body"]) == (429, "Too Many\nRequests")
    assert (said["row-3"]["status_code"], said["row-3"]["body"]) == (200, {"error": "no"})
    assert (said["row-4"]["status_code"], said["row-4"]["body"]) == (500, "")
    assert output.keys() == {"row-1", "row-3", "row-5"}
    assert (server.ledger.billed, batch.usage.total_tokens) == (2, server.ledger.tokens)
