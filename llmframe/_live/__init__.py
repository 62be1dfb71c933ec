"""The live lane: a limited number of workers send requests one by one, as the pace admits them.

Runs that share an account's limits report their use to each other through the journal.
"""

from llmframe._live.lane import LiveLane
from llmframe._live.limit_exchange import LimitExchange

__all__ = ["LimitExchange", "LiveLane"]
