"""Decides whether a throttling answer concerns its host, and how long the URLs of a paused host wait."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from contract.records.outcomes import ErrorClass
from contract.urls.naming import output_name
from worker.engine.failures import Failure, Kind
from worker.engine.host_record import Pause
from worker.engine.hosts import Hosts
from worker.engine.http.verdict import Redirected
from worker.engine.schedule import Schedule
from worker.engine.terms import Terms
from worker.engine.transfer import Transfer
from worker.engine.waits import Waits

HOST_HOLD = 5.0  # seconds; for a longer pause the host's URLs are handed back
_ANSWERS = range(500)  # statuses of a working host
_LOOK_PAUSE = 1.0  # seconds between two checks of a paused host


class HandsBack(Protocol):
    """Hands a URL back to its run until a host's pause is over."""

    def __call__(self, transfer: Transfer, now: float, *, host: str) -> None: ...


class HostWaits:
    """A lane's transfers that wait for throttling hosts; called by its thread only.

    ``withdraw`` discards an attempt's state, ``fail`` ends a transfer, ``wait`` queues it until a time.
    """

    def __init__(
        self,
        hosts: Hosts,
        schedule: Schedule[Transfer],
        *,
        withdraw: Callable[[Transfer], None],
        fail: Callable[[Transfer, Failure, float], None],
        wait: Callable[[Transfer, float], None],
        back: HandsBack,
    ) -> None:
        self._hosts = hosts
        self._schedule = schedule
        self._withdraw = withdraw
        self._fail = fail
        self._wait = wait
        self._hand_back = back

    def may_ask(self, transfer: Transfer, now: float) -> bool:
        """May its host get a request now? If not, the transfer is queued again."""
        name = name_asked(transfer)
        is_elsewhere = self._lets_another_probe(transfer, name, now)
        wait = 0.0 if is_elsewhere else self._hosts.may_start(transfer.host_key, now, name)
        if wait:
            self._schedule.postpone(transfer, now + min(wait, _LOOK_PAUSE))
        if (wait or is_elsewhere) and transfer.began is not None:
            transfer.queue(now)
        return not (wait or is_elsewhere)

    def _lets_another_probe(self, transfer: Transfer, name: str, now: float) -> bool:
        """Let another ready URL of the host go first if it tells more about the host; True: it does."""
        key, is_wanted = transfer.host_key, self._hosts.is_wanted
        if transfer.is_under_way or is_wanted(key, name, now):
            return False
        return self._schedule.give_way(transfer, lambda each: is_wanted(key, name_asked(each), now))

    def hold(self, transfer: Transfer, host: str, now: float) -> None:
        """Let a transfer start over when its host is ready, or the host that it was redirected to."""
        pause = self._hosts.pause(host, now) if host != transfer.host_key else None
        if pause is None and transfer.alone_for:
            self._wait_alone(transfer, now)
        elif pause is None:
            self._schedule.add(transfer)
        elif pause.left > HOST_HOLD or is_out_of_patience(transfer, pause, now):
            self._park(transfer, host, pause, now)
        else:
            self._wait(transfer, now + pause.left)
            transfer.queue(now)  # the pause does not count against its deadline

    def look(self, now: float) -> None:
        """Hand back transfers that wait long for a host, and end those whose patience is exceeded."""
        for key in self._schedule.resting():
            pause = self._hosts.pause(key, now)
            if pause is not None:
                self._look_at(key, pause, now)

    def note(self, waits: Mapping[Terms, Waits], now: float) -> None:
        """Count the transfers of these runs that wait for throttling hosts."""
        for key in dict.fromkeys(self._schedule.resting()):
            pause = self._hosts.pause(key, now)
            for transfer in self._schedule.ready_at(key):
                waits[transfer.terms].await_host(key, pause.left if pause is not None else 0.0)

    def _wait_alone(self, transfer: Transfer, now: float) -> None:
        asked, status = transfer.alone_for, transfer.throttled_with
        alone = Pause(asked, now, is_given_up=False, status=status, asked=asked)
        if is_out_of_patience(transfer, alone, now):
            self._fail(transfer, host_blocked(transfer, alone), now)
        else:
            self._wait(transfer, now + asked)
            transfer.queue(now)

    def _look_at(self, key: str, pause: Pause, now: float) -> None:
        is_long = pause.is_given_up or pause.left > HOST_HOLD
        for transfer in self._schedule.remove_at(key, lambda each: is_long or is_out_of_patience(each, pause, now)):
            if transfer.is_under_way:
                self._withdraw(transfer)
                transfer.hold(now)
            self._park(transfer, key, pause, now)

    def _park(self, transfer: Transfer, host: str, pause: Pause, now: float) -> None:
        """Hand a URL back until its host's pause is over, or end it."""
        if pause.is_given_up or is_out_of_patience(transfer, pause, now):
            self._fail(transfer, host_blocked(transfer, pause), now)
        else:
            self._hand_back(transfer, now, host=host)


def note_answer(
    hosts: Hosts, transfer: Transfer, begun: float, judged: Failure | Redirected | None, now: float
) -> bool:
    """Note how a request ``begun`` then was answered, if it was; True: the host throttles, which excuses the URL."""
    key = transfer.host_key
    if judged is None or isinstance(judged, Redirected) or (not judged.throttles and judged.status in _ANSWERS):
        hosts.answered(key, begun, now, name_asked(transfer) if key in hosts.hot else "")
    elif judged.throttles:
        is_excused = hosts.blame(
            key,
            transfer.url.target,
            begun=begun,
            asked=judged.retry_after,
            excused=transfer.excused,
            now=now,
            status=judged.status,
            patience=transfer.terms.policy.host_patience,
        )
        if is_excused:
            pause = hosts.pause(key, now)
            is_paused = pause is not None and pause.left > 0.0
            transfer.excuse(judged.status, 0.0 if is_paused else judged.retry_after or 0.0)
        return is_excused
    elif key in hosts.hot:
        hosts.unanswered(key, begun=begun, now=now)
    return False


def waited(transfer: Transfer, pause: Pause, now: float) -> float:
    """Return the seconds a URL waits in this run because of its host's pause, including those to come."""
    return max(0.0, now - max(transfer.terms.began, pause.since)) + pause.left


def is_out_of_patience(transfer: Transfer, pause: Pause, now: float) -> bool:
    return transfer.entry.waited + waited(transfer, pause, now) > transfer.terms.policy.host_patience


def host_blocked(transfer: Transfer, pause: Pause) -> Failure:
    """Return the failure of a URL whose host only throttles, or asks for a longer wait than the job's patience.

    Its status is that of an answer to this URL; an answer to another URL is only in the detail.
    """
    began = f"It answered {pause.status}" if pause.status else "It throttled"
    asked = f" and asked for {pause.asked:.0f} s" if pause.asked else ""
    most = f"{transfer.terms.policy.host_patience:g} s (--host-patience)"
    detail = f"The host throttles, and waiting for it would take longer than {most}."
    if pause.is_given_up:
        detail = "Lately the host only answered that it is busy, and did not say when to retry."
    return Failure(
        error=ErrorClass.HOST_BLOCKED,
        kind=Kind.TRANSIENT,
        detail=f"{detail} {began}{asked}.",
        status=transfer.last_status,
    )


def name_asked(transfer: Transfer) -> str:
    """Return the name of the current URL, which after a redirect is not the list's."""
    return output_name(transfer.url.target)
