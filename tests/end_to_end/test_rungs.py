"""A server that does not hold to a schema is found out, and asked in the best way that it holds to; live, and once."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
from collections import Counter
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from end_to_end.scripts import ended, start_script
from end_to_end.scripts import kept as answers_in
from helpers import wait_until

import llmframe
from llmframe._journal import open_journal
from llmframe.testing import Fault, LocalServer, Reply, request_digest

if TYPE_CHECKING:
    from collections.abc import Callable

FORMS = ["json_schema", "json_object", "prompt"]
PROSE = "It says five, I think."


def form_of(body: dict[str, Any]) -> str:
    return str((body.get("response_format") or {}).get("type", "prompt"))


def frame(rows: int) -> pd.DataFrame:
    return pd.DataFrame({"review": [f"Review {number}" for number in range(rows)]})


def paid(server: LocalServer) -> Counter[str]:
    """Count the billed answers by the form that they were asked for in."""
    forms = {request_digest(body): form_of(body) for body in server.ledger.bodies}
    counts = Counter[str]()
    for digest, count in server.ledger.billed_by_request.items():
        counts[forms[digest]] += count
    return counts


def holding_to(*forms: str) -> Callable[[dict[str, Any]], str]:
    """Return the answers of a server that ignores all other forms, as if nothing had been asked."""
    return lambda body: json.dumps({"n": 5}) if form_of(body) in forms else PROSE


def refusing(*forms: str, message: str | None = None, after: int = 0, **more: Any) -> Fault:
    words = message or "This response_format type is unavailable now"
    error = {"message": words, "type": "invalid_request_error", **more}
    return Fault(Reply(400, {"error": error}), when=lambda body: form_of(body) in forms, after=after)


def extracted(rows: int, **arguments: Any) -> pd.DataFrame:
    df = frame(rows)
    df.llm.extract("review", {"n": int}, **arguments)
    return df


def kept(server: LocalServer) -> str | None:
    async def look() -> str | None:
        async with open_journal(journal_file()) as journal:
            return await journal.kept_rung(server.base_url, "gpt-6-luna")

    return asyncio.run(look())


def journal_file() -> Path:
    return Path(os.environ["LLMFRAME_JOURNAL"])


@pytest.fixture(autouse=True)
def _quick_batches(swift: None) -> None:
    """Look after batches every few milliseconds."""


@pytest.mark.parametrize("rows", [3, 100])
@pytest.mark.parametrize("form", FORMS)
def test_every_row_is_asked_in_the_best_way_that_the_server_holds_to(
    llm: LocalServer, capsys: pytest.CaptureFixture[str], form: str, rows: int
) -> None:
    """At most 20 answers are paid in each way that is left; one line tells of each."""
    llm.answer = holding_to(form)
    df = extracted(rows, progress=True)
    assert df["n"].tolist() == [5] * rows
    left = FORMS[: FORMS.index(form)]
    assert paid(llm) == {**dict.fromkeys(left, min(rows, 20)), form: rows}
    run = llmframe.last_run()
    assert (run.answered, run.failed, run.sent) == (rows, 0, paid(llm).total())
    said = capsys.readouterr().err
    assert [name for name in FORMS if f"does not hold to {name};" in said] == left
    assert said.count("does not hold") == len(left)
    assert kept(llm) == form


@pytest.mark.parametrize("rows", [3, 100])
@pytest.mark.parametrize("refused", [FORMS[:1], FORMS[:2]])
def test_a_server_that_refuses_a_form_is_asked_in_another_way(
    llm: LocalServer, capsys: pytest.CaptureFixture[str], refused: list[str], rows: int
) -> None:
    """That is free, and costs few requests."""
    llm.faults = [refusing(*refused)]
    llm.answer = holding_to(*FORMS)
    assert extracted(rows, progress=True)["n"].tolist() == [5] * rows
    assert paid(llm) == {FORMS[len(refused)]: rows}
    assert llm.ledger.requests - rows <= 25 * len(refused)
    said = capsys.readouterr().err
    assert [name for name in FORMS if f"refuses {name};" in said] == refused
    extracted(2 * rows)
    assert paid(llm) == {FORMS[len(refused)]: 2 * rows}


WORDINGS = [
    (400, {"error": {"message": "This response_format type is unavailable now", "code": "invalid_request_error"}}),
    (400, {"error": {"message": "This model does not support response format `json_schema`. See supported models at https://console.groq.com/docs/structured-outputs#supported-models", "type": "invalid_request_error"}}),
    (400, {"error": "'response_format.type' must be 'json_object' or 'text'"}),
    (400, {"object": "error", "message": "The provided JSON schema contains features not supported by xgrammar.", "type": "BadRequestError", "param": None, "code": 400}),
    (400, {"error": {"code": 400, "message": "Failed to initialize samplers: failed to parse grammar", "type": "invalid_request_error"}}),
    (500, {"error": {"code": 500, "message": "failed to parse grammar", "type": "server_error"}}),
    (400, [{"error": {"code": 400, "message": "Invalid JSON payload received. Unknown name \"additionalProperties\" at 'generation_config.response_schema': Cannot find field.", "status": "INVALID_ARGUMENT"}}]),
    (404, {"error": {"message": "No endpoints found that can handle the requested parameters.", "code": 404}}),
    (422, "Failed to deserialize the JSON body into the target type: response_format: unknown variant `json_schema`, expected `text` or `json_object` at line 1 column 900"),
    (422, {"detail": [{"type": "extra_forbidden", "loc": ["body", "response_format"], "msg": "Extra inputs are not permitted"}]}),
    (400, {"error": {"message": "Invalid value.", "type": "invalid_request_error", "param": "response_format", "code": "invalid_value"}}),
]  # fmt: skip
"""Of DeepSeek, Groq, LM Studio, vLLM, llama.cpp, Gemini, OpenRouter, text-generation-inference, FastAPI and OpenAI."""


@pytest.mark.parametrize(("status", "body"), WORDINGS)
@pytest.mark.parametrize("rows", [2, 40])
def test_refusals_of_a_form_are_known_by_their_words(
    llm: LocalServer, status: int, body: Any, rows: int
) -> None:
    llm.faults = [Fault(Reply(status, body), when=lambda request: form_of(request) == "json_schema")]
    llm.answer = holding_to(*FORMS)
    assert extracted(rows)["n"].tolist() == [5] * rows
    assert paid(llm) == {"json_object": rows}


def test_a_refusal_that_names_nothing_is_tried_once_in_another_way(llm: LocalServer) -> None:
    body = {"error": {"message": "Bad request."}}
    llm.faults = [Fault(Reply(422, body), when=lambda request: form_of(request) == "json_schema")]
    llm.answer = holding_to(*FORMS)
    assert extracted(40)["n"].tolist() == [5] * 40
    assert paid(llm) == {"json_object": 40}


def test_a_refusal_that_names_nothing_ends_the_run_when_another_way_meets_it_too(llm: LocalServer) -> None:
    llm.faults = [Fault(Reply(400, {"error": {"message": "Bad request."}}))]
    with pytest.raises(llmframe.StoppedError, match=r"Bad request\. \(tried before, .*: json_schema\)"):
        extracted(40)
    assert {form_of(body) for body in llm.ledger.bodies} == {"json_schema", "json_object"}
    assert kept(llm) is None


def test_misfits_do_not_make_refusals_of_the_form_a_matter_of_their_rows(llm: LocalServer) -> None:
    """A server that changes its mind is not asked in vain for all the rows that are left."""
    llm.answer = holding_to("json_object", "prompt")
    llm.faults = [refusing("json_schema", after=10)]
    assert extracted(500)["n"].tolist() == [5] * 500
    assert 10 <= paid(llm)["json_schema"] <= 20
    assert llm.ledger.requests <= 600


def test_rows_whose_form_is_refused_after_others_fit_are_answered_by_the_same_call(llm: LocalServer) -> None:
    """Its error says so."""
    llm.answer = holding_to(*FORMS)
    llm.faults = [refusing("json_schema", after=40)]
    with pytest.raises(llmframe.CompletionError, match="To mend: run the same call again"):
        extracted(100)
    assert extracted(100)["n"].tolist() == [5] * 100
    assert paid(llm).total() == 100


@pytest.mark.parametrize("mode", ["offline", "batch", "live"])
def test_what_was_answered_in_another_way_is_found_again_and_not_bought(llm: LocalServer, mode: str) -> None:
    """Also when the server takes the form again that it refused then."""
    llm.answer = holding_to(*FORMS)
    extracted(10)
    llm.faults = [refusing("json_schema")]
    extracted(20)
    llm.faults = []
    assert extracted(20, mode=mode)["n"].tolist() == [5] * 20
    assert paid(llm) == {"json_schema": 10, "json_object": 10}


def test_where_every_way_is_refused_the_error_says_what_was_tried(llm: LocalServer) -> None:
    llm.faults = [refusing(*FORMS)]
    with pytest.raises(llmframe.StoppedError, match=r"unavailable now \(.*: json_schema, json_object\)"):
        extracted(40)
    assert llm.ledger.billed == 0


@pytest.mark.parametrize(
    "fault", ["invalid_api_key", "model_not_found", "insufficient_quota", "unsupported_parameter"]
)
def test_a_key_a_model_or_another_parameter_that_is_refused_is_no_matter_of_the_form(
    llm: LocalServer, fault: str
) -> None:
    llm.faults = [Fault(fault)]
    with pytest.raises(llmframe.StoppedError) as caught:
        extracted(40)
    assert "tried before" not in str(caught.value)
    assert {form_of(body) for body in llm.ledger.bodies} == {"json_schema"}


def test_after_one_answer_that_fits_misfits_are_their_rows_own(llm: LocalServer) -> None:
    """They are asked again, each as itself; also in the next run, whose rows all fail."""
    llm.answer = lambda body: '{"n": 5}' if body["messages"][1]["content"] == "Review 7" else PROSE
    with pytest.raises(llmframe.CompletionError, match="59 of 60 rows failed"):
        extracted(60, max_concurrency=1)
    assert paid(llm) == {"json_schema": 60 + 59}
    with pytest.raises(llmframe.CompletionError, match="30 of 30 rows failed"):
        frame(30).assign(review=lambda df: df["review"] + "!").llm.extract("review", {"n": int}, reask=0)
    assert paid(llm) == {"json_schema": 60 + 59 + 30}


@pytest.mark.parametrize(
    ("schema", "answer"),
    [
        ({"n": date}, {"n": "soon"}),
        ({"n": int}, {"n": 10**30}),
        ({"n": date, "parts": list[date]}, {"n": "soon", "parts": ["later"]}),
    ],
)
def test_what_only_we_check_is_no_reason_to_ask_in_another_way(
    llm: LocalServer, schema: Any, answer: Any
) -> None:
    llm.answer = lambda _: json.dumps(answer)
    with pytest.raises(llmframe.CompletionError, match="40 of 40 rows failed"):
        frame(40).llm.extract("review", schema, reask=0)
    assert paid(llm) == {"json_schema": 40}
    assert kept(llm) == "json_schema"


def test_a_misfit_beside_what_only_we_check_is_one_all_the_same(llm: LocalServer) -> None:
    llm.answer = lambda _: json.dumps({"n": "soon"})
    with pytest.raises(llmframe.CompletionError):
        frame(3).llm.extract("review", {"n": date, "m": int}, reask=0)
    assert paid(llm) == dict.fromkeys(FORMS, 3)


def test_answers_that_were_cut_off_or_refused_do_not_tell(llm: LocalServer) -> None:
    llm.faults = [Fault("refusal", when="Review 1"), Fault("length_text")]
    llm.answer = lambda _: PROSE
    with pytest.raises(llmframe.CompletionError) as caught:
        extracted(30)
    assert {form_of(body) for body in llm.ledger.bodies} == {"json_schema"}
    assert set(caught.value.run.failures["code"]) == {"refusal", "truncated"}
    assert kept(llm) is None


def test_nothing_is_asked_again_in_a_way_that_is_left(llm: LocalServer) -> None:
    """Where none holds, the rows' second chance is that of the last way."""
    llm.answer = lambda _: PROSE
    with pytest.raises(llmframe.CompletionError, match="6 of 6 rows failed"):
        extracted(6)
    assert paid(llm) == {"json_schema": 6, "json_object": 6, "prompt": 12}
    with pytest.raises(llmframe.CompletionError, match="6 of 6 rows failed"):
        extracted(6)
    assert paid(llm).total() == 24
    assert llmframe.last_run().from_journal == 6


def test_a_later_run_starts_with_what_is_kept_live_by_batch_and_offline(llm: LocalServer) -> None:
    llm.answer = holding_to("json_object")
    extracted(30)
    assert paid(llm) == {"json_schema": 20, "json_object": 30}
    assert extracted(40)["n"].tolist() == [5] * 40
    assert extracted(50, mode="batch")["n"].tolist() == [5] * 50
    assert extracted(50, mode="offline")["n"].tolist() == [5] * 50
    assert paid(llm) == {"json_schema": 20, "json_object": 50}


@pytest.mark.filterwarnings("ignore::llmframe.CompletionWarning")
def test_by_batch_the_form_is_never_left(llm: LocalServer) -> None:
    llm.answer = lambda _: PROSE
    extracted(30, mode="batch", reask=0, errors="coerce")
    assert paid(llm) == {"json_schema": 30}
    extracted(30, mode="offline", reask=0, errors="coerce")
    assert llmframe.last_run().failures["code"].tolist() == ["not_json"] * 30


def test_by_batch_a_form_that_is_refused_is_told_how_to_be_found(llm: LocalServer) -> None:
    """No parameter is named that the verb does not take; the same call goes on after some rows were asked live."""
    llm.response_format = "json_object"
    with pytest.raises(
        llmframe.StoppedError, match=r"To go on: ask a few rows with mode='live' first"
    ) as error:
        extracted(30, mode="batch")
    assert "response_format=" not in str(error.value)
    extracted(3)
    assert extracted(30, mode="batch")["n"].notna().any()


def test_what_an_earlier_run_paid_counts_among_the_first_answers(llm: LocalServer) -> None:
    llm.answer = lambda _: PROSE
    with pytest.raises(llmframe.CompletionError):
        extracted(15, mode="batch", reask=0)
    llm.reset()
    llm.answer = holding_to("json_object")
    extracted(60)
    assert paid(llm) == {"json_schema": 5, "json_object": 60}


def test_retry_failed_asks_in_the_last_way_alone(llm: LocalServer) -> None:
    llm.answer = lambda _: PROSE
    with pytest.raises(llmframe.CompletionError):
        extracted(30, reask=0)
    llm.reset()
    llm.answer = holding_to("prompt")
    assert extracted(30, reask=0, retry_failed=True)["n"].tolist() == [5] * 30
    assert paid(llm) == {"prompt": 30}


def test_without_a_journal_it_is_found_out_in_each_call(llm: LocalServer) -> None:
    llm.answer = holding_to("json_object")
    for _ in range(2):
        assert extracted(30, journal=False)["n"].tolist() == [5] * 30
    assert paid(llm) == {"json_schema": 40, "json_object": 60}


def test_a_form_that_once_held_and_is_refused_now_is_left_for_that_run_alone(llm: LocalServer) -> None:
    """So that no answer of the earlier runs is bought again."""
    llm.answer = holding_to(*FORMS)
    extracted(10)
    llm.faults = [refusing("json_schema")]
    more = frame(20).tail(10)
    for _ in range(2):
        more.copy().llm.extract("review", {"n": int})
    assert paid(llm) == {"json_schema": 10, "json_object": 10}
    assert kept(llm) == "json_schema"
    extracted(10)
    assert paid(llm).total() == 20


def test_an_earlier_journal_without_the_table_gets_it(llm: LocalServer) -> None:
    llm.answer = holding_to("json_object")
    extracted(30)
    with sqlite3.connect(journal_file()) as earlier:
        earlier.execute("DROP TABLE kept_rung")
    earlier.close()
    assert extracted(30)["n"].tolist() == [5] * 30
    assert paid(llm).total() == 50
    assert extracted(31)["n"].tolist() == [5] * 31
    assert kept(llm) == "json_object"
    assert paid(llm).total() == 51


@pytest.mark.slow
@pytest.mark.parametrize(("answers", "hung"), [(10, 10), (35, 30)])
def test_a_run_that_was_killed_goes_on_where_it_was(
    tmp_path: Path, llm: LocalServer, answers: int, hung: int
) -> None:
    """Whether the form was left by then or not: nothing is paid twice, and the form is not tried anew."""
    llm.answer = holding_to("json_object")
    llm.faults = [Fault("hang", after=answers)]
    script = "df.llm.extract('review', {'n': int}, progress=False, max_concurrency=30)"
    process = start_script(tmp_path, llm, script)
    assert llm.ledger.wait_for(lambda ledger: ledger.in_flight == hung, timeout=60)
    wait_until(lambda: answers_in(tmp_path)[0] == answers)
    process.send_signal(signal.SIGKILL)
    ended(process)
    assert llm.ledger.wait_for(lambda ledger: ledger.in_flight == 0, timeout=60)
    llm.faults = []
    df = pd.DataFrame({"review": [f"review {number}" for number in range(60)]})
    df.llm.extract("review", {"n": int})
    assert df["n"].tolist() == [5] * 60
    assert paid(llm) == {"json_schema": 20, "json_object": 60}


def test_what_was_answered_in_time_survives_a_stop_in_the_next_way(llm: LocalServer) -> None:
    """The key is withdrawn while the rows are asked in another way."""
    llm.faults = [Fault("invalid_api_key", after=30)]
    llm.answer = holding_to("json_object")
    with pytest.raises(llmframe.StoppedError) as caught:
        extracted(40, max_concurrency=1)
    assert caught.value.run.answered == 10
    assert set(caught.value.run.failures["code"]) == {"not_json", "invalid_api_key"}
    assert paid(llm).total() == 30
    llm.faults = []
    assert extracted(40)["n"].tolist() == [5] * 40
    assert paid(llm) == {"json_schema": 20, "json_object": 40}


def test_without_a_schema_the_task_says_it_in_words(llm: LocalServer) -> None:
    """The schema follows the task in the system message, before the user's own text, and the word JSON is in it."""
    llm.answer = holding_to("json_object")
    extracted(1, system="Be strict.")
    (system, user) = llm.ledger.bodies[-1]["messages"]
    assert user == {"role": "user", "content": "Review 0"}
    task, in_words, own = system["content"].split("\n\n")
    assert task.startswith("Extract the fields")
    asks, schema = in_words.split("\n")
    assert "JSON" in asks
    assert json.loads(schema)["properties"].keys() == {"n"}
    assert own == "Be strict."


@pytest.mark.parametrize("address", ["https://api.openai.com/v1", "https://mine.openai.azure.com/openai/v1/"])
def test_on_openais_own_address_it_never_changes(address: str) -> None:
    """Whatever a journal says."""

    async def keep() -> None:
        async with open_journal(journal_file()) as journal:
            await journal.keep_rung(address.rstrip("/"), "gpt-6-luna", "prompt")

    asyncio.run(keep())
    with pytest.raises(llmframe.CompletionError, match="not_in_journal"):
        extracted(1, mode="offline", base_url=address, model="gpt-6-luna")
    execution = llmframe.last_run()._execution
    assert execution._settings.rungs == ()
    assert execution._plan.recipes[0].params["response_format"]["type"] == "json_schema"


def test_complete_asks_as_the_user_says(llm: LocalServer) -> None:
    llm.faults = [refusing("json_schema")]
    shape = {"type": "json_schema", "json_schema": {"name": "a", "strict": True, "schema": {"type": "object", "properties": {}, "required": [], "additionalProperties": False}}}  # fmt: skip
    with pytest.raises(llmframe.StoppedError, match="unavailable now"):
        frame(30).llm.complete("review", response_format=shape)
    assert {form_of(body) for body in llm.ledger.bodies} == {"json_schema"}
