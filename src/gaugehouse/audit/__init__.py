"""Who did what to which object, from where: append-only entries in hash chains, one per project and one for the rest.

Owns: entries, chains and the file of their newest hashes.
Entry: `Trail.tell` writes an entry inside the transaction of the act; `Refusals.note` one of its own; `verify_audit`.
May import: database, errors.
Invariants: a chain counts without gaps, whoever writes; every entry holds the hash of the one before; nothing is
changed or deleted but the chain of a deleted project, whose last hash stays in the installation's; no entry holds a
secret.
"""

from gaugehouse.audit.actions import ACTIONS as ACTIONS
from gaugehouse.audit.entries import INSTALLATION as INSTALLATION
from gaugehouse.audit.entries import Entry as Entry
from gaugehouse.audit.heads import Head as Head
from gaugehouse.audit.heads import Heads as Heads
from gaugehouse.audit.reading import EntryFilter as EntryFilter
from gaugehouse.audit.reading import find_entries as find_entries
from gaugehouse.audit.refusals import Refusals as Refusals
from gaugehouse.audit.trail import LOCAL as LOCAL
from gaugehouse.audit.trail import Trail as Trail
from gaugehouse.audit.trail import end_chain as end_chain
from gaugehouse.audit.verification import Verification as Verification
from gaugehouse.audit.verification import verify_audit as verify_audit
