"""Projects, components, metrics and their attributes; shift calendars and exclusion windows; KPIs.

Entry: `Registry` and `FirstLabels` (first sight of names and labels, from memory), `find_components`, `find_metrics`,
`resolve_attributes`; `find_kpis` and `define_kpi` in `inventory.kpis`, not loaded here: it needs compiled code.
May import: access, database, kpi, measurements, config, errors.
Invariants: names never change and are never deleted (the lake holds them); a retired component keeps its data and
still accepts rows; versions of a shift calendar and exclusion windows are never deleted either, only replaced and
withdrawn; every function is told the project and sees nothing else.
"""

from gaugehouse.database.pages import Page as Page
from gaugehouse.inventory.components import ComponentView as ComponentView
from gaugehouse.inventory.components import NewComponent as NewComponent
from gaugehouse.inventory.components import add_missing_components as add_missing_components
from gaugehouse.inventory.components import create_components as create_components
from gaugehouse.inventory.components import find_component_names as find_component_names
from gaugehouse.inventory.components import find_components as find_components
from gaugehouse.inventory.components import get_component as get_component
from gaugehouse.inventory.components import restore_component as restore_component
from gaugehouse.inventory.components import retire_component as retire_component
from gaugehouse.inventory.components import update_component as update_component
from gaugehouse.inventory.exclusions import ExclusionView as ExclusionView
from gaugehouse.inventory.exclusions import NewExclusion as NewExclusion
from gaugehouse.inventory.exclusions import add_exclusion as add_exclusion
from gaugehouse.inventory.exclusions import find_effective_exclusions as find_effective_exclusions
from gaugehouse.inventory.exclusions import find_exclusions as find_exclusions
from gaugehouse.inventory.exclusions import get_exclusion as get_exclusion
from gaugehouse.inventory.exclusions import withdraw_exclusion as withdraw_exclusion
from gaugehouse.inventory.first_labels import FirstLabels as FirstLabels
from gaugehouse.inventory.metrics import MetricView as MetricView
from gaugehouse.inventory.metrics import NewMetric as NewMetric
from gaugehouse.inventory.metrics import create_metrics as create_metrics
from gaugehouse.inventory.metrics import find_metrics as find_metrics
from gaugehouse.inventory.metrics import get_metric as get_metric
from gaugehouse.inventory.metrics import resolve_attributes as resolve_attributes
from gaugehouse.inventory.metrics import update_metric as update_metric
from gaugehouse.inventory.moves import Move as Move
from gaugehouse.inventory.moves import move_component as move_component
from gaugehouse.inventory.projects import LIMITS as LIMITS
from gaugehouse.inventory.projects import ProjectSettings as ProjectSettings
from gaugehouse.inventory.projects import ProjectView as ProjectView
from gaugehouse.inventory.projects import create_project as create_project
from gaugehouse.inventory.projects import delete_project as delete_project
from gaugehouse.inventory.projects import ensure_default_project as ensure_default_project
from gaugehouse.inventory.projects import find_project as find_project
from gaugehouse.inventory.projects import find_projects as find_projects
from gaugehouse.inventory.projects import get_project as get_project
from gaugehouse.inventory.projects import get_project_settings as get_project_settings
from gaugehouse.inventory.projects import put_project_settings as put_project_settings
from gaugehouse.inventory.registry import Registry as Registry
from gaugehouse.inventory.shift_calendars import ShiftCalendarView as ShiftCalendarView
from gaugehouse.inventory.shift_calendars import find_shift_calendar as find_shift_calendar
from gaugehouse.inventory.shift_calendars import get_shift_calendar as get_shift_calendar
from gaugehouse.inventory.shift_calendars import put_shift_calendar as put_shift_calendar
