"""What a reader asks for, and whether it may have that."""

from dataclasses import dataclass

from gaugehouse.access import Caller, Scope
from gaugehouse.errors import Forbidden, Refused

MIN_RATE_HZ, MAX_RATE_HZ = 0.1, 10.0  # people see no more than ten pictures a second
DEFAULT_RATE_HZ = 1.0
SERIES_LIMIT = 10_000  # of one reader: as many values as a first message holds
REPORTS_LIMIT = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What one reader follows.

    Args:
        components: By name, all without it.
        metrics: All without it.
        measurements: Whether newest values are wanted at all.
        kinds: Of events; empty for none, None for all.
        reports: Ids of reports whose progress is wanted.
        max_rate_hz: Most ticks per second. [Hz]
        snapshot: Whether the newest values come first.
        after_us: Begin after this position instead: what a reader knows that was here before. [us]
    """

    components: tuple[str, ...] | None = None
    metrics: tuple[str, ...] | None = None
    measurements: bool = True
    kinds: tuple[str, ...] | None = ()
    reports: tuple[str, ...] = ()
    max_rate_hz: float = DEFAULT_RATE_HZ
    snapshot: bool = True
    after_us: int | None = None

    @property
    def events(self) -> bool:
        """Whether any events are wanted."""
        return self.kinds is None or len(self.kinds) > 0

    def check(self) -> None:
        """Refuse what is out of bounds.

        Raises:
            Refused: with the field and what would be right.
        """
        if not MIN_RATE_HZ <= self.max_rate_hz <= MAX_RATE_HZ:
            raise Refused(
                f"max_rate_hz must be from {MIN_RATE_HZ:g} to {MAX_RATE_HZ:g}, not {self.max_rate_hz:g}",
                code="rate_refused",
            )
        if len(self.reports) > REPORTS_LIMIT:
            raise Refused(f"reports names more than {REPORTS_LIMIT} reports", code="too_many_reports")
        if not (self.measurements or self.events or self.reports):
            raise Refused("this asks for nothing: want measurements, events or reports", code="nothing_asked")

    def refuse_without_scope(self, caller: Caller) -> None:
        """Refuse a caller who may not see what is asked for.

        Raises:
            Forbidden: names the scopes that are needed.
        """
        needed = [
            scope
            for scope, is_needed in (
                (Scope.MEASUREMENTS_READ, self.measurements),
                (Scope.EVENTS_READ, self.events),
                (Scope.REPORTS_READ, bool(self.reports)),
            )
            if is_needed
        ]
        lacking = [scope for scope in needed if not caller.may(scope)]
        if lacking:
            raise Forbidden(f"this needs the scope {lacking[0]}", fields={"scopes_needed": lacking})
