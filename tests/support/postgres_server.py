"""`python -m tests.support.postgres_server`: a PostgreSQL server, whose URL it prints, until its input ends.

For tests whose environment has no PostgreSQL.
"""

from __future__ import annotations

import sys

from tests.support.postgres import postgres

if __name__ == "__main__":
    with postgres() as server:
        sys.stdout.write(f"{server.url}\n")
        sys.stdout.flush()
        sys.stdin.read()
