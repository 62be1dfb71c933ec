"""The journal in a PostgreSQL database, shared by processes of several machines.

All times are the server's. A connection keeps nothing from one transaction to the next, so that a pooler may stand in
between; one that was lost is opened again, and what it did is done again without being there twice.
"""

from llmframe._journal.postgres.journal import PostgresJournal
from llmframe._journal.postgres.open_databases import open_database
from llmframe._journal.postgres.schema import GRANTS

__all__ = ["GRANTS", "PostgresJournal", "open_database"]
