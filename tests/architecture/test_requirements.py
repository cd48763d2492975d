"""The hash-locked files match pyproject.toml completely, and name no package index."""

import importlib.metadata
import re
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name

from tests.architecture.project import document

LOCKS = ("run", "dev")
PINNED = re.compile(
    r"^(?P<pin>[a-z0-9][^ ]*==[^ ]+(?: ; .+?)?) \\\n(?P<hashes>(?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", re.M
)


@dataclass(frozen=True, slots=True)
class Pin:
    """One line of a lock."""

    requirement: Requirement
    hashes: int

    @property
    def version(self) -> str:
        return next(iter(self.requirement.specifier)).version


def locked(name: str) -> dict[NormalizedName, Pin]:
    """Return the pins of a lock by their normalised name."""
    text = document(f"requirements/{name}.txt")
    found = [Pin(Requirement(match["pin"]), match["hashes"].count("--hash")) for match in PINNED.finditer(text)]
    assert len(found) == len(re.findall(r"^[^#\s]", text, re.M)), "every line of the lock is a pin with hashes"
    return {canonicalize_name(pin.requirement.name): pin for pin in found}


def wanted(name: str) -> list[Requirement]:
    """Return what pyproject.toml says a lock must hold."""
    project: dict[str, Any] = tomllib.loads(document("pyproject.toml"))
    extras = project["project"]["optional-dependencies"]
    lines = [*project["project"]["dependencies"], *extras["embedded"], *extras["digests"]]
    if name == "dev":
        lines += [line for extra in extras.values() for line in extra] + project["dependency-groups"]["dev"]
    return [Requirement(line) for line in lines]


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_pins_what_the_project_asks_for(name: str) -> None:
    pins = locked(name)

    unmet = [
        str(requirement)
        for requirement in wanted(name)
        if (pin := pins.get(canonicalize_name(requirement.name))) is None or pin.version not in requirement.specifier
    ]

    assert unmet == [], "run `make lock`"


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_pins_everything_that_is_needed_and_nothing_else(name: str) -> None:
    # Walks the metadata of what is installed here, so it needs no index: `./trawl test` installed dev.txt.
    pins = {
        key for key, pin in locked(name).items() if pin.requirement.marker is None or pin.requirement.marker.evaluate()
    }

    assert pins == needed_by(wanted(name))


def needed_by(requirements: Iterable[Requirement]) -> set[NormalizedName]:
    """Return the names of these requirements and of all that they require, on this platform."""
    found: set[NormalizedName] = set()
    waiting = [requirement for requirement in requirements if applies(requirement.marker)]
    seen: set[tuple[NormalizedName, frozenset[str]]] = set()
    while waiting:
        requirement = waiting.pop()
        key = (canonicalize_name(requirement.name), frozenset(requirement.extras))
        if key not in seen:
            seen.add(key)
            found.add(key[0])
            waiting.extend(required_by(requirement))
    return found


def required_by(requirement: Requirement) -> Iterator[Requirement]:
    for line in importlib.metadata.requires(requirement.name) or []:
        child = Requirement(line)
        if any(applies(child.marker, extra) for extra in ("", *requirement.extras)):
            yield child


def applies(marker: Marker | None, extra: str = "") -> bool:
    return marker is None or marker.evaluate({"extra": extra})


@pytest.mark.parametrize("name", LOCKS)
def test_the_installed_packages_are_the_locked_ones(name: str) -> None:
    installed = {canonicalize_name(each.name): each.version for each in importlib.metadata.distributions()}

    other = {key: installed[key] for key, pin in locked(name).items() if installed.get(key, pin.version) != pin.version}

    assert other == {}


def test_the_development_lock_replaces_the_other_one() -> None:
    # ./trawl marks `run` as installed once `dev` is: the pins must be the very same.
    run, dev = locked("run"), locked("dev")

    assert {key: str(pin.requirement) for key, pin in run.items()} == {key: str(dev[key].requirement) for key in run}
    assert {key: pin.hashes for key, pin in run.items()} == {key: dev[key].hashes for key in run}


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_has_the_wheels_of_every_platform(name: str) -> None:
    # pycurl comes as a wheel per Python, system and processor: one hash would be the machine that ran `make lock`.
    assert locked(name)[canonicalize_name("pycurl")].hashes > 20


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_names_no_index_and_no_path(name: str) -> None:
    text = document(f"requirements/{name}.txt")

    assert re.findall(r"://|--index|--find-links|--extra-index|/\w+/", text) == []
