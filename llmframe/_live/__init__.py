"""The live lane: a limited number of workers send requests one by one, as the pace admits them.

Runs that share an account's limits report their use to each other through the journal.
"""

from llmframe._live.account_pace import AccountPace
from llmframe._live.lane import LiveLane

__all__ = ["AccountPace", "LiveLane"]
