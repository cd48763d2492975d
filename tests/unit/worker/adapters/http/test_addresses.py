"""What libcurl is told of names: never too late, never twice without need, and to forget old ones."""

from __future__ import annotations

import pytest

from worker.adapters.http import addresses as adapter
from worker.adapters.http.addresses import HandedAddresses

A, B = ("a.test", 80), ("b.test", 80)
HERE, THERE = ("192.0.2.1",), ("2001:db8::1", "192.0.2.2")


@pytest.fixture
def handed(monkeypatch: pytest.MonkeyPatch) -> HandedAddresses:
    """With room for one idle name."""
    monkeypatch.setattr(adapter, "NAMES_KEPT", 1)
    return HandedAddresses()


def _is_over(handed: HandedAddresses, name: tuple[str, int], addresses: tuple[str, ...] = HERE) -> list[str]:
    """Have one exchange use a name from its begin to its end, and return what it brought."""
    lines = handed.use(name, addresses)
    handed.unread.clear()
    handed.release(name)
    return lines


def test_a_name_is_given_once_in_both_spellings(handed: HandedAddresses) -> None:
    assert _is_over(handed, A, THERE) == ["+a.test:80:[2001:db8::1],192.0.2.2", "+a.test.:80:[2001:db8::1],192.0.2.2"]
    assert _is_over(handed, A, THERE) == []


def test_a_name_is_given_with_each_handle_until_libcurl_has_processed_it(handed: HandedAddresses) -> None:
    first, second = handed.use(A, HERE), handed.use(A, HERE)

    assert first == second != []


def test_a_name_with_another_address_is_given_again(handed: HandedAddresses) -> None:
    _is_over(handed, A, HERE)

    assert _is_over(handed, A, THERE)[0] == "+a.test:80:[2001:db8::1],192.0.2.2"


def test_a_literal_address_is_never_given_but_forgotten(handed: HandedAddresses) -> None:
    """libcurl keeps literal addresses among its names."""
    assert _is_over(handed, ("192.0.2.1", 80)) == []
    assert _is_over(handed, ("::1", 8080), ("::1",)) == []

    assert _is_over(handed, A)[2:] == ["-192.0.2.1:80", "-192.0.2.1.:80"]
    assert _is_over(handed, B)[2:] == ["-[::1]:8080"]


def test_names_in_use_are_never_forgotten(handed: HandedAddresses) -> None:
    handed.use(A, HERE)
    for number in range(20):
        _is_over(handed, (f"{number}.test", 80))

    assert len(handed) == 1 + 2  # A, the one that is kept, and the one that came last
    assert handed.use(A, HERE)[:2] == ["-18.test:80", "-18.test.:80"]


def test_a_name_is_given_again_only_after_its_removal_was_processed(handed: HandedAddresses) -> None:
    """libcurl may process the later handle first, and would ask the system for a name it then forgets."""
    _is_over(handed, A)
    _is_over(handed, B)

    assert handed.use(("c.test", 80), HERE)[2:] == ["-a.test:80", "-a.test.:80"]
    assert handed.is_leaving(A)

    handed.unread.clear()
    assert not handed.is_leaving(A)
    assert handed.use(A, HERE)[0] == "+a.test:80:192.0.2.1"
