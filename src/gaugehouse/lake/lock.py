"""The lock of a lake's owner, for this room; it stands in `gaugehouse.lock`, which loads without the lake."""

from gaugehouse.lock import OwnerLock as OwnerLock
from gaugehouse.lock import is_locked as is_locked
