"""docs/configuration.md lists every setting, with the default and meaning that the code has."""

import importlib
import inspect
import re
from dataclasses import is_dataclass
from typing import Any

import pytest

from contract.cluster import broker
from contract.cluster.settings import ClusterSettings, SettingDoc, describe
from contract.cluster.variables import VARIABLES
from tests.architecture.project import PRODUCT, ROOT, document, modules

PAGE = document("docs/configuration.md")
ROWS = {
    cells[0].strip().strip("`"): [cell.strip() for cell in cells[1:]]
    for cells in (line.strip("|").split("|") for line in PAGE.splitlines() if line.startswith("| `"))
}


def all_settings() -> list[SettingDoc]:
    """Return the variables of every settings dataclass of the product."""
    places = [".".join(each.with_suffix("").parts) for each in modules(*PRODUCT) if each.name == "settings.py"]
    found = [
        each for place in places for _, each in inspect.getmembers(importlib.import_module(place), inspect.isclass)
    ]
    return [documented for each in found if is_dataclass(each) for documented in describe(each)]


@pytest.mark.parametrize("setting", dict.fromkeys(all_settings()), ids=lambda each: each.variable)
def test_a_setting_has_its_row_with_default_and_meaning(setting: SettingDoc) -> None:
    shown = "" if setting.default in ("", "()") else f"`{setting.default}`"

    assert ROWS.get(setting.variable) == [shown, setting.meaning]


def test_no_variable_the_code_names_is_missing() -> None:
    texts = [(ROOT / module).read_text("utf-8") for module in modules(*PRODUCT)]
    named = {name for text in texts for name in re.findall(r"TRAWL_[A-Z0-9_]*[A-Z0-9]|REDIS_SERVER|XDG_[A-Z_]+", text)}

    assert named - set(ROWS) == set()


def test_the_known_variables_are_exactly_ours() -> None:
    """Guards ``hints``, which would report an unlisted setting as mistyped."""
    deployed = {"TRAWL_IMAGE", "TRAWL_LISTS", "TRAWL_SECRETS"}

    assert set(VARIABLES) == deployed | {name for name in ROWS if name.startswith("TRAWL_")}


def flat(configuration: dict[str, Any]) -> dict[str, Any]:
    options = configuration.pop("broker_transport_options")
    return {**configuration, **{f"broker_transport_options.{name}": value for name, value in options.items()}}


CELERY = flat(
    broker._shared_configuration(ClusterSettings(broker_url="redis://broker/0", result_backend="redis://backend/0"))
)


@pytest.mark.parametrize("name", CELERY)
def test_every_celery_setting_is_documented_with_value_and_reason(name: str) -> None:
    value, reason = ROWS[name]

    assert reason
    simple = isinstance(CELERY[name], bool | int | str | None) or name.endswith("priority_steps")
    if simple and "TRAWL_" not in value and value[0] == "`":
        assert value == f"`{CELERY[name]}`"


def test_every_documented_celery_setting_is_set() -> None:
    lower = {name for name in ROWS if name.islower() and not name.startswith("trawl_")}  # those are metrics

    assert lower == set(CELERY)
