"""deploy/docker-compose.yml: by the published schema, by `docker compose config` where there is one, and by our rules."""

import json
import re
import shutil
import stat
import subprocess
from pathlib import Path

import jsonschema
import pytest
import yaml

from functional.deploy.deployed import DEPLOY
from gaugehouse.config import Settings

FILE = DEPLOY / "docker-compose.yml"
COMPOSE = yaml.safe_load(FILE.read_text("utf-8"))
SERVICES = COMPOSE["services"]
EACH = pytest.mark.parametrize("name", SERVICES)
SETTINGS = {f"GAUGEHOUSE_{name.upper()}" for name in Settings.model_fields}


def has_compose():
    if shutil.which("docker") is None:
        return False
    return subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode == 0


@pytest.fixture(scope="module")
def secrets(tmp_path_factory):
    """The secrets, made by the script that is there for it."""
    folder = tmp_path_factory.mktemp("made") / "secrets"
    subprocess.run([DEPLOY / "make-secrets", folder], check=True, capture_output=True)
    return folder


def test_it_is_what_the_compose_specification_calls_a_compose_file():
    schema = json.loads(Path(__file__).with_name("compose-spec.json").read_text("utf-8"))
    problems = [
        f"{'.'.join(map(str, problem.path))}: {problem.message}"
        for problem in jsonschema.Draft7Validator(schema).iter_errors(COMPOSE)
    ]
    assert problems == []


@pytest.mark.skipif(not has_compose(), reason="no `docker compose` on this machine")
def test_docker_compose_reads_it():
    command = ["docker", "compose", "--file", FILE, "--profile", "object-store", "config", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@EACH
def test_a_container_may_do_no_more_than_it_must(name):
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert not service.get("privileged")
    assert "no-new-privileges:true" in service["security_opt"]
    assert {"mem_limit", "cpus", "pids_limit"} <= service.keys()
    assert service["restart"] == ("no" if name == "backup-copy" else "unless-stopped")


@EACH
def test_nothing_is_reached_from_another_machine(name):
    for port in SERVICES[name].get("ports", []):
        assert port.startswith("127.0.0.1:"), port
    assert SERVICES[name].get("network_mode") is None
    assert COMPOSE["networks"]["inside"]["internal"] is True
    assert SERVICES["postgres"]["networks"] == ["inside"]


@EACH
def test_images_have_a_version(name):
    image = SERVICES[name]["image"]
    assert re.fullmatch(r"[a-z/]+:(v?\d+\.\d+(\.\d+)?(-[a-z]+)?|\$\{GAUGEHOUSE_VERSION:-\d+\.\d+\.\d+\})", image), image


@EACH
def test_no_password_is_written_down(name):
    for variable, value in SERVICES[name].get("environment", {}).items():
        if re.search(r"PASSWORD|SECRET|TOKEN|_KEY|DATABASE_URL", variable):
            assert variable.endswith("_FILE"), variable
            assert value.startswith("/run/secrets/"), variable
    for used in SERVICES[name].get("secrets", []):
        assert used in COMPOSE["secrets"]


def test_secrets_are_random_and_kept(secrets):
    named = {Path(one["file"]).name for one in COMPOSE["secrets"].values()}
    made = {path.name: path.read_text("utf-8") for path in secrets.iterdir()}
    assert named <= made.keys()
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o700
    assert len(made["gaugehouse_metrics_token"]) >= 30
    assert made["postgres_password"] in made["gaugehouse_database_url"]
    assert made["store_key"] == json.loads(made["store.json"])["identities"][0]["credentials"][0]["secretKey"]
    passwords = [
        made[name] for name in ("postgres_password", "grafana_password", "gaugehouse_metrics_token", "store_key")
    ]
    assert len(set(passwords)) == 4
    (secrets / "store.json").unlink()  # an interrupted run is finished with the same key
    subprocess.run([DEPLOY / "make-secrets", secrets], check=True, capture_output=True)
    assert {path.name: path.read_text("utf-8") for path in secrets.iterdir()} == made


def test_secrets_are_no_part_of_the_repository():
    assert "/deploy/secrets/" in (DEPLOY.parent / ".gitignore").read_text("utf-8").splitlines()


@pytest.mark.parametrize("name", ["gaugehouse", "worker"])
def test_settings_are_ones_that_there_are(name):
    environment = SERVICES[name]["environment"]
    assert {variable for variable in environment if variable.startswith("GAUGEHOUSE_")} <= SETTINGS
    assert environment["CREDENTIALS_DIRECTORY"] == "/run/secrets"
    for secret in SERVICES[name]["secrets"]:
        assert secret.upper() in SETTINGS
    assert SERVICES[name]["volumes"][0] == "data:/data"


def test_every_setting_that_is_named_here_or_in_the_docs_is_one_that_there_is():
    of_the_shell = {"GAUGEHOUSE_VERSION"}  # what compose fills into the image's name
    of_tests = re.compile("GAUGEHOUSE_TEST_")
    for path in [*DEPLOY.rglob("*"), *(DEPLOY.parent / "docs").rglob("*.md"), DEPLOY.parent / "README.md"]:
        if path.is_file() and path.parent.name != "secrets":
            named = set(re.findall(r"GAUGEHOUSE_[A-Z0-9_]*[A-Z0-9]", path.read_text("utf-8")))
            unknown = {name for name in named - SETTINGS - of_the_shell if of_tests.match(name) is None}
            assert not unknown, path


@EACH
def test_dependencies_wait_for_what_is_checked(name):
    for other, wanted in SERVICES[name].get("depends_on", {}).items():
        built_in = "build" in SERVICES[other]  # the image's own HEALTHCHECK
        assert wanted["condition"] != "service_healthy" or "healthcheck" in SERVICES[other] or built_in


def test_a_stop_waits_for_the_flush():
    for name in ("gaugehouse", "worker"):
        assert int(SERVICES[name]["stop_grace_period"].removesuffix("s")) > 20


def test_what_is_mounted_from_here_is_here():
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            if source.startswith("."):
                assert (DEPLOY / source).exists(), source
                assert volume.endswith(":ro"), volume
            else:
                assert source in COMPOSE["volumes"]
