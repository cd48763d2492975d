"""Settings and environment are read, and clusters opened, only in each side's composition root."""

import ast

import pytest

from tests.architecture.project import ROOT, modules

#: Who touches the environment or opens a cluster, and why; the modules of settings say how they are read.
ALLOWED = {
    ("producer/wiring.py", "environ"): "is the composition root",
    ("producer/wiring.py", "from_environment"): "the same",
    ("producer/wiring.py", "is_configured"): "the same",
    ("producer/wiring.py", "Cluster"): "the same",
    ("producer/cluster/client.py", "RedisLedger"): "is the cluster",
    ("producer/cluster/embedded.py", "from_environment"): "reads the settings that it makes for its own server",
    ("producer/cli/commands.py", "environ"): "names variables that are mistyped, whatever the command",
    ("producer/cli/translation.py", "environ"): "has networks for all commands, beside those of an option",
    ("producer/cli/doors.py", "environ"): "hands it on to Flower",
    ("producer/display/console.py", "environ"): "asks which terminal it writes to",
    ("worker/celery.py", "environ"): "hands it to the composition root",
    ("worker/wiring.py", "from_environment"): "is the composition root",
    ("worker/wiring.py", "RedisLedger"): "the same",
    ("worker/listeners/metrics.py", "environ"): "names a folder in it, for prometheus_client",
}
READING = {"environ", "environb", "getenv", "from_environment"}
OPENING = {"Cluster", "RedisLedger", "is_configured"}


def readers(code: str) -> set[str]:
    """Return the ways in which this code gets at the environment, or opens a cluster."""
    nodes = list(ast.walk(ast.parse(code)))
    attributes = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    imported = {name.name for node in nodes if isinstance(node, ast.ImportFrom) for name in node.names}
    called = {node.func.id for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    return (attributes | imported) & READING | called & OPENING


def test_only_the_composition_roots_read_settings_or_environment_and_open_clusters() -> None:
    found = {
        (str(module), way)
        for module in modules("producer", "worker")
        for way in readers((ROOT / module).read_text("utf-8"))
    }

    assert found == set(ALLOWED)


@pytest.mark.parametrize(
    "code",
    [
        "import os\nos.environ['A']",
        "from os import environ",
        "os.getenv('A')",
        "WorkerSettings.from_environment({})",
        "with closing(Cluster(settings)): pass",
    ],
)
def test_a_module_that_reads_the_environment_is_noticed(code: str) -> None:
    assert readers(code)
