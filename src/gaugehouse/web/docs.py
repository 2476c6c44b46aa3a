"""The docs page: Swagger UI from our own files, no CDN, no inline script; behind a login outside demo mode."""

from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from gaugehouse.web.pages import SIGN_IN_PATH
from gaugehouse.web.security import authorize_docs

STATIC_DIR = Path(__file__).parent / "static"

router = APIRouter(include_in_schema=False)


@router.get("/docs")
def read_docs(is_admitted: Annotated[bool, Depends(authorize_docs)]) -> Response:
    """Return the page around Swagger UI, or lead a browser to the page where people sign in."""
    if not is_admitted:
        return RedirectResponse(SIGN_IN_PATH, HTTPStatus.SEE_OTHER)
    return HTMLResponse((STATIC_DIR / "docs.html").read_bytes())


@router.get("/openapi.json", response_model=None)
def read_openapi(
    request: Request, is_admitted: Annotated[bool, Depends(authorize_docs)]
) -> dict[str, Any] | RedirectResponse:
    """Return the description of the API, or lead a browser to the page where people sign in."""
    if not is_admitted:
        return RedirectResponse(SIGN_IN_PATH, HTTPStatus.SEE_OTHER)
    description: dict[str, Any] = request.app.openapi()
    return description


@router.get("/")
@router.get("/b/docs")
async def lead_to_docs() -> RedirectResponse:
    """Lead old bookmarks, and visitors of the bare address, to the docs."""
    return RedirectResponse("/docs")


class CachedFiles(StaticFiles):
    """Our own static files, always whole; a browser may keep them for an hour.

    A range that cannot be had is answered by Starlette in a shape of its own; a server may ignore any (RFC 9110, 14.2).
    """

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Return the file with its lifetime."""
        scope["headers"] = [header for header in scope["headers"] if header[0] != b"range"]
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = "public, max-age=3600"
        return response
