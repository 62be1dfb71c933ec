"""Types of the verbs' arguments, for type checkers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

Mask: TypeAlias = pd.Series | npt.NDArray[np.bool_] | Sequence[bool]
Message: TypeAlias = Mapping[str, Any]
Schema: TypeAlias = Sequence[str] | Mapping[str, Any] | type
_Column: TypeAlias = pd.Series | pd.Index | npt.NDArray[Any] | pd.api.extensions.ExtensionArray
Labels: TypeAlias = Sequence[str] | Mapping[str, str] | type[Enum] | _Column
Rows: TypeAlias = pd.DataFrame | Sequence[Mapping[str, Any]]
