"""What docker-compose.yml and Dockerfile promise, read from the files; deploy/try-compose runs them on an engine."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from contract.cluster.settings import describe
from worker.settings import WorkerSettings

ROOT = Path(__file__).resolve().parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
TEXT = (ROOT / "docker-compose.yml").read_text("utf-8")
EXAMPLE = (ROOT / "deploy/env.example").read_text("utf-8")


def test_the_services_are_these() -> None:
    assert set(SERVICES) == {"redis", "worker", "flower", "producer", "metrics", "prometheus"}
    assert SERVICES["producer"]["profiles"] == ["producer"], "it runs when it is called, not with `up`"
    assert SERVICES["metrics"]["profiles"] == SERVICES["prometheus"]["profiles"] == ["metrics"], (
        "it runs for those who ask for it"
    )


@pytest.mark.parametrize("name", SERVICES)
def test_a_container_may_do_little(name: str) -> None:
    service = SERVICES[name]

    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["init"] is True
    assert re.fullmatch(r"(\$\{REDIS_USER:-)?[1-9]\d*(:\d+)?\}?", service["user"]), "a number that is not root's"
    assert not {"privileged", "cap_add", "devices", "pid", "ipc", "network_mode"} & set(service)
    assert "docker.sock" not in str(service)


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_can_be_scaled_its_image_replaced_and_its_memory_set(name: str) -> None:
    service = SERVICES[name]

    assert not {"container_name", "hostname"} & set(service)
    assert re.fullmatch(r"\$\{[A-Z]+_IMAGE:-[a-z/]+:[\w.-]+\}", service["image"])
    assert re.fullmatch(rf"\$\{{{name.upper()}_MEMORY:-([12]gb|256mb)\}}", service["mem_limit"])


def test_published_ports_are_on_loopback() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}

    assert published == {
        "flower": ["${FLOWER_PUBLISHED:-127.0.0.1:5555}:5555"],
        "prometheus": ["${PROMETHEUS_PUBLISHED:-127.0.0.1:9090}:9090"],
    }


@pytest.mark.parametrize("name", ["redis", "worker", "flower", "producer"])
def test_tmpfs_mounts_are_folders_of_the_image(name: str) -> None:
    """Guards the second start: an engine takes a tmpfs's mode from the folder in the image; one it creates itself is
    root's.
    """
    assert [each.partition(":")[0] for each in SERVICES[name]["tmpfs"]] == ["/tmp"]


def test_redis_is_internal_persists_its_data_and_may_use_twice_its_maxmemory() -> None:
    """Guards the limit's size too: a fork that rewrites the AOF may copy every page."""
    redis, conf = SERVICES["redis"], (ROOT / "deploy/redis/redis.conf").read_text("utf-8")

    assert (redis["networks"], COMPOSE["networks"]["inner"]["internal"]) == (["inner"], True)
    assert redis["volumes"].count("redis:/data") == 1
    assert re.search(r"^appendonly yes$", conf, re.M)
    assert re.search(r"^maxmemory-policy noeviction$", conf, re.M)
    assert "--maxmemory" in (ROOT / "deploy/redis/start").read_text("utf-8")
    assert redis["environment"]["REDIS_MAXMEMORY"] == "${REDIS_MAXMEMORY:-1gb}"
    assert redis["mem_limit"] == "${REDIS_MEMORY:-2gb}"


def test_flower_has_no_default_login_and_remembers_its_tasks() -> None:
    flower = SERVICES["flower"]

    assert flower["environment"]["FLOWER_BASIC_AUTH"].startswith("${FLOWER_BASIC_AUTH:?")
    assert re.search(r"^FLOWER_BASIC_AUTH=$", EXAMPLE, re.M), "the example holds none either"
    assert flower["environment"]["FLOWER_READ_ONLY"] == "true"
    assert flower["volumes"] == ["flower:/flower"]
    assert flower["environment"]["FLOWER_PERSISTENT"] == "true"
    assert flower["environment"]["FLOWER_DB"].startswith("/flower/")
    assert int(flower["environment"]["FLOWER_STATE_SAVE_INTERVAL"]) <= 60_000, "ms: what a kill may cost"
    assert "/flower && chown 10001:10001" in (ROOT / "Dockerfile").read_text("utf-8")


def test_prometheus_finds_every_worker_and_flower() -> None:
    page = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text("utf-8"))

    (workers, cluster, flower) = page["scrape_configs"]
    assert workers["dns_sd_configs"][0] == {"names": ["worker"], "type": "A", "port": 9108, "refresh_interval": "10s"}
    assert cluster["static_configs"] == [{"targets": ["metrics:9109"]}]
    assert page["rule_files"] == ["alerts.yml"]
    assert flower["static_configs"] == [{"targets": ["flower:5555"]}]
    assert "inner" in SERVICES["prometheus"]["networks"]
    own = SERVICES["worker"]["environment"]["TRAWL_OWN_SERVICES"]
    assert {"prometheus:9090", "metrics:9109"} <= set(re.split(r"[ :]-|[ }]", own)), "no list reads them"


def test_the_clusters_numbers_are_on_the_inner_network_only() -> None:
    """Guards 0.0.0.0 there: it is every address of a container that has one."""
    metrics = SERVICES["metrics"]

    assert (metrics["entrypoint"], metrics["command"]) == (["trawl"], ["metrics"])
    assert metrics["environment"]["TRAWL_METRICS"] == "0.0.0.0:9109"
    assert metrics["networks"] == ["inner"]
    assert not {"ports", "expose"} & set(metrics)


def test_metrics_are_on_the_inner_network_only() -> None:
    """What deploy/worker does with an empty TRAWL_METRICS is in tests/integration/test_services.py."""
    worker = SERVICES["worker"]

    assert worker["command"][:2] == ["/bin/sh", "deploy/worker"]
    assert worker["environment"]["TRAWL_METRICS"] == "${TRAWL_METRICS:-}"
    assert "0.0.0.0:9108" in worker["environment"]["TRAWL_OWN_SERVICES"], "no list reads those of any worker"
    assert worker["networks"] == ["inner", "outer"]
    assert not {"ports", "expose"} & set(worker)


@pytest.mark.parametrize("name", ["worker", "flower", "producer", "metrics"])
def test_services_wait_for_a_healthy_redis_and_read_its_password_from_a_file(name: str) -> None:
    service = SERVICES[name]

    assert service["depends_on"] == {"redis": {"condition": "service_healthy"}}
    assert service["environment"]["TRAWL_REDIS_PASSWORD_FILE"] == "/run/secrets/redis_password"
    assert service["secrets"] == ["redis_password"]
    assert "@" in service["environment"]["TRAWL_BROKER_URL"]
    assert ":" not in service["environment"]["TRAWL_BROKER_URL"].split("@")[0].removeprefix("redis://"), "no password"


@pytest.mark.parametrize("name", ["redis", "worker", "flower", "metrics"])
def test_long_running_services_have_health_checks_and_restart(name: str) -> None:
    assert SERVICES[name]["restart"] == "unless-stopped"
    assert SERVICES[name]["healthcheck"]["start_period"]


def test_the_workers_health_is_its_heartbeat() -> None:
    (kind, command) = SERVICES["worker"]["healthcheck"]["test"]

    assert kind == "CMD-SHELL"
    assert "$$TRAWL_HEARTBEAT_FILE" in command
    assert "TRAWL_HEARTBEAT_FILE=/tmp/" in (ROOT / "Dockerfile").read_text("utf-8")
    assert "inspect" not in command, "that costs two CPU seconds each time"


def test_a_worker_may_drain_before_it_is_killed() -> None:
    # 10 s after the drain it ends itself, whatever holds it.
    longest = re.search(r"up to (\d+), for stop_grace_period is (\d+)\.\n#TRAWL_DRAIN=(\d+)$", EXAMPLE, re.M)
    assert longest, "what the example says of it"
    most, grace, default = map(int, longest.groups())
    assert SERVICES["worker"]["stop_grace_period"] == f"{grace}s"
    assert grace >= most + 15
    assert most >= default == WorkerSettings().drain


def test_every_setting_of_a_worker_can_be_given() -> None:
    fixed = {"TRAWL_OUTPUT", "TRAWL_HEARTBEAT_FILE"}  # the image says these
    given = set(SERVICES["worker"]["environment"])

    assert {doc.variable for doc in describe(WorkerSettings)} - fixed <= given


def test_every_variable_of_the_file_is_explained() -> None:
    used = set(re.findall(r"(?<!\$)\$\{(\w+)", TEXT))
    explained = set(re.findall(r"^#?(\w+)=", EXAMPLE, re.M)) | {doc.variable for doc in describe(WorkerSettings)}

    assert used - explained == {"TRAWL_SECRETS"}  # deploy/try-compose moves the secrets elsewhere


def test_the_image_installs_wheels_by_hash_and_runs_as_nobody() -> None:
    text = (ROOT / "Dockerfile").read_text("utf-8")

    assert "--require-hashes" in text
    assert "--only-binary :all:" in text
    assert "apt-get" not in text, "no build tools"
    assert re.findall(r"^USER (.*)$", text, re.M) == ["10001:10001"]
    assert '"celery", "-A", "worker", "worker"' in text


def test_the_image_contains_only_what_is_listed() -> None:
    kept = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    copied = re.findall(r"^COPY (?!--from)(\S+)", (ROOT / "Dockerfile").read_text("utf-8"), re.M)

    assert "*" in kept
    assert {f"!{source}" for source in copied} == {line for line in kept if line.startswith("!")}


@pytest.mark.parametrize(
    "script", ["prepare", "flower", "worker", "try-compose", "redis/start", "redis/healthy", "redis/render-acl"]
)
def test_a_script_can_be_run(script: str) -> None:
    path = ROOT / "deploy" / script

    assert path.stat().st_mode & 0o111
    assert path.read_text("utf-8").startswith("#!")
