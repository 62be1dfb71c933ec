"""Columns that a verb wrote, looked at again: their call is made once more, its stale rows are told, and asked anew."""

from llmframe._verbs.refreshing.refresh import arefreshed, prepared_refresh, refreshed, stale_rows

__all__ = ["arefreshed", "prepared_refresh", "refreshed", "stale_rows"]
