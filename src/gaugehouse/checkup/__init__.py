"""What is weak about how an installation is set up, and how to mend it: `gaugehouse doctor`.

Entry: `examine(settings)` gathers what is so, `find_weaknesses` judges it. May import: database, access, audit, config.
Invariants: judging is pure; nothing is changed, not even a file's mode; no secret and no address with one is told.
"""

from gaugehouse.checkup.circumstances import Circumstances as Circumstances
from gaugehouse.checkup.circumstances import DemoAccount as DemoAccount
from gaugehouse.checkup.circumstances import KeyFacts as KeyFacts
from gaugehouse.checkup.gathering import examine as examine
from gaugehouse.checkup.weaknesses import CHECKS as CHECKS
from gaugehouse.checkup.weaknesses import Finding as Finding
from gaugehouse.checkup.weaknesses import Severity as Severity
from gaugehouse.checkup.weaknesses import find_weaknesses as find_weaknesses
