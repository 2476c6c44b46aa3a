"""The docs page: Swagger UI from our own files, no CDN, no inline script; behind a login outside demo mode."""

from pathlib import Path
from typing import Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import FileResponse, RedirectResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from gaugehouse.web.security import authorize_docs

STATIC_DIR = Path(__file__).parent / "static"

router = APIRouter(include_in_schema=False)


@router.get("/docs", dependencies=[Depends(authorize_docs)])
def read_docs() -> FileResponse:
    """Return the page around Swagger UI."""
    return FileResponse(STATIC_DIR / "docs.html", media_type="text/html")


@router.get("/openapi.json", dependencies=[Depends(authorize_docs)])
def read_openapi(request: Request) -> dict[str, Any]:
    """Return the description of the API."""
    description: dict[str, Any] = request.app.openapi()
    return description


@router.get("/")
@router.get("/b/docs")
async def lead_to_docs() -> RedirectResponse:
    """Lead old bookmarks, and visitors of the bare address, to the docs."""
    return RedirectResponse("/docs")


class CachedFiles(StaticFiles):
    """Our own static files; a browser may keep them for an hour."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Return the file with its lifetime."""
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = "public, max-age=3600"
        return response
