"""The policy that the HTML format works under: whoever serves a page needs it, and no library that makes one."""

import base64
import hashlib
from functools import cache
from pathlib import Path

TEMPLATES_DIR = Path(__file__).parent / "templates"


@cache
def content_security_policy() -> str:
    """Return the policy: nothing is loaded, nothing runs, one style sheet by its hash."""
    digest = base64.b64encode(hashlib.sha256(read_style().encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


@cache
def read_style() -> str:
    """Return the one style sheet, as it stands in the page."""
    return (TEMPLATES_DIR / "report.css").read_text("utf-8").replace("\n", "")
