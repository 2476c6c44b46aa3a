"""`gaugehouse fleet`: how devices are, asked of the lake's owner; and when they count as that, in the database."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from gaugehouse.cli.desk import deciding
from gaugehouse.cli.firmware import ask_fleet
from gaugehouse.cli.json_output import print_json
from gaugehouse.cli.progress import DataTable, out, print_table
from gaugehouse.cli.projects import read_duration_s
from gaugehouse.errors import Refused
from gaugehouse.fleet import State, Thresholds
from gaugehouse.fleet.thresholds import get_thresholds, put_thresholds

NONE = "-"
UNWELL = (State.OFFLINE, State.AT_RISK)  # who is shown when nobody says whom to show


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusOptions:
    """What the command line asks."""

    data_dir: Path
    project: str
    state: str | None
    component: str | None
    limit: int


def show_fleet(options: StatusOptions, as_json: bool) -> None:
    """Show how many devices are what, and some of them: of a state, or those that are not well.

    Raises:
        Refused: there is no such state.
    """
    if options.state is not None and options.state not in set(State):
        raise Refused(f"--state is one of {', '.join(State)}, not {options.state!r}", code="state_refused")
    given = {
        "project": options.project,
        "limit": options.limit,
        "component": options.component,
        "states": _choose_states(options),
    }
    found = ask_fleet(options.data_dir, "fleet", given)
    counts = {name: value for name, value in found.items() if name not in {"items", "total"}}
    items, total = found["items"][: options.limit], found["total"]
    if as_json:
        print_json(counts | {"items": items, "total": total})
        return
    battery = counts["average_battery"]
    out.print(
        f"{counts['devices']:,} devices: [green]{counts['online']:,} online[/green],"
        f" [yellow]{counts['at_risk']:,} at risk[/yellow], [red]{counts['offline']:,} offline[/red];"
        f" average battery {NONE if battery is None else f'{battery:.1f} %'}",
        highlight=False,
    )
    if items:
        print_table(_devices(items))
    if len(items) < total:
        out.print(f"and {total - len(items):,} more: --limit, or --json", style="dim", highlight=False)


def _choose_states(options: StatusOptions) -> list[str]:
    if options.state is not None:
        return [options.state]
    return [] if options.component is not None else [state.value for state in UNWELL]


def _devices(items: list[dict[str, Any]]) -> DataTable:
    table = DataTable()
    for heading in ("device", "state", "why", "last heard of", "battery", "rssi"):
        table.add_column(heading, overflow="fold")
    for one in items:
        battery = NONE if one["battery_level"] is None else f"{one['battery_level']:g} %"
        rssi = NONE if one["rssi"] is None else f"{one['rssi']:g} dBm"
        table.add(one["component"], one["state"], ", ".join(one["reasons"]), one["measured_at"], battery, rssi)
    return table


def set_thresholds(changes: Mapping[str, str | float | None], *, data_dir: Path, project: str, as_json: bool) -> None:
    """Change the given thresholds, where any is given, and show all.

    Raises:
        Refused: a threshold out of its bounds, or no duration.
    """
    read = {
        name: read_duration_s(value) if isinstance(value, str) else value
        for name, value in changes.items()
        if value is not None
    }
    with deciding(data_dir, project) as desk:
        thresholds: Thresholds = replace(get_thresholds(desk.session, desk.project_id), **read)
        if read:
            put_thresholds(desk.session, desk.project_id, thresholds)
            desk.trail.tell(desk.session, "thresholds.change", details=asdict(thresholds))
    if as_json:
        print_json(thresholds)
        return
    table = DataTable()
    table.show_header = False
    for name, value in asdict(thresholds).items():
        table.add(name, f"{value:g}")
    print_table(table)
