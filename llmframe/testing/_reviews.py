"""The sample data that ships with the package."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


def reviews() -> pd.DataFrame:
    """Return the shipped sample of product reviews, for experiments.

    Returns
    -------
    pandas.DataFrame
        One row per review.

    Examples
    --------
    >>> len(reviews()) > 0
    True
    """
    # Imported here, so that importing this package stays fast.
    from importlib.resources import files  # noqa: PLC0415

    import pandas as pd  # noqa: PLC0415

    with files("llmframe").joinpath("data", "reviews.csv").open(encoding="utf-8") as file:
        return pd.read_csv(file)
