"""Any kind of answer with further columns beside it: the response, and what the row took."""

from llmframe._columns.companions.raw_answers import RawAnswers
from llmframe._columns.companions.usage_answers import USAGE_COLUMNS, RequestUsage, UsageAnswers

__all__ = ["USAGE_COLUMNS", "RawAnswers", "RequestUsage", "UsageAnswers"]
