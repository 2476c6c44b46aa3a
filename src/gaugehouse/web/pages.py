"""The pages that are made here: sign in, sign out. No script and no inline style, as the security headers want it."""

from html import escape
from http import HTTPStatus

from starlette.responses import HTMLResponse, Response

SIGN_IN_PATH, SIGN_OUT_PATH, AFTER_SIGN_IN = "/sign-in", "/sign-out", "/docs"
# Not `no-referrer` as elsewhere: browsers would then send `Origin: null` with the forms.
HEADERS = {"Referrer-Policy": "same-origin"}
FRAME = """\
<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <title>Gaugehouse: {title}</title>
    <link rel="stylesheet" href="/static/pages.css">
  </head>
  <body>
    <main>
      <h1>{title}</h1>
{content}
    </main>
  </body>
</html>
"""
SIGN_IN = """\
      <form method="post" action="/sign-in">
        <input type="hidden" name="form_token" value="{form_token}">
        <label>Name <input name="username" autocomplete="username" required autofocus></label>
        <label>Password <input name="password" type="password" autocomplete="current-password" required></label>
        <label>Project <input name="project" placeholder="not needed by members of one"></label>
        <button>Sign in</button>
      </form>"""
SIGN_OUT = """\
      <p>You are signed in as <strong>{name}</strong> in project <strong>{project}</strong>.</p>
      <p><a href="/docs">API docs</a></p>
      <form method="post" action="/sign-out">
        <input type="hidden" name="form_token" value="{form_token}">
        <button>Sign out</button>
      </form>"""


def speaks_html(path: str) -> bool:
    """Say whether an address answers refusals as pages: people see them."""
    return path in {SIGN_IN_PATH, SIGN_OUT_PATH}


def write_sign_in(*, form_token: str) -> Response:
    """Return the page with the form."""
    content = SIGN_IN.format(form_token=escape(form_token))
    return HTMLResponse(FRAME.format(title="Sign in", content=content), headers=HEADERS)


def write_sign_out(*, name: str, project: str, form_token: str) -> Response:
    """Return the page that says who is signed in, with a button to leave."""
    content = SIGN_OUT.format(name=escape(name), project=escape(project), form_token=escape(form_token))
    return HTMLResponse(FRAME.format(title="Signed in", content=content), headers=HEADERS)


def write_refusal(status: HTTPStatus, detail: str, headers: dict[str, str]) -> Response:
    """Return the page of a form that was refused; the way back gets a fresh form."""
    content = f'      <p role="alert">{escape(detail)}</p>\n      <p><a href="{SIGN_IN_PATH}">Try again</a></p>'
    kept = {name: text for name, text in headers.items() if name != "WWW-Authenticate"}  # a browser would ask by itself
    return HTMLResponse(FRAME.format(title="Not done", content=content), status, headers=kept)
