"""By which of several ways a server is asked: decided by its first answers and by what it refuses."""

from __future__ import annotations

import pytest

from llmframe._pacing import RungPolicy, refusal_kind
from llmframe._pacing.rungs import FIRST_ANSWERS
from llmframe._values import FaultKind, RequestFault, Stop, Verdict

NAMES = ["json_schema", "json_object", "prompt"]
FITS = Verdict({"n": 5})
MISFIT = Verdict(None, "not_json", fits_as_sent=False)
OURS = Verdict(None, "schema", fits_as_sent=True)
UNTOLD = Verdict(None, "refusal")


def policy(*verdicts: Verdict, kept: str | None = None, fixed: bool = False) -> RungPolicy:
    rungs = RungPolicy(NAMES)
    rungs.begin(kept, fixed=fixed)
    for verdict in verdicts:
        rungs.on_verdict(verdict)
    return rungs


def stop(message: str, kind: FaultKind = FaultKind.PARAMETER, param: str | None = None) -> Stop:
    fault = RequestFault(kind, "invalid_request_error", message, param, status=400)
    return Stop(fault.code, fault.message, "", fault)


def test_nothing_more_is_sent_when_none_of_the_first_answers_fits() -> None:
    assert policy(*[MISFIT] * (FIRST_ANSWERS - 1)).stop is None
    rungs = policy(*[MISFIT] * FIRST_ANSWERS)
    assert rungs.stop is not None
    assert rungs.on_stop(rungs.stop) is None
    assert rungs.leave() == "does not hold to json_schema"
    assert (rungs.name, rungs.stop) == ("json_object", None)


@pytest.mark.parametrize("proof", [FITS, OURS])
def test_one_answer_that_fits_as_sent_keeps_the_rung(proof: Verdict) -> None:
    rungs = policy(*[MISFIT] * 19, proof, *[MISFIT] * 100)
    assert rungs.stop is None
    assert rungs.leave() is None


def test_fewer_answers_decide_at_the_end_and_those_that_do_not_tell_decide_nothing() -> None:
    assert policy(MISFIT, UNTOLD).leave() == "does not hold to json_schema"
    assert policy(*[UNTOLD] * 100).leave() is None
    assert policy().leave() is None


def test_no_more_are_in_flight_than_the_decision_needs() -> None:
    assert policy().most_in_flight == FIRST_ANSWERS
    assert policy(MISFIT, MISFIT, UNTOLD).most_in_flight == FIRST_ANSWERS - 2
    assert policy(MISFIT, FITS).most_in_flight is None
    assert policy(kept="json_object").most_in_flight is None
    assert policy(fixed=True).most_in_flight is None
    assert RungPolicy([]).most_in_flight is None


def test_the_last_rung_and_a_fixed_one_stay() -> None:
    for rungs in (policy(*[MISFIT] * 50, kept="prompt"), policy(*[MISFIT] * 50, fixed=True)):
        assert rungs.stop is None
        assert rungs.leave() is None
        refused = stop("no response_format here")
        assert rungs.on_stop(refused) is refused


def test_what_an_earlier_run_found_is_where_it_begins_and_misfits_do_not_change_it() -> None:
    rungs = policy(*[MISFIT] * 50, kept="json_object")
    assert (rungs.name, rungs.leave()) == ("json_object", None)
    assert policy(kept="unheard_of").name == "json_schema"


def test_only_the_first_answer_that_fits_is_told_and_not_where_it_is_kept() -> None:
    told: list[str] = []
    for kept in (None, "json_object"):
        rungs = policy(kept=kept)
        rungs.on_fit = lambda: told.append("fits")
        rungs.on_verdict(FITS)
        rungs.on_verdict(FITS)
    assert told == ["fits"]


def test_a_refusal_that_names_the_form_leads_on_and_the_last_one_says_what_was_tried() -> None:
    rungs = policy()
    refused = stop("This response_format type is unavailable now")
    for name in NAMES[:2]:
        assert rungs.on_stop(refused) is None
        assert rungs.leave() == f"refuses {name}"
    ending = rungs.on_stop(refused)
    assert ending is not None
    assert ending.message.endswith("(tried before, as the server refused them: json_schema, json_object)")


def test_a_refusal_in_doubt_leads_on_once_and_not_where_the_form_held_before() -> None:
    rungs = policy()
    unclear = stop("Bad request.")
    assert rungs.on_stop(unclear) is None
    rungs.leave()
    assert rungs.on_stop(unclear) is not None
    assert policy(kept="json_schema").on_stop(unclear) is unclear
    assert policy(kept="json_schema").on_stop(stop("no json_schema")) is None


@pytest.mark.parametrize(
    "other",
    [
        stop("Unsupported parameter.", param="temperature"),
        stop("The model 'x' does not exist.", FaultKind.REFUSED),
        stop("Incorrect API key provided.", FaultKind.ACCESS),
        stop("You exceeded your quota of json_schema.", FaultKind.FATAL),
        Stop("journal", "The disk is full.", ""),
    ],
)
def test_what_is_no_matter_of_the_form_ends_the_run(other: Stop) -> None:
    assert policy().on_stop(other) is other


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (400, "This response_format type is unavailable now"),
        (400, "This model does not support response format `json_schema`. See supported models at …"),
        (500, "failed to parse grammar"),
        (422, "response_format: unknown variant `json_schema`"),
    ],
)
def test_a_refused_form_is_neither_a_busy_server_nor_an_unknown_model(status: int, text: str) -> None:
    assert refusal_kind(status, frozenset(), text) is FaultKind.PARAMETER


@pytest.mark.parametrize(
    ("status", "codes", "text", "kind"),
    [
        (400, {"json_validate_failed"}, "Failed to validate JSON: see failed_generation.", FaultKind.ROW),
        (503, set(), "The grammar service is overloaded.", FaultKind.PASSING),
        (500, set(), "Invalid JSON object.", FaultKind.PASSING),
        (404, set(), "The model `x` does not exist.", FaultKind.REFUSED),
    ],
)
def test_other_refusals_mean_what_they_meant(
    status: int, codes: set[str], text: str, kind: FaultKind
) -> None:
    assert refusal_kind(status, codes, text) is kind
