"""The checkout as the architecture tests see it: its folders, modules and documents."""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PRODUCT = ("contract", "producer", "trawlnet", "worker")
PACKAGES = (*PRODUCT, "tests", "benchmarks", "examples")


def modules(*folders: str) -> list[Path]:
    """Return the Python files below these folders of the checkout, relative to it."""
    found = [path.relative_to(ROOT) for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    assert found, f"no modules in {folders}: is the test looking at the right place?"
    return found


def docstring(module: Path) -> str:
    """Return the docstring that is the module's first statement; empty where there is none."""
    return ast.get_docstring(ast.parse((ROOT / module).read_text("utf-8"))) or ""


def document(name: str) -> str:
    """Return the text of a document of the checkout."""
    return (ROOT / name).read_text("utf-8")


def documents() -> str:
    """Return README and everything below docs/ as one text."""
    return "\n".join([document("README.md"), *(path.read_text("utf-8") for path in sorted(ROOT.glob("docs/**/*.md")))])
