"""Imports flow down only: import-linter's contracts in pyproject.toml hold, and each place has one."""

import subprocess
import sys
import sysconfig
from pathlib import Path

from tests.architecture.project import PRODUCT, ROOT, modules


def test_import_linter_finds_every_contract_kept() -> None:
    linter = Path(sysconfig.get_path("scripts")) / "lint-imports"

    result = subprocess.run([linter, "--no-logo", "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)

    assert result.returncode == 0, result.stdout + result.stderr
    assert ", 0 broken" in result.stdout


def test_the_producer_starts_without_anything_of_the_worker_or_libcurl() -> None:
    # `trawl enqueue` runs in other people's programs: what it imports is what they pay for.
    command = "import producer.client, sys; print([m for m in sys.modules if m.split('.')[0] in ('worker', 'pycurl')])"

    result = subprocess.run([sys.executable, "-c", command], cwd=ROOT, capture_output=True, text=True, check=True)

    assert result.stdout.strip() == "[]"


def test_every_folder_with_modules_is_a_package() -> None:
    # grimp, and with it import-linter, passes over folders without __init__.py in silence.
    folders = {module.parent for module in modules(*PRODUCT, "tests")}

    missing = [str(folder) for folder in folders if not (ROOT / folder / "__init__.py").is_file()]

    assert missing == []
