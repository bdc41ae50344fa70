"""The table of routes and roles in docs/keys.md, from the code: `python -m scripts.roles_doc`, with `--check`
for CI.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import PurePosixPath

from frontend.access.route_roles import ROUTES, Access
from scripts.generated_page import GeneratedPage, table


def roles_table() -> str:
    return table(("who", "routes"), ((access.value, _routes_of(access)) for access in Access))


def _routes_of(access: Access) -> str:
    methods: dict[str, set[str]] = defaultdict(set)
    for (method, path), needed in ROUTES.items():
        if needed is access:
            methods[_shown(path)].add(method)
    return ", ".join(f"`{'/'.join(sorted(methods[path]))} {path}`" for path in methods)


def _shown(path: str) -> str:
    """The console's files as one."""
    is_file = path.startswith("/console/") and PurePosixPath(path).suffix
    return "/console/FILE" if is_file else path.replace(":path}", "}")


PAGE = GeneratedPage("keys.md", {"roles": roles_table()}, task="roles-doc")

if __name__ == "__main__":
    sys.exit(PAGE.main(sys.argv[1:]))
