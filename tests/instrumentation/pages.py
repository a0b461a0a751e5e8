"""The Python blocks of a page of the documentation, by the name in their first line."""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def blocks(page: str) -> dict[str, str]:
    text = (DOCS / page).read_text()
    found = re.findall(r"^```python\n(# (\S+\.py)\n.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert len(found) == text.count("```python"), "each block begins with the name of its file"
    return {name: code for code, name in found}


def generated(page: str, name: str) -> str:
    """What stands between the markers of a generated table."""
    text = (DOCS / page).read_text()
    found = re.search(rf"<!-- {name}: .*? -->\n(.*?)\n<!-- end of {name} -->", text, re.DOTALL)
    assert found, f"no table of {name} in {page}"
    return found[1]
