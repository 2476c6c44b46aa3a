"""How many new rows each project has brought on this UTC day: what a quota of rows per day is held against."""

from gaugehouse.errors import Throttled
from gaugehouse.limits import day_of_us, seconds_to_next_day


class RowsOfDay:
    """New rows by project on one day, by the stamp of their log record. Used under the sequencer's lock only.

    What came on the same day before this start is added when somebody asks for it (`recall`): projects without a quota
    cost no look into the files.
    """

    def __init__(self) -> None:
        self._day = -1
        self._rows: dict[str, int] = {}

    def count(self, project: str, received_at_us: int) -> int:
        """Return the rows of a project on the day of an instant, which is never before that of the last call."""
        self._turn(received_at_us)
        return self._rows.get(project, 0)

    def add(self, project: str, rows: int, received_at_us: int) -> None:
        """Count rows that were written down."""
        if rows:
            self._turn(received_at_us)
            self._rows[project] = self._rows.get(project, 0) + rows

    def recall(self, project: str, rows: int, day: int) -> None:
        """Add what came on a day before this start; nothing if that day is over."""
        if self._day <= day:
            self._turn_to(day)
            self._rows[project] = self._rows.get(project, 0) + rows

    def refuse_over(self, project: str, rows: int, quota: int | None, received_at_us: int) -> None:
        """Refuse rows beyond what a project may bring on one day.

        Raises:
            Throttled: `rows_per_day_quota`, with the seconds to midnight UTC.
        """
        if quota is None or not rows:
            return
        present = self.count(project, received_at_us)
        if present + rows > quota:
            raise Throttled(
                f"the project may bring {quota:,} new rows on a UTC day; it has brought {present:,} and this request "
                f"has {rows:,}: nothing of it was stored, send it again after midnight UTC",
                code="rows_per_day_quota",
                fields={"quota": quota, "rows_today": present, "rows": rows},
                retry_after_s=seconds_to_next_day(received_at_us),
            )

    def _turn(self, instant_us: int) -> None:
        self._turn_to(day_of_us(instant_us))

    def _turn_to(self, day: int) -> None:
        if day != self._day:
            self._day, self._rows = day, {}
