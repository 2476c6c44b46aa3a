"""HTML: one file that needs nothing else: styles and charts are inside, no script, no font, no address.

It works under the strictest policy: no inline style attribute, no event handler, nothing is loaded; the one style
element is allowed by its hash. The file carries that policy itself; who serves it sends the same as a header.

Jinja2, because it escapes by default, is typed, small, without dependencies beyond markupsafe, and older than most of
what it replaced. What reaches a template is text, and text is escaped; only our own charts are markup.
"""

import re
from functools import cache
from html import escape
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from gaugehouse.reports.render.blocks import Panel, Pictures
from gaugehouse.reports.render.document import ReportDocument
from gaugehouse.reports.render.formats import RenderOptions
from gaugehouse.reports.render.layout import lay_out
from gaugehouse.reports.render.policy import TEMPLATES_DIR, content_security_policy, read_style
from gaugehouse.reports.render.texts import BREAK

ROOT_TAG = re.compile(r"<svg\b[^>]*>")
VIEW_BOX = re.compile(r'viewBox="([^"]*)"')
OWN_ID = re.compile(r'(\bid="|url\(#|href="#)')


def write(document: ReportDocument, options: RenderOptions) -> bytes:
    """Return the report as one HTML page in UTF-8."""
    page, pictures = lay_out(document, options)
    template = _environment().get_template("report.html")
    style = Markup(read_style())  # noqa: S704 - our own file
    html = template.render(page=page, picture=_show(pictures), style=style, policy=content_security_policy())
    return _close_up(html).encode()


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(TEMPLATES_DIR),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_without_breaks,
    )


def _without_breaks(value: Any) -> Any:
    """Drop the marks where paper may break a word: a browser breaks by itself, and a copied name must be the name."""
    return value.replace(BREAK, "") if isinstance(value, str) and BREAK in value else value


def _close_up(html: str) -> str:
    """Drop the empty lines that blocks of a template leave; no text of a report holds a line break."""
    return re.sub(r"\n\s*\n+", "\n", html).lstrip()


def _show(pictures: Pictures) -> Any:
    def show(panel: Panel) -> Markup:
        return Markup(_embed(pictures.drawn[panel.picture], panel))  # noqa: S704 - drawn by us; its texts are escaped

    return show


def _embed(svg: str, panel: Panel) -> str:
    """Return a chart as part of a page: as wide as its place, with ids of its own and words for who does not see it."""
    name = panel.picture.removesuffix(".svg")
    root = ROOT_TAG.search(svg)
    box = VIEW_BOX.search(root[0]) if root else None
    if root is None or box is None:
        raise ValueError("a chart is not an SVG with a viewBox")
    body = OWN_ID.sub(rf"\g<1>{name}-", svg[root.end() :])
    label = escape(panel.description.replace(BREAK, ""))
    opening = (
        f'<svg class="chart" xmlns="http://www.w3.org/2000/svg" viewBox="{box[1]}" role="img" aria-label="{label}">'
    )
    return opening + body
