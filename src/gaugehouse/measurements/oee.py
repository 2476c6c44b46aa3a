"""Which metrics of a component make up its overall equipment effectiveness."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class OeeAttributes:
    """What OEE of one component is computed from; a factor without its metrics is undefined (KPI.md).

    Args:
        state_metric: Says when it runs; kind state.
        parts_metric: Counts all parts; kind counter or delta.
        good_metric: Counts good parts. With a parts_metric there is either this or scrap_metric, never both.
        scrap_metric: Counts bad parts.
        ideal_cycle_time_s: Time for one part at the best speed. [s]
    """

    state_metric: str | None = None
    parts_metric: str | None = None
    good_metric: str | None = None
    scrap_metric: str | None = None
    ideal_cycle_time_s: float | None = None

    @property
    def metrics(self) -> tuple[str, ...]:
        """Every metric that is named, in the order of the fields."""
        named = (self.state_metric, self.parts_metric, self.good_metric, self.scrap_metric)
        return tuple(name for name in named if name is not None)
