"""`gaugehouse fleet` and `firmware`: the commands and their options; the work is in `devices.py`, `firmware.py`."""
# ruff: noqa: PLC0415 - imports inside commands keep the start of every other command fast

from typing import Annotated

import typer

from gaugehouse.cli.options import DEFAULT_DATA, AsJson, Data, Project, split_names

fleet_app = typer.Typer(help="Devices: online, at risk or offline.", no_args_is_help=True)
firmware_app = typer.Typer(help="Firmware: who runs what, and what they are to run.", no_args_is_help=True)
rollout_app = typer.Typer(help="Rollouts: who is told to run a release.", no_args_is_help=True)
firmware_app.add_typer(rollout_app, name="rollout")

Limit = Annotated[int, typer.Option(min=1, max=10_000, help="How many devices to show")]
Release = Annotated[str, typer.Argument(help="Its version, or its id: fwr_...")]
RolloutId = Annotated[str, typer.Argument(metavar="ID", help="rol_..., as `firmware rollout list` shows it")]
ForType = Annotated[str, typer.Option("--type", help="Of components of this type; default everybody's")]


@fleet_app.command(name="status")
def fleet_status(
    data: Data = DEFAULT_DATA,
    project: Project = "default",
    state: Annotated[str | None, typer.Option(help="List those that are online, at-risk or offline")] = None,
    component: Annotated[str | None, typer.Option(help="Only this device")] = None,
    limit: Limit = 20,
    as_json: AsJson = False,
) -> None:
    """Show how many devices are online, at risk and offline, and who is not well; beside a server or without one."""
    from gaugehouse.cli.devices import StatusOptions, show_fleet

    show_fleet(StatusOptions(data_dir=data, project=project, state=state, component=component, limit=limit), as_json)


@fleet_app.command(name="thresholds")
def fleet_thresholds(
    data: Data = DEFAULT_DATA,
    project: Project = "default",
    offline_after: Annotated[str | None, typer.Option(help="Silent for longer: offline; 15m, 1h")] = None,
    low_battery: Annotated[float | None, typer.Option(help="Below: at risk [%]")] = None,
    weak_rssi: Annotated[float | None, typer.Option(help="Below: at risk [dBm]")] = None,
    falling_battery: Annotated[float | None, typer.Option(help="Falls at least so fast: at risk [% an hour]")] = None,
    falling_window: Annotated[str | None, typer.Option(help="Over which time that is looked at; 6h")] = None,
    as_json: AsJson = False,
) -> None:
    """Show when a device is offline or at risk; what is given is changed before."""
    from gaugehouse.cli.devices import set_thresholds

    changes = {
        "offline_after_s": offline_after,
        "low_battery_percent": low_battery,
        "weak_rssi_dbm": weak_rssi,
        "falling_battery_percent_per_hour": falling_battery,
        "falling_battery_window_s": falling_window,
    }
    set_thresholds(changes, data_dir=data, project=project, as_json=as_json)


@firmware_app.command(name="versions")
def firmware_versions(
    data: Data = DEFAULT_DATA,
    project: Project = "default",
    at: Annotated[str | None, typer.Option(help="As of an instant: 2026-11-20T06:00Z  [default: now]")] = None,
    as_json: AsJson = False,
) -> None:
    """Show how many devices run each version, and how many are behind."""
    from gaugehouse.cli.firmware import show_versions

    show_versions(data_dir=data, project=project, at=at, as_json=as_json)


@firmware_app.command(name="behind")
def firmware_behind(
    data: Data = DEFAULT_DATA, project: Project = "default", limit: Limit = 100, as_json: AsJson = False
) -> None:
    """Show the devices that run an older version than the recommended one."""
    from gaugehouse.cli.firmware import show_behind

    show_behind(data_dir=data, project=project, limit=limit, as_json=as_json)


@firmware_app.command(name="target")
def firmware_target(
    device: str, data: Data = DEFAULT_DATA, project: Project = "default", as_json: AsJson = False
) -> None:
    """Show what a device is told to run, and why."""
    from gaugehouse.cli.firmware import show_target

    show_target(data_dir=data, project=project, component=device, as_json=as_json)


@firmware_app.command(name="form")
def firmware_form(
    form: Annotated[
        str | None, typer.Argument(help="dotted, semver or a pattern; without it the form is shown")
    ] = None,
    data: Data = DEFAULT_DATA,
    project: Project = "default",
) -> None:
    """Show or set the form of a project's versions."""
    from gaugehouse.cli.firmware import show_form

    show_form(form, data_dir=data, project=project)


@firmware_app.command(name="list")
def firmware_list(
    data: Data = DEFAULT_DATA,
    project: Project = "default",
    state: Annotated[str | None, typer.Option(help="available, recommended or withdrawn")] = None,
    as_json: AsJson = False,
) -> None:
    """Show all releases, the newest first."""
    from gaugehouse.cli.firmware import list_releases

    list_releases(data_dir=data, project=project, state=state, as_json=as_json)


@firmware_app.command(name="release")
def firmware_release(
    version: Annotated[str, typer.Argument(help="In the project's form")],
    data: Data = DEFAULT_DATA,
    project: Project = "default",
    for_type: ForType = "",
    recommend: Annotated[bool, typer.Option("--recommend", help="It is what everybody should run")] = False,
    url: Annotated[str | None, typer.Option(help="Where it is fetched")] = None,
    sha256: Annotated[str | None, typer.Option(help="Of what is fetched")] = None,
    notes: Annotated[str, typer.Option(help="For people")] = "",
    as_json: AsJson = False,
) -> None:
    """Release a version; devices are told of it once it is recommended, or by a rollout."""
    from gaugehouse.cli.firmware import ReleaseOptions, release_version

    options = ReleaseOptions(
        version=version, component_type=for_type, is_recommended=recommend, url=url, sha256=sha256, notes=notes
    )
    release_version(options, data_dir=data, project=project, as_json=as_json)


@firmware_app.command(name="recommend")
def firmware_recommend(
    release: Release, data: Data = DEFAULT_DATA, project: Project = "default", for_type: ForType = ""
) -> None:
    """Let a release be what everybody should run; the one before stays available."""
    from gaugehouse.cli.firmware import change_state

    change_state("recommended", release, data_dir=data, project=project, component_type=for_type)


@firmware_app.command(name="allow")
def firmware_allow(
    release: Release, data: Data = DEFAULT_DATA, project: Project = "default", for_type: ForType = ""
) -> None:
    """Let a release be available: may be run, and is recommended to nobody."""
    from gaugehouse.cli.firmware import change_state

    change_state("available", release, data_dir=data, project=project, component_type=for_type)


@firmware_app.command(name="withdraw")
def firmware_withdraw(
    release: Release,
    data: Data = DEFAULT_DATA,
    project: Project = "default",
    for_type: ForType = "",
    because: Annotated[str | None, typer.Option(help="For people")] = None,
) -> None:
    """Withdraw a release: nobody is told to run it, and who does is told to go back."""
    from gaugehouse.cli.firmware import change_state

    change_state("withdrawn", release, data_dir=data, project=project, component_type=for_type, because=because)


@rollout_app.command(name="add")
def rollout_add(
    release: Release,
    data: Data = DEFAULT_DATA,
    project: Project = "default",
    for_type: ForType = "",
    share: Annotated[float, typer.Option(min=0, max=100, help="Of those who fit [%]")] = 100.0,
    label: Annotated[list[str] | None, typer.Option(help="key:value; repeat it to ask for several at once")] = None,
    component: Annotated[str | None, typer.Option(help="Comma-separated devices")] = None,
    as_json: AsJson = False,
) -> None:
    """Tell a share of all devices, of those with labels, or of those in a list, to run a release; print its id."""
    from gaugehouse.cli.firmware import RolloutOptions, roll_out

    options = RolloutOptions(
        release=release,
        component_type=for_type,
        share_percent=share,
        labels=tuple(label or ()),
        components=split_names(component),
    )
    roll_out(options, data_dir=data, project=project, as_json=as_json)


@rollout_app.command(name="list")
def rollout_list(
    data: Data = DEFAULT_DATA,
    project: Project = "default",
    ended: Annotated[bool, typer.Option("--ended", help="Those that have ended as well")] = False,
    as_json: AsJson = False,
) -> None:
    """Show the rollouts of a project, the newest first."""
    from gaugehouse.cli.firmware import list_rollouts

    list_rollouts(data_dir=data, project=project, with_ended=ended, as_json=as_json)


@rollout_app.command(name="share")
def rollout_share(
    rollout_id: RolloutId,
    percent: Annotated[float, typer.Argument(min=0, max=100, help="Of those who fit [%]")],
    data: Data = DEFAULT_DATA,
    project: Project = "default",
) -> None:
    """Change the share of a rollout; one that grows only adds devices."""
    from gaugehouse.cli.firmware import change_rollout_of

    change_rollout_of(rollout_id, data_dir=data, project=project, share_percent=percent)


@rollout_app.command(name="pause")
def rollout_pause(rollout_id: RolloutId, data: Data = DEFAULT_DATA, project: Project = "default") -> None:
    """Let a rollout tell nobody for a while."""
    from gaugehouse.cli.firmware import change_rollout_of

    change_rollout_of(rollout_id, data_dir=data, project=project, state="paused")


@rollout_app.command(name="resume")
def rollout_resume(rollout_id: RolloutId, data: Data = DEFAULT_DATA, project: Project = "default") -> None:
    """Let a paused rollout go on."""
    from gaugehouse.cli.firmware import change_rollout_of

    change_rollout_of(rollout_id, data_dir=data, project=project, state="active")


@rollout_app.command(name="end")
def rollout_end(rollout_id: RolloutId, data: Data = DEFAULT_DATA, project: Project = "default") -> None:
    """End a rollout for good; devices keep what they run."""
    from gaugehouse.cli.firmware import change_rollout_of

    change_rollout_of(rollout_id, data_dir=data, project=project, state="ended")
