"""`gaugehouse doctor`: what is weak about the set-up, in words that can be acted on."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from gaugehouse.checkup import CHECKS, Finding, Severity, examine, find_weaknesses
from gaugehouse.cli.json_output import print_json
from gaugehouse.cli.place import require_installation
from gaugehouse.cli.progress import out
from gaugehouse.config import Settings
from gaugehouse.database import refuse_forgotten_database

EXIT_CODES = {Severity.CRITICAL: 4, Severity.WARNING: 3, Severity.NOTICE: 0}
STYLES = {
    Severity.CRITICAL: "bold white on red",
    Severity.WARNING: "bold black on yellow",
    Severity.NOTICE: "bold cyan",
}
LABEL_COLUMNS, TEXT_COLUMNS = 6, 96


def diagnose(*, data_dir: Path, as_json: bool) -> int:
    """Print what is weak and return the exit code: 4 for something critical, 3 for a warning, else 0.

    Raises:
        NotFound: there is no installation.
        StartRefused: its database is one that we were not told of.
    """
    settings = Settings(data_dir=data_dir)
    require_installation(settings)
    refuse_forgotten_database(settings)
    findings = find_weaknesses(examine(settings))
    worst = findings[0].severity if findings else None
    if as_json:
        print_json({"verdict": worst or "sound", "checks": len(CHECKS), "findings": findings})
    else:
        _show(findings, settings)
    return 0 if worst is None else EXIT_CODES[worst]


def _show(findings: Sequence[Finding], settings: Settings) -> None:
    out.print()
    for finding in findings:
        out.print(Text.assemble((f" {finding.severity.upper()} ", STYLES[finding.severity]), f"  {finding.code}"))
        out.print(Padding(_explained(finding), (0, 0, 1, 2)))
    counts = Counter(finding.severity for finding in findings)
    told = ", ".join(_counted(one, counts[one]) for one in Severity if counts[one])
    verdict = Text(told if findings else "nothing weak was found", "bold" if findings else "bold green")
    out.print(verdict)
    out.print(
        Text(f"{len(CHECKS)} checks of {settings.data_dir}, with the settings of this environment", "dim"),
        highlight=False,
    )


def _counted(severity: Severity, count: int) -> str:
    return f"{count} {severity}" if count == 1 or severity is Severity.CRITICAL else f"{count} {severity}s"


def _explained(finding: Finding) -> Table:
    lines = Table.grid(padding=(0, 2))
    lines.add_column(width=LABEL_COLUMNS, style="dim")
    lines.add_column(max_width=TEXT_COLUMNS, overflow="fold")
    for label, text in (("what", finding.what), ("why", finding.why), ("mend", finding.mend)):
        lines.add_row(label, Text(text, "bold" if label == "what" else ""))
    return lines
