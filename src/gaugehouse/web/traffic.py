"""What HTTP requests come to: durations by route, refusals by code, rows refused by reason."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from gaugehouse.lake import Durations

BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
UNMATCHED = "unmatched"  # an address of nobody: as a label each would be a series of its own
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Traffic:
    """Counts of one application since its start; changed in the event loop only."""

    def __init__(self) -> None:
        self.durations: dict[tuple[str, ...], Durations] = {}  # by method, route and class of status
        self.refused: Counter[str] = Counter()
        self.rejected_rows: Counter[str] = Counter()
        self.in_flight = 0

    def begin(self) -> None:
        self.in_flight += 1

    def end(self, scope: Mapping[str, Any], status: int, duration_s: float) -> None:
        """Count one answered request."""
        self.in_flight -= 1
        method = scope["method"] if scope["method"] in METHODS else "other"
        key = (method, route_of(scope), f"{status // 100}xx")
        found = self.durations.get(key)
        if found is None:
            found = self.durations[key] = Durations(BOUNDS_S)
        found.observe(duration_s)
        state = scope["state"]
        if "problem_code" in state:
            self.refused[state["problem_code"]] += 1
        if "rejected" in state:
            reason, rows = state["rejected"]
            self.rejected_rows[reason] += rows


def route_of(scope: Mapping[str, Any]) -> str:
    """Return the template of the endpoint that answered."""
    route = scope.get("route")
    return getattr(route, "path", None) or scope["state"].get("route") or UNMATCHED
