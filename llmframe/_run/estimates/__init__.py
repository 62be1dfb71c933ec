"""What a call will cost before it is made: what it would ask is looked up, some rows are asked where a sample is wanted, the rest is reckoned."""

from llmframe._run.estimates.dry_run import await_estimate, check_dry_run, estimate
from llmframe._run.estimates.estimate import Estimate, Range

__all__ = ["Estimate", "Range", "await_estimate", "check_dry_run", "estimate"]
