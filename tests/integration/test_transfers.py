"""Every way a server can misbehave: the outcome, the bytes, the requests, and nothing left behind."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest

from contract.records.outcomes import Outcome
from contract.urls.naming import output_name
from tests.support.bodies import body_bytes
from tests.support.fetching import Bench
from tests.support.lateness import Lateness
from tests.support.misbehaving import CASES, GOOD, POLICY, SPLIT_CASES, Case, MisbehavingSite, SeenRequest
from tests.support.object_versions import SIZE
from tests.support.processes import PATIENCE

_TOGETHER = 60  # cases in flight at once, each in a batch of its own
_COMPANY = 50  # good URLs around a bad one
_SLACK = 2.5  # seconds a busy machine may add to a case's own time
_TURNS = 4  # how often a case is fetched before it is judged: a busy machine upsets timeouts of a second


def _host(case: Case, attempts: int, turn: int = 0) -> str:
    """Every fetch has a host name of its own, so that none meets the pooled connections of another."""
    return f"{attempts}-{turn}-{CASES.index(case)}.cases.test"


def _key(case: Case, turn: int) -> str:
    return f"{case.name}-turn-{turn}" if turn else case.name


def _throttles(case: Case) -> bool:
    """Is it about its whole host? Then it needs one to itself."""
    return any(f"code={status}" in case.path for status in (403, 429, 503))


class _Fetched:
    """What each case left after a number of attempts."""

    def __init__(self, site: MisbehavingSite, bench: Bench, attempts: int) -> None:
        self.outcomes: dict[str, Outcome] = {}
        self.bodies: dict[str, bytes | None] = {}
        self.requests: dict[str, list[SeenRequest]] = {}
        self.late: dict[str, float] = {}
        self._policy = replace(POLICY, attempts=attempts)
        site.log.clear()
        for start in range(0, len(CASES), _TOGETHER):
            some: Sequence[Case] = CASES[start : start + _TOGETHER]
            for turn in range(_TURNS):
                with Lateness() as lateness:
                    self._fetch(site, bench, some, turn)
                self.late.update((case.name, lateness.worst) for case in some)
                some = [case for case in some if not self._is_as_it_must_be(case)]
                if not some:
                    break

    def _is_as_it_must_be(self, case: Case) -> bool:
        ending, outcome = case.ending(self._policy.attempts), self.outcomes[case.name]
        is_allowed = ending.allows(outcome.ending, outcome.error)
        return is_allowed and ending.allows_requests(len(self.requests[case.name]))

    def _fetch(self, site: MisbehavingSite, bench: Bench, some: Sequence[Case], turn: int) -> None:
        hosts = [_host(case, self._policy.attempts, turn) for case in some]
        for case, host in zip(some, hosts, strict=True):
            if case.warm_up:
                bench.fetch([site.url(case.warm_up, key="warm-up", door=case.door, host=host)], self._policy)
        urls = [site.url(case, key=_key(case, turn), host=host) for case, host in zip(some, hosts, strict=True)]
        runs = [bench.start([url], self._policy) for url in urls]
        for case, url, run in zip(some, urls, runs, strict=True):
            assert run.wait(PATIENCE * 60.0), f"{case.name} hangs"
            assert len(run.outcomes) == 1, case.name
            self.outcomes[case.name] = run.outcomes[0]
            path = bench.folder / output_name(url)
            self.bodies[case.name] = path.read_bytes() if path.exists() else None
            path.unlink(missing_ok=True)
            self.requests[case.name] = site.log.requests(case=_key(case, turn))


@pytest.fixture(scope="module")
def site() -> Iterator[MisbehavingSite]:
    with MisbehavingSite(names=("*.cases.test",)) as site:
        yield site


@pytest.fixture(scope="module")
def bench(site: MisbehavingSite, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with Bench(tmp_path_factory.mktemp("out"), look_up=lambda host: ("127.0.0.1",), ca_file=str(site.ca_file)) as bench:
        yield bench


@pytest.fixture(scope="module", params=[1, 3], ids=["once", "thrice"])
def fetched(request: pytest.FixtureRequest, site: MisbehavingSite, bench: Bench) -> tuple[int, _Fetched]:
    return request.param, _Fetched(site, bench, request.param)


@pytest.mark.timeout(600)  # the first case waits for all of them, which are fetched side by side
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_each_behaviour_ends_as_it_must(fetched: tuple[int, _Fetched], case: Case) -> None:
    attempts, all_fetched = fetched
    ending, outcome = case.ending(attempts), all_fetched.outcomes[case.name]
    requests, slack = all_fetched.requests[case.name], _SLACK + 20 * all_fetched.late[case.name]

    assert ending.allows(outcome.ending, outcome.error), outcome
    assert all_fetched.bodies[case.name] == (case.body if outcome.is_stored else None)
    assert ending.allows_requests(len(requests)), requests
    if outcome.is_stored:
        assert set(case.notes) <= set(outcome.notes)
    assert outcome.timing.total <= min(case.seconds * attempts, POLICY.timeout + 1.0) + slack
    for header in case.never_sends:
        assert not any(request.header(header) for request in requests)


def test_no_behaviour_leaves_a_temporary_file(fetched: tuple[int, _Fetched], bench: Bench) -> None:
    """Guards the discards of lane and run."""
    assert bench.temporary_files() == []


@pytest.mark.timeout(600)  # one batch that holds everything, and waits for its slowest
def test_bad_neighbours_harm_no_good_url(site: MisbehavingSite, bench: Bench) -> None:
    """All bad URLs but one that lasts to its deadline share a batch, a window and connections with good ones."""
    good = [site.url("/good", key=f"company-{index}") for index in range(_COMPANY)]
    cases = [case for case in CASES if case.seconds <= POLICY.timeout]
    bad = [
        site.url(case, key=f"{case.name}-in-company", host=_host(case, 0) if _throttles(case) else None)
        for case in cases
    ]
    mixed = [url for pair in zip(bad, good * len(bad), strict=False) for url in pair]

    # A good URL has one attempt among hundreds of others: the machine is given time; the bad ones end all the same.
    patient = replace(POLICY, attempts=1, timeout=60.0, connect_timeout=15.0, first_byte_timeout=15.0, slow_window=15.0)
    run = bench.fetch(list(dict.fromkeys(mixed)), patient, within=90.0)

    outcomes = {outcome.url: outcome for outcome in run.outcomes}
    assert len(outcomes) == len(cases) + _COMPANY
    for url in good:
        assert outcomes[url].is_stored, outcomes[url]
        assert (bench.folder / output_name(url)).read_bytes() == GOOD
    for case, url in zip(cases, bad, strict=True):
        if url in outcomes and not outcomes[url].is_stored:
            assert not (bench.folder / output_name(url)).exists(), case.name
    assert bench.temporary_files() == []


@pytest.mark.parametrize("case", SPLIT_CASES, ids=lambda case: case.name)
def test_a_body_fetched_in_ranges_is_one_version_whole(site: MisbehavingSite, bench: Bench, case: Case) -> None:
    """Guards ``continues`` and the cancelling of splits: whatever the ranges bring, no file mixes versions."""
    url = site.url(case, host="splits.cases.test")

    run = bench.fetch([url], replace(POLICY, attempts=3, splits=4))

    (outcome,) = run.outcomes
    assert outcome.is_stored, outcome
    # Where the version changes meanwhile, the one the first exchange began with is as right as the new one.
    assert (bench.folder / output_name(url)).read_bytes() in (case.body, body_bytes(SIZE))
    assert bench.temporary_files() == []


def test_a_user_agent_is_sent_as_utf_8(site: MisbehavingSite, bench: Bench) -> None:
    """Guards ``encode`` in ``Handle.obey``: pycurl takes text for ASCII, and every URL ended as a bug."""
    bench.fetch([site.url("/good", key="user-agent")], replace(POLICY, user_agent="Müller\u2019s archive"))

    (request,) = site.log.requests(case="user-agent")
    assert (request.header("user-agent") or "").encode("latin-1") == "Müller\u2019s archive".encode()
