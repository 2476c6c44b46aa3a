"""deploy/Dockerfile: hadolint's rules and ours, and its health check run against a real server."""

import http.server
import json
import os
import re
import shutil
import ssl
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import trustme

from functional.deploy.deployed import DEPLOY
from functional.installation import fetch_result, follow

ROOT = DEPLOY.parent
TEXT = (DEPLOY / "Dockerfile").read_text("utf-8")
HADOLINT = Path(sys.executable).with_name("hadolint")


def read_instructions():
    """Return (instruction, rest) of every line, continued lines joined."""
    lines = re.sub(r"^#.*\n", "", TEXT, flags=re.MULTILINE).replace("\\\n", " ").splitlines()
    return [tuple(line.split(maxsplit=1)) for line in lines if line.strip()]


INSTRUCTIONS = read_instructions()


def rest_of(name):
    return [rest for instruction, rest in INSTRUCTIONS if instruction == name]


@pytest.mark.skipif(not HADOLINT.exists(), reason="no hadolint for this platform")
def test_hadolint_has_nothing_to_say():
    done = subprocess.run([HADOLINT, DEPLOY / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_every_image_is_of_a_version_to_the_last_digit():
    names = {rest.partition(" AS ")[2] for rest in rest_of("FROM")}
    from_outside = [rest.split()[0] for rest in rest_of("FROM") if rest.split()[0] not in names]
    assert from_outside
    for image in from_outside:
        assert re.fullmatch(r"[a-z/]+:\d+\.\d+\.\d+[a-z-]*", image), image


def test_uv_is_the_one_of_the_makefile():
    version = re.search(r"^UV_VERSION := (\S+)$", (ROOT / "makefile").read_text("utf-8"), flags=re.MULTILINE)[1]
    assert f"UV_VERSION={version}" in rest_of("ARG")


def test_it_runs_as_a_number_that_is_not_root_and_signals_reach_it():
    assert rest_of("USER") == ["10001:10001"]
    assert json.loads(rest_of("ENTRYPOINT")[0]) == ["gaugehouse"]  # no shell that would keep SIGTERM to itself
    assert json.loads(rest_of("CMD")[0]) == ["serve"]
    assert rest_of("STOPSIGNAL") == ["SIGTERM"]
    assert [name for name, _rest in INSTRUCTIONS].index("USER") < [name for name, _ in INSTRUCTIONS].index("ENTRYPOINT")


def test_the_last_stage_takes_only_what_was_built_and_keeps_no_cache():
    last = INSTRUCTIONS[max(n for n, (name, _rest) in enumerate(INSTRUCTIONS) if name == "FROM") :]
    assert [rest for name, rest in last if name == "COPY"] == ["--from=build /opt/gaugehouse /opt/gaugehouse"]
    assert not rest_of("ADD")
    for command in rest_of("RUN"):
        assert "pip install" not in command or "--no-cache-dir" in command
        assert "uv sync" not in command or "--frozen --no-dev" in command
        assert "apt-get" not in command or "rm -rf /var/lib/apt/lists" in command
        assert "|" not in command.replace("||", "")  # else it needs pipefail
    assert "UV_NO_CACHE=1" in " ".join(rest_of("ENV"))


def test_it_is_labelled():
    labels = " ".join(rest_of("LABEL"))
    for name in ("title", "description", "licenses", "version", "revision", "base.name"):
        assert f"org.opencontainers.image.{name}=" in labels


def test_the_context_is_what_the_image_is_made_of():
    ignored = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    allowed = {line[1:] for line in ignored if line.startswith("!")}
    assert "*" in ignored
    copied = {source for rest in rest_of("COPY") if "--from" not in rest for source in rest.split()[:-1]}
    assert copied == allowed


def run_health_check(port, **settings):
    """Run the check of the image with this Python; return its exit code."""
    ((_cmd, text),) = [rest.split(" CMD ", 1) for rest in rest_of("HEALTHCHECK")]
    _python, *arguments = json.loads(text)
    environment = {**os.environ, "GAUGEHOUSE_PORT": str(port), "http_proxy": "http://127.0.0.1:9"} | settings
    return subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, check=False, timeout=30
    ).returncode


def test_the_health_check_tells_a_server_from_none(house):
    assert run_health_check(house.url.rpartition(":")[2]) == 0
    assert run_health_check(1) == 1


def test_the_health_check_speaks_https_where_the_server_does(tmp_path):
    issued = trustme.CA().issue_cert("gaugehouse.example")
    issued.private_key_and_cert_chain_pem.write_to_path(tmp_path / "pair.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "pair.pem")

    class Healthy(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200 if self.path == "/health" else 404)
            self.end_headers()

        def log_message(self, *_said):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Healthy)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    answering = threading.Thread(target=server.serve_forever)
    answering.start()
    try:
        assert run_health_check(server.server_port, GAUGEHOUSE_TLS_CERT="cert.pem") == 0
        assert run_health_check(1, GAUGEHOUSE_TLS_CERT="cert.pem") == 1
    finally:
        server.shutdown()
        answering.join()
        server.server_close()


@pytest.mark.skipif(shutil.which("unshare") is None or os.geteuid() != 0, reason="needs root, to remount folders")
def test_a_server_writes_nothing_but_its_data(found):
    """The root read-only, as the compose file has it: a report as PDF loads all that there is to load."""
    installation = found({"GAUGEHOUSE_SEGMENT_AGE_S": "1", "TMPDIR": "/dev/shm", "HOME": "/nonexistent"}, workers=1)  # noqa: S108
    data = installation.data_dir
    script = (
        'mount --make-rprivate / && mount --bind "$0" "$0" && mount -t tmpfs tmpfs /dev/shm && '
        'for point in $(awk \'{print $2}\' /proc/mounts); do case "$point" in "$0"|/dev*|/proc*|/sys*) ;; '
        '*) mount -o remount,bind,ro "$point" ;; esac; done && ! touch "$0-not" 2>/dev/null && exec "$@"'
    )
    probe = subprocess.run(["unshare", "--mount", "sh", "-c", script, str(data), "true"], check=False)
    if probe.returncode:
        pytest.skip("this machine lets nobody remount folders")
    installation.prefix = ("unshare", "--mount", "sh", "-c", script, str(data))
    installation.start()
    manager = installation.sign_in("max")
    asked = manager.post("/v1/reports", json={"period": "today", "kpis": ["mean"]})
    location = asked.headers["location"]
    assert follow(manager, location)[-1]["status"] == "done"
    pdf = fetch_result(manager, location, "pdf")
    assert pdf.status_code == 200, pdf.text
    installation.stop()
