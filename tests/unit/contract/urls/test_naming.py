"""Files are named by the md5 of the URL exactly as given."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.urls.naming import Layout, output_name, output_path

EXERCISE = {
    "https://twitter.com": "be8b09f7f1f66235a9c91986952483f0",
    "https://facebook.com": "a023cfbf5f1c39bdf8407f28b60cd134",
    "https://instagram.com": "09f8b89478d7e1046fa93c7ee4afa99e",
}


@pytest.mark.parametrize(("url", "name"), EXERCISE.items())
def test_the_three_urls_of_the_exercise_keep_their_names(url: str, name: str) -> None:
    assert output_name(url) == name
    assert output_name(url.encode()) == name


def test_the_layouts_place_a_name() -> None:
    name = "be8b09f7f1f66235a9c91986952483f0"

    assert output_path(name, Layout.FLAT) == name
    assert output_path(name, Layout.SHARDED) == f"be/8b/{name}"


@pytest.mark.parametrize(
    "name",
    [
        "", "..", "../../etc/passwd", "a" * 31, "a" * 33, "A" * 32, "a" * 32 + "\n", "g" * 32, "/" + "a" * 31,
        "\u0661" * 32,
    ],
)  # fmt: skip
@pytest.mark.parametrize("layout", Layout)
def test_an_invalid_name_becomes_no_path(name: str, layout: Layout) -> None:
    """Guards the ``fullmatch`` line of ``output_path``: without it a message could choose a path."""
    with pytest.raises(ValueError, match="32"):
        output_path(name, layout)


@given(st.binary(max_size=200))
def test_every_byte_string_has_a_name_that_has_a_path(url: bytes) -> None:
    name = output_name(url)

    assert output_path(name, Layout.FLAT) == name == hashlib.md5(url).hexdigest()
