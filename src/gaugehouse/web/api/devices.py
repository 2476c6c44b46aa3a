"""The device that a path names, for addresses that devices themselves ask."""

from gaugehouse.access import Caller
from gaugehouse.errors import NotFound
from gaugehouse.runtime import Runtime
from gaugehouse.web.api.asked import Choice, choose_components

SHOWN_CHARS = 200


def get_device(runtime: Runtime, caller: Caller, name_or_id: str) -> str:
    """Return the name of a component that the caller may see.

    Raises:
        NotFound: the project has none, or it is not the caller's: the answer is the same.
    """
    if caller.component == name_or_id:  # a device that has not sent anything yet is no component, and may ask
        return name_or_id
    for name in choose_components(runtime, caller, Choice(names=(name_or_id,), type=None, labels={})) or ():
        return name
    raise NotFound(f"there is no component {name_or_id[:SHOWN_CHARS]!r}", code="component_not_found")
