"""A verb over a Dask frame asks when its column is computed, and not before."""

from __future__ import annotations

import cloudpickle
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from helpers import answer, asked, texts

import llmframe


def frame(rows=12, partitions=3):
    pdf = asked(rows)
    pdf["id"] = range(rows)
    pdf["stars"] = pdf["id"] % 5
    return dd.from_pandas(pdf, npartitions=partitions)


def test_building_the_graph_and_its_meta_send_nothing_and_need_no_server():
    answered = frame().llm.complete("q", model="any", base_url="http://127.0.0.1:9/v1", api_key="k")
    assert answered["q_completion"].dtype == "str"
    assert llmframe.last_run() is None or llmframe.last_run().rows != 12


READS = {
    "len": len,
    "shape": lambda ddf: ddf.shape[0].compute(),
    "index": lambda ddf: ddf.index.compute(),
    "all other columns": lambda ddf: ddf[["q", "id", "stars"]].compute(),
    "some": lambda ddf: ddf[["id"]].compute(),
    "one": lambda ddf: ddf["stars"].compute(),
    "drop": lambda ddf: ddf.drop(columns="q_completion").compute(),
    "filter": lambda ddf: ddf[ddf["stars"] > 2][["id"]].compute(),
    "filter by two": lambda ddf: ddf[(ddf["stars"] > 2) & ddf["id"].isin([3, 4])]["id"].compute(),
    "loc": lambda ddf: ddf.loc[3:9, ["id"]].compute(),
    "assign": lambda ddf: ddf.assign(more=ddf["id"] + 1)[["more"]].compute(),
    "groupby": lambda ddf: ddf.groupby("stars")["id"].sum().compute(),
    "sort": lambda ddf: ddf.sort_values("stars")["id"].compute(),
    "merge": lambda ddf: ddf[["id"]].merge(frame(), on="id").compute(),
    "len of the answers": lambda ddf: len(ddf["q_completion"]),
}


@pytest.mark.parametrize("read", READS)
def test_what_leaves_the_column_out_sends_nothing(read, llm):
    assert len(np.atleast_1d(READS[read](frame().llm.complete("q")))) >= 1
    assert llm.ledger.requests == 0


def test_the_answers_of_each_row_come_with_its_index_and_divisions(llm):
    ddf = frame()
    answered = ddf.llm.complete("q", into="a")
    assert answered.divisions == ddf.divisions
    computed = answered.compute()
    assert computed["a"].tolist() == [answer(text) for text in texts(12)]
    pd.testing.assert_frame_equal(computed[["q", "id", "stars"]], ddf.compute())
    assert "a" not in ddf.columns


def test_computing_twice_pays_once_and_head_asks_for_its_rows_alone(llm):
    answered = frame().llm.complete("q")
    assert len(answered.head(2)) == 2
    assert llm.ledger.billed == 2
    first, second = answered.compute(), answered.compute()
    pd.testing.assert_frame_equal(first, second)
    assert llm.ledger.billed == 12
    frame().llm.complete("q").partitions[1].compute()
    assert llm.ledger.billed == 12


def test_only_columns_that_are_read_move(tmp_path, llm):
    frame().compute().to_parquet(tmp_path / "rows.parquet")
    ddf = dd.read_parquet(tmp_path / "rows.parquet")
    answers = ddf.llm.complete(prompt="{q} {stars}", into="a")["a"]
    reads = next(answers.optimize(fuse=False).expr.find_operations(type(ddf.expr)))
    assert sorted(reads.columns) == ["q", "stars"]
    assert answers.compute().notna().all()


def test_fields_of_several_columns_are_one_reading(llm):
    typed = frame().llm.extract("q", {"part": str, "hours": float})
    assert typed[["part"]].compute().shape == (12, 1)
    assert typed.compute()["hours"].dtype == "float64"
    assert llm.ledger.billed == 12


def test_verbs_can_be_chained(llm):
    answered = frame().llm.complete("q", into="a").llm.classify("a", ["one", "two"], into="label")
    assert len(answered[["a"]].compute()) == 12
    assert llm.ledger.billed == 12
    computed = answered.compute()
    assert computed["label"].isin(["one", "two"]).all()
    assert llm.ledger.billed == 24


def test_where_limits_the_rows_and_keeps_the_others(llm):
    ddf = frame().assign(a="before")
    low = ddf.llm.complete("q", into="a", where=ddf["stars"] < 1, overwrite=True).compute()
    assert llm.ledger.billed == (low["stars"] < 1).sum()
    assert (low["a"] != "before").tolist() == (low["stars"] < 1).tolist()
    new = ddf.llm.complete("q", into="b", where=ddf["stars"] < 1).compute()
    assert new["b"].notna().tolist() == (new["stars"] < 1).tolist()


def test_an_existing_column_is_replaced_only_when_that_is_said(llm):
    ddf = frame().assign(a="before")
    with pytest.raises(ValueError, match="into: the column 'a' is already there"):
        ddf.llm.complete("q", into="a")
    replaced = ddf.llm.complete("q", into="a", overwrite=True)
    assert list(replaced.columns) == list(ddf.columns)
    assert replaced.compute()["a"].tolist() == [answer(text) for text in texts(12)]


def test_a_series_verb_returns_what_pandas_does(llm):
    series = frame()["q"]
    answers = series.llm.complete()
    computed = answers.compute()
    assert computed.name == answers.name == "q_completion"
    assert computed.tolist() == [answer(text) for text in texts(12)]
    unnamed = dd.from_pandas(pd.Series(["a", "b"]), npartitions=1).llm.complete("Say: {}")
    assert unnamed.compute().name == "completion"
    where = series.llm.complete(where=frame()["stars"] < 1)
    assert where.compute().notna().sum() == 3


def test_settings_are_those_of_the_call(llm):
    with llmframe.option_context(base_url=llm.base_url, model="gpt-6-luna"):
        answered = frame().llm.complete("q")
    llmframe.options.model = "another"
    llmframe.options.base_url = "http://127.0.0.1:9/v1"
    assert answered.compute()["q_completion"].notna().all()
    assert {body["model"] for body in llm.ledger.bodies} == {"gpt-6-luna"}


def test_the_key_is_in_no_message_and_of_the_environment_not_even_in_the_pickle(llm, monkeypatch):
    secret = "sk-0123456789-very-secret"
    shown = frame().llm.complete("q", api_key=secret)
    graph = shown.__dask_graph__()
    assert secret not in repr(shown.expr) + str(shown.expr.tree_repr()) + repr(dict(graph))
    assert secret.encode() in cloudpickle.dumps(shown)
    llmframe.options.api_key = None
    monkeypatch.setenv("OPENAI_API_KEY", secret)
    assert secret.encode() not in cloudpickle.dumps(frame().llm.complete("q"))


def test_fresh_begins_when_the_call_is_written(llm):
    frame().llm.complete("q").compute()
    anew = frame().llm.complete("q", fresh=True)
    anew.compute()
    anew.compute()
    assert llm.ledger.billed == 24
    frame().llm.complete("q", fresh=True).compute()
    assert llm.ledger.billed == 36


REFUSED = {
    "max_cost": ({"max_cost": 2.0}, r"max_cost: .*ddf\[…\]\.compute\(\)\.llm\.complete\(…, max_cost=…\)"),
    "dry_run": ({"dry_run": True}, r"dry_run: .*ddf\[…\]\.compute\(\)\.llm\.complete\(…, dry_run=True\)"),
    "wait": ({"wait": False}, r"wait: .*client\.compute\("),
    "client": ({"client": object()}, r"client: .*base_url= and api_key="),
    "dedupe": ({"dedupe": False}, r"dedupe: .*ddf\[…\]\.compute\(\)\.llm\.complete\(…, dedupe=False\)"),
    "overwrite": ({"overwrite": "missing"}, r"overwrite: .*where=ddf\[…\]\.isna\(\), overwrite=True"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_partitions_cannot_keep_is_refused_with_the_line_to_write(name, llm):
    arguments, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        frame().llm.complete("q", **arguments)


def test_a_cap_among_the_options_is_not_passed_over(llm):
    llmframe.options.max_cost = 1.0
    with pytest.raises(ValueError, match="max_cost"):
        frame().llm.complete("q")


def test_invalid_arguments_are_errors_of_the_call(llm):
    with pytest.raises(KeyError, match="there is no column 'p'"):
        frame().llm.complete("p")
    with pytest.raises(TypeError, match="did you mean 'temperature'"):
        frame().llm.complete("q", temprature=0)
    with pytest.raises(TypeError, match="where must be a mask of the Dask frame"):
        frame().llm.complete("q", where=[True] * 12)
    with pytest.raises(ValueError, match="other partitions"):
        frame().llm.complete("q", where=frame(partitions=2)["stars"] < 1)


def test_rows_that_are_not_there_are_no_requests(llm):
    ddf = frame()
    answered = ddf[ddf["id"] < 3].llm.complete("q", into="a")
    assert len(answered.compute()) == 3
    assert llm.ledger.billed == 3
