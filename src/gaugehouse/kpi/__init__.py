"""Facts, then formulas: numbers with their coverage, from rows in time order.

Owns: the facts kernel, the formula language, the KPI catalogue, the rules of docs/kpis.md. Pure: arrays in, arrays out,
no I/O. May import: measurements, errors.

Entry functions: `series_params` -> `compute_facts` -> `evaluate`, or `evaluate_groups` for components together; `rank`
for the best of them; `merge` joins the facts of adjacent buckets; `warm_up` compiles the kernel ahead of the first
question. `define` checks a KPI of a project, `make_kpis` makes definitions ready; `explain` shows how a value came to
be.

From text to number: `language` (text to tree) -> `checking` (names, units: tree to term) -> `calculation` (terms over
`readings`, which say when a fact does not stand). `quantities` lists the facts, `catalogue` the built-in KPIs.

Invariants:
- A result depends on the rows alone, never on files, batches or threads: sums are compensated and sequential per
  series; threads take whole series.
- The facts of adjacent buckets merge into the facts of their union (all but exact quantiles).
- up + down + planned + idle + unknown = E' - S', always.
- Work is O(rows + buckets) per series.

Choices where the rules leave room:
- `partial` says that something a result rests on is *known* to be missing: the bucket still runs, a counter has no
  reading before the start or one older than max hold, its last steps are undecided, or values may hold longer than the
  look-back of 35 days. Coverage below 100 % alone is not `partial`: coverage stands beside every value for that.
- `no_data`: no point in the bucket and, for results that rest on held values, none carried in. Numbers that are honest
  in silence keep their value (count 0, completeness 0 %, coverage 0 %, up and down 0 s, unknown the whole bucket); all
  others are null. `undefined`: there is data but the formula has no value, or the KPI is not for this kind of metric.
- An estimated interval is named as the reason of an ok completeness, and of every ok result on holds of three of them.
- A rate runs from the reading before the first counted step to the last counted reading, without excluded windows: what
  else is left out ends no time. More than one glitch, and more glitches than steps that rose, make an increase partial.
- A gap lies between two points (a bad row is not one), clipped to the bucket; one over a border counts once in a merge.
- `coverage` is answered for amounts (delta) too: it measures silence, not the amount.
- Counters: rollover is tried before dip and spike, in the order of the rules; a fall that is a rollover is therefore no
  return from a spike. A rise at the end of the data counts; a fall there is undecided until two more readings came.
  `max_rate` bounds every counted amount, and the next step starts from the reading behind a step that was too fast.
- Excluded windows are cut out of time: durations and gaps are what is left, rows inside count for nothing and end what
  held before them. A counter is followed through a window, for the machine went on; the steps inside are not counted,
  and the first behind it counts from the last reading inside.
- A pair of consecutive points (moving range, autocorrelation) is at most max hold apart: how a value moved over a
  silence says nothing of its short-term variation, and does not depend on how far back rows were read.
- Slots of the nominal interval lie on a grid from the first edge of the question, so that adjacent buckets merge.
- A down interval belongs to the bucket in which it ends, with its whole length: the means of adjacent buckets merge by
  sums. It ends at the next known state of any other class; one that ends in silence, at a bad row or in an unknown
  state is censored. One that begins so is counted, and makes the mean partial.
- Silence between two points: counted time beyond max hold, or any in which their alive metric was not covered. A
  failure across it is uncertain; a bad row alone leaves a failure certain, for both points are known.
- Autocorrelation is of the points of the period: the step over the border moves the moving range alone. So it lies
  between -1 and 1, also with gaps.
- A caveat that makes a member of a group partial makes the group partial.
- OEE and its factors are covered while the state of the machine is known; OEE is undefined where one of them is.
- Straight lines join neighbouring points at most max hold apart; a bad row between them parts them.
"""

from gaugehouse.kpi.calculation import Owners as Owners
from gaugehouse.kpi.catalogue import CATALOGUE as CATALOGUE
from gaugehouse.kpi.catalogue import find_unknown_kpis as find_unknown_kpis
from gaugehouse.kpi.catalogue import find_wanted as find_wanted
from gaugehouse.kpi.catalogue import get_kpis as get_kpis
from gaugehouse.kpi.checking import KnownMetric as KnownMetric
from gaugehouse.kpi.definition import Definition as Definition
from gaugehouse.kpi.definition import Kpi as Kpi
from gaugehouse.kpi.definition import define as define
from gaugehouse.kpi.definition import find_needed as find_needed
from gaugehouse.kpi.definition import make_kpis as make_kpis
from gaugehouse.kpi.evaluation import GROUP_RESULTS as GROUP_RESULTS
from gaugehouse.kpi.evaluation import RESULTS as RESULTS
from gaugehouse.kpi.evaluation import evaluate as evaluate
from gaugehouse.kpi.evaluation import evaluate_groups as evaluate_groups
from gaugehouse.kpi.explanation import ExplainedValue as ExplainedValue
from gaugehouse.kpi.explanation import Explanation as Explanation
from gaugehouse.kpi.explanation import explain as explain
from gaugehouse.kpi.facts import FACTS_VERSION as FACTS_VERSION
from gaugehouse.kpi.facts import Facts as Facts
from gaugehouse.kpi.facts import Want as Want
from gaugehouse.kpi.facts import compute_facts as compute_facts
from gaugehouse.kpi.facts import find_held as find_held
from gaugehouse.kpi.facts import join_series as join_series
from gaugehouse.kpi.facts import merge as merge
from gaugehouse.kpi.facts import series_params as series_params
from gaugehouse.kpi.facts import take_bucket as take_bucket
from gaugehouse.kpi.facts import warm_up as warm_up
from gaugehouse.kpi.kernel import SeriesParams as SeriesParams
from gaugehouse.kpi.outcome import Status as Status
from gaugehouse.kpi.ranking import rank as rank
