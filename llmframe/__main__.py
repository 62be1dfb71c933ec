"""`python -m llmframe`: the command line."""

from __future__ import annotations

import sys

from llmframe.cli import main

sys.exit(main())
