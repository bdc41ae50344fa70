"""Where Drover answers otherwise than the recorded server on purpose, and why.

A difference is by case; `STATUS` where another status is meant, `BODY` where only the body differs. What is
listed here and does not differ any more fails the test, so that the list stays true.
"""

from __future__ import annotations

STATUS: dict[str, str] = {}
BODY: dict[str, str] = {}
