"""Imports flow down only: import-linter's contracts in pyproject.toml hold, and every module has a place in them."""

import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest

from tests.architecture.project import PRODUCT, ROOT, document, modules
from tests.support.person import ran


def lint(checkout: Path) -> subprocess.CompletedProcess[str]:
    linter = Path(sysconfig.get_path("scripts")) / "lint-imports"
    return ran(linter, "--no-logo", "--no-cache", cwd=checkout)


def test_import_linter_finds_every_contract_kept() -> None:
    result = lint(ROOT)

    assert result.returncode == 0, result.stdout + result.stderr
    assert ", 0 broken" in result.stdout


@pytest.mark.parametrize(
    ("module", "line", "said"),
    [
        ("contract/zz.py", "", "contract.zz"),
        ("producer/zz.py", "", "producer.zz"),
        ("worker/zz.py", "", "worker.zz"),
        ("worker/engine/zz.py", "", "worker.engine.zz"),
        ("producer/formatting.py", "import producer.commands.run", "producer.formatting -> producer.commands.run"),
        ("worker/engine/failures.py", "import worker.engine.lane", "worker.engine.failures -> worker.engine.lane"),
        ("contract/records/wire.py", "import contract.ledger.sweep", "contract.records.wire -> contract.ledger.sweep"),
        ("producer/job/tally.py", "import producer.job.manifest_sink", ".tally -> .manifest_sink"),
    ],
)
def test_a_module_without_a_place_and_an_upward_import_break_a_contract(
    tmp_path: Path, module: str, line: str, said: str
) -> None:
    """Guards ``exhaustive`` and the containers in pyproject.toml."""
    for folder in PRODUCT:
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    with (tmp_path / module).open("a", encoding="utf-8") as file:
        file.write(f'"""A module of the test."""\n{line}\n')

    result = lint(tmp_path)

    assert result.returncode != 0
    assert said in result.stdout + result.stderr


def test_the_documentation_shows_the_layers_as_they_are() -> None:
    contracts = tomllib.loads(document("pyproject.toml"))["tool"]["importlinter"]["contracts"]

    for contract in (each for each in contracts if each["type"] == "layers"):
        name = contract.get("containers", [""])[0].rpartition(".")[2]
        layers = " > ".join(layer for layer in contract["layers"] if not layer.startswith("("))
        assert (f"{name}: {layers}" if name else layers) in document("docs/architecture.md").splitlines()


def test_the_producer_imports_neither_worker_nor_libcurl() -> None:
    # `trawl enqueue` runs in other people's programs: what it imports is what they pay for.
    command = (
        "import producer.cluster.client, sys; "
        "print([m for m in sys.modules if m.split('.')[0] in ('worker', 'pycurl')])"
    )

    result = subprocess.run([sys.executable, "-c", command], cwd=ROOT, capture_output=True, text=True, check=True)

    assert result.stdout.strip() == "[]"


def test_every_folder_with_modules_is_a_package() -> None:
    # grimp, and with it import-linter, passes over folders without __init__.py in silence.
    folders = {module.parent for module in modules(*PRODUCT, "tests")}

    missing = [str(folder) for folder in folders if not (ROOT / folder / "__init__.py").is_file()]

    assert missing == []
