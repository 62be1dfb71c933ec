"""classify and ask through both engines, live and by batch: columns, the journal, and what is refused."""

from __future__ import annotations

import asyncio

import pandas as pd
import pytest
from helpers import at_openais_address

import llmframe
from llmframe.testing import Fault, LocalServer, Reply, reviews

LABELS = ["praise", "complaint"]
QUESTIONS = {"spam": bool, "topic": ["billing", "bug"], "urgency": llmframe.Levels(["low", "mid", "high"])}


@pytest.fixture(params=["live", "batch"])
def lane(request, llm):
    llmframe.options.mode = request.param
    llmframe.options._tuning = llmframe.options._tuning._replace(first_poll_seconds=0.01)
    return llm


@pytest.fixture(params=["decisions", "chat"])
def engine(request, llm):
    return request.param


def frame(rows=6):
    return pd.DataFrame({"review": [f"Review {number}" for number in range(rows)]})


def test_a_frame_gets_one_categorical_column_of_its_labels(lane):
    df = reviews().head(40)
    assert df.llm.classify("review", LABELS) is df
    assert df["review_label"].cat.categories.tolist() == LABELS
    assert df["review_label"].isna().tolist() == df["review"].isna().tolist()
    billed = lane.ledger.billed
    df.llm.classify("review", LABELS)
    assert lane.ledger.billed == billed


def test_the_labels_agree_with_the_stars(engine):
    df = reviews().dropna(subset=["review", "stars"])
    df.llm.classify("review", LABELS, engine=engine, into="label")
    assert (
        df.loc[df["label"] == "praise", "stars"].mean() > df.loc[df["label"] == "complaint", "stars"].mean()
    )


def test_without_a_column_a_template_gives_the_column_label(llm):
    df = pd.DataFrame({"title": ["Good"], "body": ["I love it"]})
    df.llm.classify(None, LABELS, "{title}: {body}")
    assert list(df) == ["title", "body", "label"]


def test_companions_stand_beside_the_label(llm):
    df = frame()
    df.llm.classify("review", LABELS, engine="decisions", confidence=True, probabilities=True)
    assert list(df) == [
        "review",
        "review_label",
        "review_confidence",
        "review_p_praise",
        "review_p_complaint",
    ]
    df.llm.classify("review", LABELS, into="tone", engine="decisions", confidence=True)
    assert {"tone", "tone_confidence"} <= set(df)
    chosen = df[["review_p_praise", "review_p_complaint"]].max(axis="columns")
    assert df["review_confidence"].tolist() == chosen.tolist()


def test_several_labels_are_a_boolean_column_each(engine):
    df = frame()
    df.llm.classify("review", ["fast", "cheap"], into="is", multi=True, engine=engine)
    assert df.dtypes[["is_fast", "is_cheap"]].astype(str).tolist() == ["boolean", "boolean"]
    if engine == "decisions":
        df.llm.classify("review", ["fast"], into="sure", multi=True, engine=engine, confidence=True)
        assert df["sure_fast_confidence"].ge(0.5).all()


def test_the_columns_of_several_labels_are_named_by_them(llm):
    df, both = frame(), {"multi": True, "confidence": True, "probabilities": True, "engine": "decisions"}
    df.llm.classify("review", ["fast", "cheap"], into="is", **both)
    assert list(df)[1:] == [
        *("is_fast", "is_fast_confidence", "is_p_fast"),
        *("is_cheap", "is_cheap_confidence", "is_p_cheap"),
    ]
    sure = df["is_p_fast"].where(df["is_fast"].astype(bool), 1 - df["is_p_fast"])
    assert df["is_fast_confidence"].tolist() == pytest.approx(sure.tolist())
    df = frame()
    df.llm.classify("review", ["fast"], **both)
    assert list(df)[1:] == ["review_label_fast", "review_label_fast_confidence", "review_p_fast"]


@pytest.mark.parametrize(
    ("into", "expected"),
    [
        (("out", "tone"), [("out", "tone"), ("out", "tone_confidence"), ("out", "tone_p_praise"), ("out", "tone_p_complaint")]),
        ("tone", [("tone", ""), ("tone_confidence", ""), ("tone_p_praise", ""), ("tone_p_complaint", "")]),
    ],
)  # fmt: skip
def test_companions_stand_beside_the_label_in_columns_of_several_levels(llm, into, expected):
    df = pd.DataFrame([["Review 0"]], columns=pd.MultiIndex.from_tuples([("text", "review")]))
    df.llm.classify(
        ("text", "review"), LABELS, into=into, engine="decisions", confidence=True, probabilities=True
    )
    assert list(df)[1:] == expected
    df.llm.classify(("text", "review"), ["fast"], into=("out", "is"), engine="decisions", multi=True)
    assert list(df)[-1] == ("out", "is_fast")


def test_a_column_whose_name_is_a_number_keeps_it(llm):
    df = frame(1)
    df.llm.classify("review", LABELS, into=5, engine="decisions", confidence=True)
    assert list(df) == ["review", 5, "5_confidence"]


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda df: df.llm.classify("review", ["a", "a_confidence"], multi=True, into="x", votes=2, confidence=True), "x_a_confidence"),
        (lambda df: df["review"].llm.ask({"a": bool, "a_confidence": bool}, votes=2, confidence=True), "a_confidence"),
        (lambda df: llmframe.ask(df["review"], {"a": bool, "a_confidence": bool}, votes=2, confidence=True), "a_confidence"),
    ],
)  # fmt: skip
def test_two_columns_of_one_name_are_an_error_before_anything_is_sent(llm, call, name):
    with pytest.raises(ValueError, match=f"two of the columns would be named '{name}'"):
        call(frame())
    assert llm.ledger.billed == 0


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda df: df.llm.ask("review", {"a": bool}, probabilities=True), r"'probabilities'; this verb does not take it; df\.llm\.classify does"),
        (lambda df: df.llm.ask("review", {"a": bool}, other="x"), r"'other'; this verb does not take it; df\.llm\.classify does"),
        (lambda df: df.llm.classify("review", LABELS, quotes=True), r"'quotes'; this verb does not take it; df\.llm\.extract does"),
        (lambda df: df.llm.classify("review", LABELS, confidenc=True), "did you mean 'confidence'"),
        (lambda df: llmframe.classify(df["review"], LABELS, raw=True), r"'raw'; this verb does not take it; df\.llm\.classify does"),
    ],
)  # fmt: skip
def test_a_keyword_of_another_verb_is_named_as_such(llm, call, said):
    with pytest.raises(TypeError, match=f"unexpected keyword .*{said}"):
        call(frame())


def test_a_threshold_that_changes_asks_nothing(llm):
    df, other = frame(40), frame(40)
    df.llm.classify("review", LABELS, engine="decisions", confidence=True)
    billed = llm.ledger.billed
    other.llm.classify("review", LABELS, engine="decisions", threshold=0.99)
    run = llmframe.last_run()
    assert llm.ledger.billed == billed
    expected = df["review_confidence"] < 0.99
    assert other["review_label"].isna().tolist() == expected.tolist()
    assert (run.unsure, run.failed, run.answered) == (expected.sum(), 0, 40)
    assert f"{run.unsure} unsure" in repr(run)


def test_more_votes_ask_only_the_further_ones(lane):
    df = frame()
    df.llm.classify("review", LABELS, votes=3, confidence=True)
    assert lane.ledger.billed == 18
    df.llm.classify("review", LABELS, votes=5, confidence=True)
    assert lane.ledger.billed == 30
    shares = df["review_confidence"] * 5
    assert shares.round(9).isin([3, 4, 5]).all()
    df.llm.classify("review", LABELS, overwrite=True)  # is the first of the draws
    assert lane.ledger.billed == 30


def test_each_draw_has_the_labels_in_an_order_of_its_own(llm):
    orders = []
    labels = [f"label {number}" for number in range(8)]
    df = frame(1)
    df.llm.classify("review", labels, votes=4)
    run = llmframe.last_run()
    for recipe in run._plan.recipes:
        schema = recipe.params["response_format"]["json_schema"]["schema"]
        orders.append(tuple(schema["properties"]["label"]["enum"]))
    assert orders[0] == tuple(labels)
    assert len(set(orders)) == 4
    assert {frozenset(order) for order in orders} == {frozenset(labels)}


def test_a_draw_that_fails_is_its_rows_failure_and_costs_no_other(llm):
    llm.faults = [Fault("content_filter", when="Review 2", after=1, first=1)]
    df = frame()
    with pytest.raises(llmframe.CompletionError):
        df.llm.classify("review", LABELS, votes=3)
    run = llmframe.last_run()
    assert (run.answered, run.failed, run.failures["position"].tolist()) == (5, 1, [2])
    assert df["review_label"].isna().tolist() == [False, False, True, False, False, False]
    assert list(llmframe.last_run().values)[2] is None


def test_a_draw_that_does_not_fit_is_asked_again_alone(lane):
    lane.faults = [
        Fault("unknown_label", when="Review 2", first=1),
        Fault("not_json", when="Review 4", after=2, first=1),
    ]
    df = frame()
    df.llm.classify("review", LABELS, votes=3, confidence=True)
    run = llmframe.last_run()
    assert lane.ledger.billed == 20
    assert run.reasked["position"].tolist() == [2, 4]
    assert "2 rows asked again" in repr(run)
    assert df.notna().all(axis=None)
    df.llm.classify("review", LABELS, votes=5, confidence=True)
    assert lane.ledger.billed == 32
    assert "from the journal" not in repr(llmframe.last_run())
    df.llm.classify("review", LABELS, votes=5, confidence=True)
    assert "6 rows answered, all from the journal" in repr(llmframe.last_run())


def test_all_draws_of_a_batch_are_one_submission(llm, swift):
    frame().llm.classify("review", LABELS, votes=5, mode="batch")
    assert len(llmframe.batches()) == 1


def test_questions_are_one_reading_each_in_both_lanes(lane):
    df = frame()
    df.llm.ask("review", QUESTIONS, prefix="q_")
    assert lane.ledger.billed == 6
    assert df.dtypes[["q_spam", "q_topic", "q_urgency"]].astype(str).tolist() == [
        "boolean",
        "category",
        "category",
    ]
    assert df["q_urgency"].cat.ordered
    assert df["q_urgency"].notna().all()


def test_decisions_answer_with_a_score_for_levels(llm):
    df = frame()
    df.llm.ask("review", QUESTIONS, engine="decisions", confidence=True)
    assert list(df)[1:] == [
        *(
            "spam",
            "spam_confidence",
            "topic",
            "topic_confidence",
            "urgency",
            "urgency_confidence",
            "urgency_score",
        ),
    ]
    assert df["urgency_score"].between(0, 2).all()


def test_a_question_that_is_refused_is_missing_and_its_row_counts_once_as_partly(llm):
    llm.faults = [Fault("refusal", questions=["topic", "urgency"], when="Review 3")]
    df = frame()
    with pytest.raises(llmframe.CompletionError, match="1 of 6 rows answered partly") as error:
        df.llm.ask("review", QUESTIONS, engine="decisions", error_into="why")
    run = llmframe.last_run()
    assert (run.answered, run.partly, run.failed) == (5, 1, 0)
    assert df.loc[3, ["topic", "urgency"]].isna().all()
    assert pd.notna(df.loc[3, "spam"])
    assert df.loc[3, "why"] == "refusal: topic, urgency"
    assert "1 partly" in repr(run)
    assert error.value.result is df
    billed = llm.ledger.billed
    llm.faults = []
    with pytest.raises(llmframe.CompletionError):
        df.llm.ask("review", QUESTIONS, engine="decisions")
    assert llm.ledger.billed == billed
    df.llm.ask("review", QUESTIONS, engine="decisions", retry_failed=True)
    assert llm.ledger.billed == billed + 1
    assert df["topic"].notna().all()


@pytest.mark.parametrize("fault", ["500", "invalid_api_key"])
def test_what_was_answered_of_a_row_stays_when_it_is_asked_again_in_vain(llm, fault):
    llm.faults = [Fault("refusal", questions=["topic", "urgency"], when="Review 3")]
    df = frame()
    with pytest.raises(llmframe.CompletionError):
        df.llm.ask("review", QUESTIONS, engine="decisions")
    before, llm.faults = df.copy(), [Fault(fault)]
    again = {"overwrite": True, "retry_failed": True, "max_retries": 0}
    with pytest.raises((llmframe.CompletionError, llmframe.StoppedError)):
        df.llm.ask("review", QUESTIONS, engine="decisions", **again)
    run = llmframe.last_run()
    assert (run.answered, run.partly, run.failed) == (5, 1, 0)
    assert df["spam"].equals(before["spam"])
    assert run.failures["position"].tolist() == [3]
    llm.faults = []
    df.llm.ask("review", QUESTIONS, engine="decisions", overwrite=True, retry_failed=True)
    assert df.notna().all(axis=None)


def test_all_questions_refused_is_a_failure(llm):
    llm.faults = [Fault("refusal", when="Review 3")]
    df = frame()
    with pytest.raises(llmframe.CompletionError, match="1 × refusal"):  # noqa: RUF001
        df.llm.ask("review", QUESTIONS, engine="decisions")
    assert (llmframe.last_run().partly, llmframe.last_run().failed) == (0, 1)


def test_a_lone_text_is_the_input_and_an_instruction_goes_into_the_question(llm):
    bodies = []
    llm.faults = [Fault("500", path="/v1/decisions", when=lambda body: bool(bodies.append(body)))]
    df = frame(1)
    df.llm.classify("review", LABELS, "Judge the service.", engine="decisions")
    [body] = bodies
    assert body["input"] == "Review 0"
    assert body["questions"][0]["instructions"].startswith("Judge the service.")
    df.llm.classify("review", LABELS, into="b", system="You are strict.", engine="decisions")
    assert [message["role"] for message in bodies[1]["input"]] == ["system", "user"]


def said(role, content, **more):
    return {"role": role, "content": content, **more}


def text(words):
    return [{"type": "text", "text": words}]


ASKED = said("user", "Is it late?")
CALL = {"id": "c1", "type": "function", "function": {"name": "look_up", "arguments": "{}"}}
CUSTOM = {"id": "c1", "type": "custom", "custom": {"name": "look_up", "input": "order 5"}}
CALLED = {"type": "function_call", "call_id": "c1", "name": "look_up", "arguments": "{}"}
OUTPUT = {"type": "function_call_output", "call_id": "c1", "output": "On its way."}
PIXEL = "data:image/png;base64,iVBORw0KGgo="


@pytest.mark.parametrize(
    ("messages", "items"),
    [
        ([said("user", "Hello", name="ann")], "Hello"),
        ([said("system", "Be strict.", name="x"), ASKED], [said("system", "Be strict."), ASKED]),
        (
            [said("developer", text("Be strict.")), said("user", [*text("See:"), {"type": "image_url", "image_url": {"url": PIXEL, "detail": "low"}}])],
            [
                said("developer", [{"type": "input_text", "text": "Be strict."}]),
                said("user", [{"type": "input_text", "text": "See:"}, {"type": "input_image", "image_url": PIXEL, "detail": "low"}]),
            ],
        ),
        ([ASKED, said("assistant", text("No."), refusal=None, annotations=[]), ASKED], [ASKED, said("assistant", [{"type": "output_text", "text": "No."}]), ASKED]),
        ([ASKED, said("assistant", None, refusal="I won't."), ASKED], [ASKED, said("assistant", [{"type": "refusal", "refusal": "I won't."}]), ASKED]),
        ([ASKED, said("assistant", None, tool_calls=[CALL]), said("tool", "On its way.", tool_call_id="c1")], [ASKED, CALLED, OUTPUT]),
        (
            [ASKED, said("assistant", "Let me see.", tool_calls=[CUSTOM]), said("tool", "On its way.", tool_call_id="c1")],
            [ASKED, said("assistant", "Let me see."), {**CALLED, "arguments": "order 5"}, OUTPUT],
        ),
        (
            [ASKED, said("assistant", None, function_call=CALL["function"]), said("function", "On its way.", name="look_up")],
            [ASKED, {**CALLED, "call_id": "look_up"}, {**OUTPUT, "call_id": "look_up"}],
        ),
    ],
)  # fmt: skip
def test_message_arrays_become_the_items_of_a_decisions_input(llm, messages, items):
    df = pd.DataFrame({"chat": pd.Series([messages], dtype=object)})
    df.llm.ask("chat", {"late": bool}, engine="decisions")
    assert [body["input"] for body in llm.ledger.bodies] == [items]
    assert df["late"].notna().all()


@pytest.mark.parametrize(
    "message",
    [said("assistant", None, tool_calls=[{"id": "c1"}]), said("assistant", "x", tool_calls=5), said([], "x"), said("user", [5])],
)  # fmt: skip
def test_a_message_that_no_item_can_say_fails_its_row_alone(llm, message):
    df = pd.DataFrame({"chat": [[message], [ASKED]]})
    with pytest.raises(llmframe.CompletionError, match="1 of 2 rows failed"):
        df.llm.ask("chat", {"late": bool}, engine="decisions")
    assert df["late"].isna().tolist() == [True, False]


def test_an_engine_is_taken_by_what_the_call_says(llm):
    def reason(**arguments):
        run = frame(1).llm.classify("review", LABELS, wait=False, journal=False, mode="offline", **arguments)
        settings = run._settings
        run.cancel()
        return settings.engine, settings.engine_reason

    here = {"base_url": "https://api.openai.com/v1", "model": "gpt-6-luna"}
    assert reason(**here) == ("decisions", "on OpenAI's own address")
    assert reason() == ("chat", "the server is not OpenAI's own")
    assert reason(**here | {"model": "gpt-6.1-terra"}) == ("chat", "decisions do not take gpt-6.1-terra")
    assert reason(**here, votes=3) == ("chat", "votes=3")
    assert reason(**here, temperature=0) == ("chat", "temperature=")
    assert reason(**here, safety_identifier="u1")[0] == "decisions"
    assert reason(**here, engine="chat") == ("chat", "as asked for")
    assert reason(engine="decisions") == ("decisions", "as asked for")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"engine": "decisions", "mode": "batch"}, "'decisions' is not possible with mode='batch'"),
        ({"engine": "decisions", "temperature": 0}, "'decisions' is not possible with temperature="),
        ({"engine": "decisions", "votes": 3}, "'decisions' is not possible with votes=3"),
        ({"engine": "dice"}, "engine must be 'auto', 'decisions' or 'chat'"),
        ({"confidence": True}, "confidence: a chat completion states no probabilities"),
        ({"probabilities": True}, "probabilities: a chat completion states no probabilities"),
        ({"threshold": 0.5}, "threshold: a chat completion states no probabilities"),
        ({"threshold": 1.5}, "threshold must be a probability"),
        ({"votes": 1}, "votes must be a whole number of 2 to 255"),
        ({"multi": 1}, "multi must be True or False"),
        (
            {"response_format": {"type": "json_object"}},
            "response_format: classify asks for its schema itself",
        ),
        (
            {"extra_body": {"response_format": {"type": "text"}}},
            "response_format: classify asks for its schema",
        ),
        ({"extra_body": {"questions": []}}, "extra_body: 'questions' is what llmframe fills in"),
        ({"other": " "}, "other must be a label"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_sent(llm, arguments, said):
    df = frame()
    with pytest.raises((TypeError, ValueError), match=said):
        df.llm.classify("review", LABELS, **arguments)
    assert llm.ledger.billed == 0
    assert list(df) == ["review"]


def test_two_hundred_and_fifty_five_labels_are_decided_and_one_more_is_not(llm):
    labels = [f'"{number}",\n' for number in range(255)]
    df = frame(2)
    df.llm.classify("review", labels, engine="decisions")
    assert df["review_label"].cat.categories.tolist() == labels
    with pytest.raises(ValueError, match="256 labels"):
        df.llm.classify("review", [*labels, "one more"], engine="decisions", into="x")


@pytest.mark.parametrize(
    ("reply", "remedy"),
    [
        (Reply(404, {"detail": "Not Found"}), "pass engine='chat' if this server or model has no /v1/decisions; otherwise check base_url"),
        (Reply(405, "Method Not Allowed"), "pass engine='chat' if"),
        (Reply(200, {"error": "Unexpected endpoint or method. (POST /v1/decisions)"}), "pass engine='chat' if"),
        (Reply(400, {"error": {"message": "The model does not support decisions", "param": "model"}}), "pass engine='chat' if"),
        (Reply(401, {"error": {"message": "Incorrect API key provided", "code": "invalid_api_key"}}), "set api_key|valid key"),
    ],
)  # fmt: skip
def test_a_server_without_decisions_is_told_to_be_asked_by_chat(llm, reply, remedy):
    llm.faults = [Fault(reply, path="/v1/decisions")]
    with pytest.raises(llmframe.StoppedError, match=f"To go on: .*{remedy}"):
        frame(30).llm.classify("review", LABELS, engine="decisions")


@pytest.mark.slow
def test_decisions_take_more_labels_in_all_than_a_schema_may_have(openais):
    questions = {f"q{number}": ["a", "b", "c"] for number in range(400)}
    df = frame(1)
    df.llm.ask("review", questions)
    assert df.notna().all(axis=None)
    df.llm.ask("review", questions, engine="decisions")
    with pytest.raises(ValueError, match="questions: there are 1,200 values to choose from"):
        df.llm.ask("review", questions, engine="chat", overwrite=True)


def test_a_column_never_mixes_engines(llm):
    df = frame()
    df.llm.classify("review", LABELS, engine="decisions", where=df.index < 3)
    billed = llm.ledger.billed
    for way in ({"overwrite": "missing"}, {"where": df.index >= 3}, {}):
        with pytest.raises(ValueError, match="engine: decisions wrote 'review_label'"):
            df.llm.classify("review", LABELS, engine="chat", **way)
    assert llm.ledger.billed == billed
    df.llm.classify("review", LABELS, engine="chat", overwrite=True)
    assert df["review_label"].notna().all()


def test_a_column_that_is_gone_binds_no_engine(llm):
    """Its record goes along to frames that are taken from this one."""
    df = frame()
    df.llm.classify("review", LABELS, engine="decisions")
    taken = df[["review"]].copy()
    taken.llm.classify("review", LABELS, engine="chat")
    assert taken["review_label"].notna().all()


def test_rows_that_the_other_engine_answered_are_not_asked_by_chance(llm):
    tried = frame(3)
    tried.llm.classify("review", LABELS, engine="decisions")
    billed = llm.ledger.billed
    df = frame(6)
    with pytest.raises(ValueError, match="engine: decisions has answered 3 requests of these rows") as error:
        df.llm.classify("review", LABELS)
    assert "engine='chat'" in str(error.value)
    assert llm.ledger.billed == billed
    assert list(df) == ["review"]
    df.llm.classify("review", LABELS, engine="chat")
    assert df["review_label"].notna().all()


@pytest.fixture
def openais(llm):
    """Let a client of OpenAI's own address reach the local server."""
    llmframe.options.client = at_openais_address(llm)
    return llm


MIXED = pd.Series(["Review 0", 1, "Review 2", 3.5], dtype=object)
ROWS = {
    "texts": (frame(4)["review"], {}),
    "an instruction": (frame(4)["review"], {"prompt": "Judge it."}),
    "an instruction before numbers": (MIXED, {"prompt": "Judge it."}),
    "a system message that begins as the instruction": (MIXED, {"prompt": "Judge.", "system": "Judge.\n\nBe kind."}),
    "a template": (frame(4)["review"], {"prompt": "Said: {text}", "system": "Of {text}."}),
    "a function": (frame(4)["review"], {"prompt": lambda row: [{"role": "user", "content": row["text"]}]}),
    "examples": (MIXED, {"prompt": "Judge it.", "examples": [{"text": "Great!", "text_label": "praise"}]}),
}  # fmt: skip


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize(
    ("first", "second"), [("live", "batch"), ("batch", "live")], ids=["decisions first", "chat first"]
)
def test_the_journal_tells_that_the_other_engine_answered_these_rows(openais, swift, rows, first, second):
    cells, arguments = ROWS[rows]
    engines = {"live": "decisions", "batch": "chat"}
    tried = pd.DataFrame({"text": cells.head(2)})
    tried.llm.classify("text", LABELS, mode=first, **arguments)
    assert llmframe.last_run()._settings.engine == engines[first]
    billed = openais.ledger.billed
    df = pd.DataFrame({"text": cells})
    with pytest.raises(ValueError, match=f"engine: {engines[first]} has answered 2 requests of these rows"):
        df.llm.classify("text", LABELS, mode=second, **arguments)
    assert openais.ledger.billed == billed
    df.llm.classify("text", LABELS, mode=second, engine=engines[second], **arguments)
    assert df["text_label"].notna().all()


def test_an_instruction_about_message_arrays_is_a_decision(openais):
    df = pd.DataFrame({"chat": [[{"role": "user", "content": f"Review {number}"}] for number in range(2)]})
    df.llm.classify("chat", LABELS, "Judge it.")
    assert df["chat_label"].notna().all()


def test_labels_that_stay_are_looked_up_too_where_no_record_tells_of_their_engine(openais, swift, tmp_path):
    df = frame(6)
    df.llm.classify("review", LABELS, where=df.index < 3)
    df.llm.to_csv(tmp_path / "x.csv", index=False)
    back = llmframe.read_csv(tmp_path / "x.csv")
    billed = openais.ledger.billed
    with pytest.raises(ValueError, match="engine: decisions has answered 3 requests of these rows"):
        back.llm.classify("review", LABELS, overwrite="missing", mode="batch")
    assert openais.ledger.billed == billed
    back.llm.classify("review", LABELS, overwrite="missing")
    assert back["review_label"].notna().all()
    by_hand = frame(8)
    by_hand.loc[6:, "review_label"] = "praise"
    by_hand.llm.classify("review", LABELS, overwrite="missing")  # nobody answered those that stay
    assert by_hand["review_label"].notna().all()


def test_a_series_returns_labels_and_leaves_the_data_alone(engine):
    texts = frame()["review"]
    labels = texts.llm.classify(LABELS, engine=engine)
    assert labels.name == "review_label"
    assert labels.cat.categories.tolist() == LABELS
    answers = texts.llm.ask(QUESTIONS, engine=engine)
    assert list(answers) == list(QUESTIONS)
    several = texts.llm.classify(LABELS, multi=True, engine=engine)
    assert isinstance(several, pd.DataFrame)


def test_a_list_is_answered_in_order(engine):
    labels = llmframe.classify(["I love it", None, "It is awful"], LABELS, engine=engine)
    assert labels[1] is None
    assert {labels[0], labels[2]} <= set(LABELS)
    answers = llmframe.ask(["I love it", None], QUESTIONS, engine=engine)
    assert answers.shape == (2, 3)
    assert answers.isna().all(axis="columns").tolist() == [False, True]


def test_a_lone_text_is_an_error_that_shows_the_list():
    with pytest.raises(TypeError, match=r"write classify\(\['I love it'\]\)"):
        llmframe.classify("I love it", LABELS, base_url="http://localhost", model="m", api_key="any")


def test_the_await_twins_do_the_same(llm):
    async def both():
        df = frame()
        await df.llm.aclassify("review", LABELS)
        await df.llm.aask("review", QUESTIONS)
        return df, await llmframe.aclassify(["x"], LABELS), await df["review"].llm.aask(QUESTIONS)

    df, labels, answers = asyncio.run(both())
    assert df.notna().all(axis=None)
    assert len(labels) == 1
    assert len(answers) == len(df)


def test_in_the_background_the_frame_is_written_by_its_result(llm):
    df = frame()
    run = df.llm.classify("review", LABELS, wait=False)
    assert "review_label" not in df
    assert run.result(timeout=60) is df
    assert df["review_label"].notna().all()


def test_offline_the_labels_come_from_the_journal(engine):
    df = frame()
    df.llm.classify("review", LABELS, engine=engine)
    again = frame()
    again.llm.classify("review", LABELS, engine=engine, mode="offline")
    pd.testing.assert_frame_equal(df, again)


def test_dtypes_survive_parquet_and_an_empty_frame(llm, tmp_path):
    df = frame()
    df.llm.ask("review", QUESTIONS)
    df.to_parquet(tmp_path / "x.parquet")
    back = pd.read_parquet(tmp_path / "x.parquet")
    assert back.dtypes.astype(str).tolist() == df.dtypes.astype(str).tolist()
    empty = df[["review"]].head(0)
    empty.llm.ask("review", QUESTIONS)
    assert empty.dtypes.astype(str).tolist() == df.dtypes.astype(str).tolist()


def test_the_price_of_decisions_is_their_own(llm):
    df = frame(1)
    df.llm.classify("review", LABELS, engine="decisions")
    run = llmframe.last_run()
    assert run.cost == pytest.approx(run.tokens.prompt * 0.10 / 1e6)


def test_examples_by_hand_come_before_each_row_in_both_engines(engine, llm):
    bodies = []
    llm.faults = [Fault("500", when=lambda body: bool(bodies.append(body)))]
    by_hand = pd.DataFrame({"review": ["Great!", "Broken."], "review_label": ["praise", None]})
    df = frame(1)
    df.llm.classify("review", LABELS, "Judge it.", engine=engine, examples=by_hand)
    [body] = bodies
    messages = body["input" if engine == "decisions" else "messages"]
    answers = [message["content"] for message in messages if message["role"] == "assistant"]
    assert answers == ['{"label": "praise"}', '{"label": null}']
    [call] = df.attrs["llmframe_calls"].values()
    assert len(call["examples"]) == 2
    with pytest.raises(
        ValueError, match="examples: row 0: review_label: 'angry' is none of 'praise', 'complaint'"
    ):
        df.llm.classify(
            "review", LABELS, examples=[{"review": "Great!", "review_label": "angry"}], overwrite=True
        )
    texts = [{"text": "Great!", "spam": False, "topic": "bug", "urgency": None}]
    assert len(llmframe.ask(["It broke"], QUESTIONS, engine=engine, examples=texts)) == 1
    assert len(llmframe.classify(["It broke"], LABELS, examples=[{"text": "x", "label": "praise"}])) == 1


def test_the_response_is_a_column_beside_the_others(engine):
    df = frame(2)
    df.llm.classify("review", LABELS, engine=engine, raw=True)
    assert list(df) == ["review", "review_label", "review_raw"]
    assert set(df["review_raw"][0]) >= {"answers" if engine == "decisions" else "choices"}
    df.llm.ask("review", {"spam": bool}, prefix="q_", engine=engine, raw=True)
    assert list(df)[3:] == ["q_spam", "q_review_raw"]
    both = df["review"].llm.classify(LABELS, engine=engine, raw=True)
    assert list(both) == ["review_label", "review_raw"]


def test_missing_labels_are_filled_and_their_companions_follow(llm):
    df = frame()
    df.llm.classify("review", LABELS, engine="decisions", confidence=True)
    before = df.copy()
    df.loc[2, "review_label"] = None
    df.loc[3, "review_confidence"] = None
    df.llm.classify("review", LABELS, engine="decisions", confidence=True, overwrite="missing")
    assert df["review_label"].equals(before["review_label"])
    assert pd.isna(df.loc[3, "review_confidence"])
    assert df.loc[2, "review_confidence"] == before.loc[2, "review_confidence"]


def test_an_existing_label_off_the_list_is_an_error_before_anything_is_sent(llm):
    df = frame().assign(tone=["good", None, None, None, None, None])
    with pytest.raises(ValueError, match="'good'"):
        df.llm.classify("review", LABELS, into="tone", overwrite="missing")
    assert llm.ledger.billed == 0


@pytest.mark.parametrize("holds_to", ["json_object", "text", "ignored"])
def test_labels_come_also_from_servers_that_do_not_hold_to_schemas(tmp_path, holds_to):
    with LocalServer(response_format=holds_to) as server:
        settings = {
            "base_url": server.base_url,
            "api_key": "any",
            "model": "gpt-6-luna",
            "journal": tmp_path / "j.sqlite",
        }
        with llmframe.option_context(**settings, progress=False):
            df = frame(30)
            df.llm.classify("review", LABELS, votes=2)
            df.llm.ask("review", QUESTIONS)
            assert df["urgency"].notna().all()
            assert llmframe.last_run().answered == 30


def test_all_draws_of_a_row_are_asked_before_those_of_the_next(llm):
    """So that an interrupted run has whole rows; the response is that of the first draw."""
    rows = []
    llm.faults = [Fault("500", when=lambda body: bool(rows.append(body["messages"][-1]["content"])))]
    df = frame(4)
    df.llm.classify("review", LABELS, votes=3, max_concurrency=1, raw=True, dedupe=False)
    assert rows == [f"Review {number}" for number in range(4) for _ in range(3)]
    first = [response["choices"][0]["message"]["content"] for response in df["review_raw"]]
    once = frame(4)
    once.llm.classify("review", LABELS, raw=True)
    assert first == [response["choices"][0]["message"]["content"] for response in once["review_raw"]]


def test_the_way_back_to_the_other_engine_names_what_that_does_not_take(llm):
    df = frame(3)
    df.llm.classify("review", LABELS, into="tone", engine="decisions")
    with pytest.raises(ValueError, match="pass engine='decisions' without votes=3 to go on with it"):
        df.llm.classify("review", LABELS, into="v", votes=3)
    assert llm.ledger.billed == 3
