"""A worker's settings and environment are read in one place, its composition root."""

import ast

import pytest

from tests.architecture.project import ROOT, modules

#: Who touches the environment, and why; `worker/settings.py` says how it is read.
ALLOWED = {
    ("worker/celery.py", "environ"): "hands it to the composition root",
    ("worker/wiring.py", "from_environment"): "is the composition root",
    ("worker/listeners/metrics.py", "environ"): "names a folder in it, for prometheus_client",
}
READING = {"environ", "environb", "getenv", "from_environment"}


def readers(code: str) -> set[str]:
    """Return the ways in which this code gets at the environment."""
    nodes = list(ast.walk(ast.parse(code)))
    attributes = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    imported = {name.name for node in nodes if isinstance(node, ast.ImportFrom) for name in node.names}
    return (attributes | imported) & READING


def test_nobody_but_the_composition_root_reads_settings_or_environment() -> None:
    found = {(str(module), way) for module in modules("worker") for way in readers((ROOT / module).read_text("utf-8"))}

    assert found == set(ALLOWED)


@pytest.mark.parametrize(
    "code",
    ["import os\nos.environ['A']", "from os import environ", "os.getenv('A')", "WorkerSettings.from_environment({})"],
)
def test_a_module_that_reads_the_environment_is_noticed(code: str) -> None:
    assert readers(code)
