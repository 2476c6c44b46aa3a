"""`python -m gaugehouse.kpi` prints docs/kpis.md."""

import sys

from gaugehouse.kpi.catalogue import CATALOGUE
from gaugehouse.kpi.page import render_page

sys.stdout.write(render_page(CATALOGUE.values()))
