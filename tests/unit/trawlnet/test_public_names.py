"""Scripts get everything from one import, which loads only what they use."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import trawlnet
from tests.architecture.project import PRODUCT, ROOT, document
from tests.support.person import ran


def run(folder: Path, code: str) -> subprocess.CompletedProcess[str]:
    """Run a script that lies in this folder, as its author would."""
    (folder / "script.py").write_text(code, "utf-8")
    return ran(sys.executable, "-W", "error", "script.py", cwd=folder)


def test_every_public_name_exists_and_is_documented() -> None:
    page = document("docs/python.md")

    assert dir(trawlnet) == trawlnet.__all__ == sorted(trawlnet.__all__)
    assert [name for name in trawlnet.__all__ if getattr(trawlnet, name, None) is None] == []
    assert [name for name in trawlnet.__all__ if name not in page and name != "__version__"] == []


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'fetch_all'"):
        _ = trawlnet.fetch_all


def test_the_import_and_a_policy_load_no_celery(tmp_path: Path) -> None:
    code = "import sys, trawlnet; trawlnet.JobPolicy(); print(sorted({'celery', 'redis', 'pycurl'} & set(sys.modules)))"

    result = run(tmp_path, code)

    assert (result.stdout, result.stderr) == ("[]\n", "")


@pytest.mark.parametrize("name", ["worker.py", "producer.py", "contract/__init__.py"])
def test_a_module_that_hides_one_of_ours_is_named_in_one_sentence(tmp_path: Path, name: str) -> None:
    """Guards ``_refuse_hidden_packages``."""
    hiding = tmp_path / name
    hiding.parent.mkdir(exist_ok=True)
    hiding.write_text("", "utf-8")

    result = run(tmp_path, "import trawlnet")

    package = name.removesuffix(".py").partition("/")[0]
    said = f"ImportError: {hiding} hides the package {package!r} of Trawlnet: rename it, or run elsewhere."
    assert result.stderr.splitlines()[-1] == said


def test_the_wheel_holds_every_package_with_its_types() -> None:
    wheel = tomllib.loads(document("pyproject.toml"))["tool"]["hatch"]["build"]["targets"]["wheel"]

    assert sorted(wheel["packages"]) == sorted(PRODUCT)
    assert wheel["force-include"] == {"flowerconfig.py": "worker/flowerconfig.py"}, "where flower_columns looks"
    assert [package for package in PRODUCT if not (ROOT / package / "py.typed").is_file()] == []
