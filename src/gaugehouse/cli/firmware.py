"""`gaugehouse firmware`: decisions go to the database, server or not; what devices run is asked of the lake's owner."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gaugehouse.cli.asking import owner
from gaugehouse.cli.desk import deciding, reading
from gaugehouse.cli.json_output import print_json
from gaugehouse.cli.progress import DataTable, out, print_table, progress_bar
from gaugehouse.config import Settings
from gaugehouse.fleet.releases import (
    NewRelease,
    ReleaseChanges,
    ReleaseView,
    add_release,
    change_release,
    choose_release,
    find_releases,
    get_form,
    put_form,
    tell_changes,
)
from gaugehouse.fleet.rollouts import NewRollout, RolloutView, add_rollout, change_rollout, find_rollouts
from gaugehouse.inventory import Page
from gaugehouse.inventory.checks import read_labels
from gaugehouse.measurements.period import parse_instant

NONE = "-"
MOST_SHOWN = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseOptions:
    """A version to release."""

    version: str
    component_type: str
    is_recommended: bool
    url: str | None
    sha256: str | None
    notes: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutOptions:
    """Whom to tell to run a release, which is named by version or id."""

    release: str
    component_type: str
    share_percent: float
    labels: Sequence[str]
    components: tuple[str, ...] | None


# --- what devices run


def ask_fleet(data_dir: Path, do: str, given: dict[str, object]) -> Any:
    """Ask the owner of the lake, or be it.

    Raises:
        NotFound: there is no installation, or no such project.
    """
    with progress_bar() as report, owner(Settings(data_dir=data_dir), report) as ask:
        return ask(do, given)


def show_versions(*, data_dir: Path, project: str, at: str | None, as_json: bool) -> None:
    """Show how many devices run each version."""
    instant = None if at is None else parse_instant(at).isoformat()
    found = ask_fleet(data_dir, "firmware_versions", {"project": project, "at": instant})
    if as_json:
        print_json(found)
        return
    table = _table("version", "type", "devices", "release", "recommended", "behind")
    for one in found["versions"]:
        table.add(
            one["version"],
            one["component_type"] or NONE,
            f"{one['devices']:,}",
            one["state"] or "never released",
            one["recommended"] or NONE,
            "behind" if one["is_behind"] else "",
        )
    if found["versions"]:
        print_table(table)
    out.print(f"{found['total_devices']:,} devices said what they run, {found['behind_devices']:,} are behind")


def show_behind(*, data_dir: Path, project: str, limit: int, as_json: bool) -> None:
    """Show who runs an older version than they should."""
    found = ask_fleet(data_dir, "firmware_behind", {"project": project, "limit": limit})
    if as_json:
        print_json({"items": found})
        return
    if not found:
        out.print("nobody is behind")
        return
    table = _table("device", "runs", "since", "should run")
    for one in found:
        table.add(one["component"], one["version"], one["since"], one["recommended"])
    print_table(table)


def show_target(*, data_dir: Path, project: str, component: str, as_json: bool) -> None:
    """Show what a device is told."""
    told = ask_fleet(data_dir, "firmware_target", {"project": project, "component": component})
    if as_json:
        print_json(told)
        return
    table = DataTable()
    table.show_header = False
    for name, value in told.items():
        table.add(name, NONE if value is None else str(value))
    print_table(table)


# --- what is decided


def show_form(form: str | None, *, data_dir: Path, project: str) -> None:
    """Set the form of versions where one is given, and print it.

    Raises:
        Refused: it is none.
    """
    if form is not None:
        with deciding(data_dir, project) as desk:
            put_form(desk.session, desk.project_id, form)
            desk.trail.tell(desk.session, "firmware_form.change", details={"form": form})
    with reading(data_dir, project) as (session, project_id):
        out.print(get_form(session, project_id).text, markup=False, highlight=False)


def list_releases(*, data_dir: Path, project: str, state: str | None, as_json: bool) -> None:
    """Show the releases of a project, the newest first."""
    with reading(data_dir, project) as (session, project_id):
        page = find_releases(session, project_id, state=state, limit=MOST_SHOWN)
    if as_json:
        print_json({"items": page.items, "total": page.total})
        return
    _show_releases(page.items)
    _say_rest(page)


def release_version(options: ReleaseOptions, *, data_dir: Path, project: str, as_json: bool) -> None:
    """Release a version.

    Raises:
        Refused, AlreadyExists: see `add_release`.
    """
    new = NewRelease(
        version=options.version,
        component_type=options.component_type,
        state="recommended" if options.is_recommended else "available",
        url=options.url,
        sha256=options.sha256,
        notes=options.notes,
    )
    with deciding(data_dir, project) as desk:
        added = add_release(desk.session, desk.project_id, new, author=desk.caller.name)
        details = {"component_type": added.component_type, "state": added.state}
        desk.trail.tell(desk.session, "firmware_release.create", id=added.id, name=added.version, details=details)
    if as_json:
        print_json(added)
    else:
        _show_releases([added])


def change_state(
    state: str, named: str, *, data_dir: Path, project: str, component_type: str, because: str | None = None
) -> None:
    """Recommend, allow or withdraw a release that is named by version or id, and show it.

    Raises:
        NotFound: the project has none of this name.
    """
    changes = {"state": state} | ({} if because is None else {"reason": because})
    with deciding(data_dir, project) as desk:
        chosen = choose_release(desk.session, desk.project_id, named, component_type=component_type)
        changed = change_release(desk.session, desk.project_id, chosen.id, ReleaseChanges(**changes))
        told = tell_changes(changes)
        desk.trail.tell(desk.session, "firmware_release.change", id=changed.id, name=changed.version, details=told)
    _show_releases([changed])


def roll_out(options: RolloutOptions, *, data_dir: Path, project: str, as_json: bool) -> None:
    """Begin a rollout, and print its id.

    Raises:
        NotFound, Refused: see `add_rollout`.
    """
    labels = read_labels(options.labels)
    with deciding(data_dir, project) as desk:
        release = choose_release(desk.session, desk.project_id, options.release, component_type=options.component_type)
        new = NewRollout(
            release=release.id, share_percent=options.share_percent, labels=labels, components=options.components
        )
        added = add_rollout(desk.session, desk.project_id, new, author=desk.caller.name)
        details = asdict(new) | {"components": options.components and len(options.components)}
        desk.trail.tell(desk.session, "firmware_rollout.create", id=added.id, name=added.version, details=details)
    if as_json:
        print_json(added)
    else:
        out.print(added.id, highlight=False)


def list_rollouts(*, data_dir: Path, project: str, with_ended: bool, as_json: bool) -> None:
    """Show the rollouts of a project, the newest first."""
    with reading(data_dir, project) as (session, project_id):
        page = find_rollouts(session, project_id, include_ended=with_ended, limit=MOST_SHOWN)
    if as_json:
        print_json({"items": page.items, "total": page.total})
        return
    _show_rollouts(page.items)
    _say_rest(page)


def change_rollout_of(
    rollout_id: str, *, data_dir: Path, project: str, state: str | None = None, share_percent: float | None = None
) -> None:
    """Pause, continue or end a rollout, or change its share, and show it.

    Raises:
        NotFound, Refused: see `change_rollout`.
    """
    changes = {"state": state, "share_percent": share_percent}
    with deciding(data_dir, project) as desk:
        changed = change_rollout(desk.session, desk.project_id, rollout_id, state=state, share_percent=share_percent)
        details = {name: value for name, value in changes.items() if value is not None}
        desk.trail.tell(desk.session, "firmware_rollout.change", id=changed.id, name=changed.version, details=details)
    _show_rollouts([changed])


def _show_releases(releases: Sequence[ReleaseView]) -> None:
    table = _table("version", "type", "state", "id", "released", "by", "notes")
    for one in releases:
        notes = one.notes if one.withdrawn_reason is None else f"withdrawn: {one.withdrawn_reason}"
        when = f"{one.created_at:%Y-%m-%d %H:%M}"
        table.add(one.version, one.component_type or NONE, one.state.value, one.id, when, one.author, notes)
    print_table(table)


def _show_rollouts(rollouts: Sequence[RolloutView]) -> None:
    table = _table("id", "version", "state", "share", "labels", "devices", "began", "by")
    for one in rollouts:
        labels = ", ".join(f"{key}:{value}" for key, value in sorted(one.labels.items()))
        devices = "all" if one.components is None else f"{len(one.components):,}"
        began = f"{one.created_at:%Y-%m-%d %H:%M}"
        share = f"{one.share_percent:g} %"
        table.add(one.id, one.version, one.state.value, share, labels or NONE, devices, began, one.author)
    print_table(table)


def _say_rest(page: Page[Any]) -> None:
    if len(page.items) < page.total:
        out.print(f"and {page.total - len(page.items):,} more", style="dim")


def _table(*headings: str) -> DataTable:
    table = DataTable()
    for heading in headings:
        right = heading in {"devices", "share"}
        table.add_column(heading, justify="right" if right else "left", overflow="fold")
    return table
