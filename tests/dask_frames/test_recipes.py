"""The recipes for Spark and Ray, as the module's docstring has them, where these engines are installed."""

from __future__ import annotations

import inspect
import re
import sys
import textwrap

import pytest
from helpers import MODEL, paid_again

import llmframe.dask

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore", "ignore::pytest.PytestUnraisableExceptionWarning"),
]
ROWS = [{"review": f"review {number}"} for number in range(40)]


def recipes():
    """Give the blocks of code of the docstring: Spark's, then Ray's."""
    doc = inspect.getdoc(llmframe.dask)
    return [textwrap.dedent(block) for block in re.findall(r"::\n\n((?: {4}.*\n|\n)+)", doc + "\n")]


@pytest.fixture
def reached(server, monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", "any")
    monkeypatch.setenv("LLMFRAME_MODEL", MODEL)
    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)
    return server


def test_both_are_code():
    assert [compile(recipe, "recipe", "exec") is not None for recipe in recipes()] == [True, True]


def test_sparks_recipe_answers_each_row_and_pays_once(reached):
    sql = pytest.importorskip("pyspark.sql")
    spark = sql.SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false").getOrCreate()
    try:
        names = {"frame": spark.createDataFrame(ROWS).repartition(4)}
        exec(recipes()[0], names)
        for _ in range(2):
            assert all(row["answer"] for row in names["answers"].collect())
    finally:
        spark.stop()
    assert (reached.ledger.billed, paid_again(reached)) == (40, 0)


def test_rays_recipe_answers_each_row_and_pays_once(reached):
    ray = pytest.importorskip("ray")
    data = pytest.importorskip("ray.data")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        names = {"dataset": data.from_items(ROWS, override_num_blocks=4)}
        exec(recipes()[1], names)
        for _ in range(2):
            assert all(row["answer"] for row in names["answers"].take_all())
    finally:
        ray.shutdown()
    assert (reached.ledger.billed, paid_again(reached)) == (40, 0)
