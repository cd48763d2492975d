"""The guards of the write path: what keeps a file whole or absent, and a full disk from costing a URL anything."""

from __future__ import annotations

from tests.mutants.guard import ROOT, Guard

_PORT = (
    "tests/ports/test_store.py",
    *(
        f"tests/ports/test_disk_{part}.py"
        for part in ("planted", "owners", "partials", "contents", "durability", "space")
    ),
)
_FAULTS = "tests/integration/test_disk_faults.py"
_EVERY_CALL = ("tests/ports/test_store_faults.py::test_if_any_call_fails_bodies_are_whole_or_absent",)
_UNBLAMED = (f"{_FAULTS}::test_if_a_disk_call_fails_a_url_ends_ok_or_is_handed_back_unblamed", "-k", "ENOSPC")
_DECISIONS = (_FAULTS, "-k", "costs_its_url_no_time or obstacle or floor or bug_while or fetched_again")
_OWNERS = ("tests/ports/test_disk_owners.py",)
_RUNNER = ("tests/unit/worker/batch/test_runner.py",)


def _disk(text: str, instead: str = "", tests: tuple[str, ...] = _PORT) -> Guard:
    """Name the one module of the output folder that has this text."""
    modules = sorted((ROOT / "worker/adapters/disk").glob("*.py"))
    found = [module for module in modules if text in module.read_text("utf-8")] or modules
    return Guard(str(found[0].relative_to(ROOT)), text, tests, instead)


def _space(text: str, instead: str = "") -> Guard:
    return _disk(text, instead, ("tests/ports/test_disk_space.py",))


def _moved(text: str, instead: str = "") -> Guard:
    return _disk(text, instead, ("tests/ports/test_disk_moved.py",))


def _folders(text: str, instead: str = "") -> Guard:
    return Guard("contract/folders.py", text, _OWNERS, instead)


def _lane_space(text: str, instead: str, module: str = "flow") -> Guard:
    return Guard(f"worker/engine/{module}.py", text, ("tests/unit/worker/engine/test_short_of_space.py",), instead)


def _run(text: str, instead: str = "", tests: tuple[str, ...] = _DECISIONS) -> Guard:
    return Guard("worker/engine/run.py", text, tests, instead)


def _group_commit(text: str, instead: str, tests: tuple[str, ...] = _DECISIONS) -> Guard:
    return Guard("worker/engine/group_commit.py", text, tests, instead)


def _disk_backoff(text: str, instead: str = "") -> Guard:
    return Guard("worker/batch/disk_backoff.py", text, ("tests/unit/worker/batch/test_disk_backoff.py",), instead)


GUARDS = (
    Guard("worker/listeners/flower.py", "stalled=str()) if not event.report.outcomes:",
        ("tests/unit/worker/listeners/test_flower.py",), "stalled=str()) if False:"),
    _disk("NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW", "NEW = os.O_WRONLY | os.O_CREAT"),
    _disk("FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW", "FOLDER = os.O_RDONLY | os.O_DIRECTORY"),
    _disk("READ = os.O_RDONLY | os.O_NOFOLLOW", "READ = os.O_RDONLY"),
    _disk("while at < end:", "while False:"),
    _disk("if self._size != size:", "if False:"),
    _disk("not stat.S_ISREG(found.st_mode) or found.st_size", "found.st_size"),
    _disk("            reap(self.all_parts, now=self._stamped)\n"),
    _disk("is_left_behind(name, idle=now - os.fstat(fd).st_mtime) and ", "", _OWNERS),
    _disk(" and _lock(fd, without_locks=not is_ours):", ":", _OWNERS),
    _disk("without_locks=not is_ours", "without_locks=True", _OWNERS),
    _disk("        if error.errno not in _NO_LOCKS:\n            raise", "        raise", _OWNERS),
    _disk("                os.utime(self.parts)\n", "                pass\n", _OWNERS),
    _folders("owner is None or not owner.is_here", "owner is None"),
    _folders("return idle > ABANDONED_AFTER", "return False"),
    _folders("return idle > ABANDONED_AFTER", "return True"),
    _folders("or not owner.is_alive"),
    _folders("return started == self.started", "return True"),
    _folders('{boot_id()[:8]}', "1"),
    _folders('_{processes}"', '_1"'),
    _disk("except FileNotFoundError:  # reaped already", "except ZeroDivisionError:  # a reaper"),
    _disk("if _lock(fd, without_locks=True) and os.fstat(fd).st_nlink > 0:", "if _lock(fd, without_locks=True):"),
    _moved("            opening.expect_in_place()\n            if", "            if"),
    _moved("            opening.expect_in_place()  #", "            #"),
    _moved("if draft.opening is not opening:", "if False:"),
    _moved("if now - self._since < SETTLED:", "if False:"),
    _moved(" or elsewhere != self._elsewhere"),
    _moved("self.opening = Opening(self._path, self._min_free, avoid=self.opening.underneath)", "pass"),
    _moved(", avoid=self.opening.underneath)", ")"),
    _moved("    opening.expect_in_place()\n    *within", "    *within"),
    _moved("if error.errno not in (errno.ENOENT, errno.ESTALE):", "if True:"),
    _moved('        if hasattr(self, "_opened"):\n            self.close()\n', "        pass\n"),
    _disk("if any(draft.losses != self._losses for draft in drafts):", "if False:"),
    _disk("                self._losses += 1\n"),
    _disk("if error.errno not in _IN_THE_WAY:", "if True:"),
    _disk("(OSError, ValueError, SettingError)", "(OSError, ValueError)"),
    _disk("if found.f_flag & os.ST_RDONLY:", "if False:"),
    _disk("if found.f_files and not found.f_favail:", "if False:"),
    _disk("if found.f_files and not found.f_favail:", "if not found.f_favail:"),
    _disk("return self._below(free) if free < self._floor else None", "return None"),
    _space("if more > space:", "if False:"),
    _space("space = free - self._floor - self._unwritten()", "space = free - self._floor"),
    _space("self._set_aside(fd, held, size):", "True:"),
    _space("self.spare = max(more, space // _PROCESSES)", "self.spare = more"),
    _space("self.spare = max(more, space // _PROCESSES)", "self.spare = 2 * space"),
    _space("if size > min(ever, self._largest):", "if size > self._largest:"),
    _space("if size > min(ever, self._largest):", "if size > ever:"),
    _space("* found.f_frsize if found.f_blocks else _UNKNOWN", "* found.f_frsize"),
    _space("if space >= _ENOUGH_FOR_OTHERS:", "if False:"),
    _space("            os.ftruncate(self._fd, self._size)\n", "            pass\n"),
    _space("            self._grow(end)\n", "            pass\n"),
    _space("            with suppress(DiskTrouble, BodyTooLargeError):\n", "            if True:\n"),
    _space("if error.errno == errno.EFBIG:", "if False:"),
    _space("            self._look(size, 0)\n", "            pass\n"),
    _lane_space("except BodyTooLargeError as error:", "except ZeroDivisionError as error:", "exchange"),
    _lane_space("                    course.wait_for_space(reason)\n", "                    course.stall(reason)\n"),
    _lane_space("transfer.attempt_began, waiting=after or 0.0)",
        "transfer.attempt_began, transfer.attempt_began + (after or 0.0))"),
    _disk("= self.parts = -1", "= -1"),
    _disk("if not may():", "if may() and False:"),
    _disk("                self._folder.sync_all(drafts, opening)\n", "                pass\n"),
    _disk("elif self._sync is Sync.FILE:", "elif False:"),
    _disk("                self._sync_folders(paths, opening)\n", "                pass\n"),
    _disk('folders.update("/".join(within[:depth]) for depth in range(1, len(within) + 1))', "pass"),
    _disk("sync_folder(os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))", "pass"),
    _disk("if not self.sync_disk(opening):", "if self.sync_disk(opening):"),
    _disk("opened.callback(let_go, self.all_parts)", "pass", _EVERY_CALL),
    _disk("    with suppress(OSError):\n        os.close(fd)\n", "    os.close(fd)\n", _EVERY_CALL),
    _disk("                self._move_back()\n", "                pass\n"),
    _disk("suppress(OSError), self.opening.lock_partials(), ExitStack()", "suppress(OSError), ExitStack()"),
    _disk("if not is_at(partial.part, partial.folder, self._fd):", "if False:"),
    _disk("if not is_at(name, folder, fd):", "if False:"),
    _disk("or found.st_nlink != 1"),
    _disk('not boot_id() or record.get("boot") != boot_id()', "False"),
    _disk("                self._distrust_partials(opening)\n"),
    _disk("fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)  # until", "pass  # until"),
    _disk("fd = lock_file(partial.part, partial.folder)\n                held", "fd = -1\n                held"),
    _disk("                if is_of_another_machine(partial, fd):\n                    return\n"),
    _disk("        if is_of_another_machine(partial, fd):\n            let_go(fd)\n            return None\n"),
    _disk("return is_recent and", "return"),
    _run("return max(after, STALLED_WAIT) if self.course.stalled is not None else after", "return after", _UNBLAMED),
    _group_commit("                whole.draft.discard()\n", "                pass\n", _UNBLAMED),
    _run("                self.stall(trouble)\n", "                pass\n"),
    Guard(
        "worker/engine/lane.py",
        "            for transfer in assignment.unfetched():\n                self._flow.hand_back(transfer, now)\n",
        ("tests/unit/worker/engine/test_what_a_lane_leaves.py::test_a_bug_in_the_loop_hands_every_url_back",),
        "            self._give_up(assignment, now)\n",
    ),
    Guard(
        "worker/engine/lane.py",
        "self._flow.hand_back(transfer, now)\n        self._begin_afresh()\n",
        ("tests/unit/worker/engine/test_what_a_lane_leaves.py::test_a_bug_in_the_loop_hands_every_url_back",),
        "self._flow.hand_back(transfer, now)\n",
    ),
    Guard("worker/engine/rows.py",
        "    except Exception as error:\n        return _of_bug(transfer, error, fetched.at)",
        ("tests/unit/worker/engine/test_what_a_lane_leaves.py::test_an_outcome_that_cannot_be_written_costs_its_own_url_only",),
        "    except ZeroDivisionError as error:\n        return _of_bug(transfer, error, fetched.at)"),
    Guard("worker/engine/lane.py",
        "            except Exception as error:  # a bug costs its own URL only\n                self._schedule.leave",
        ("tests/unit/worker/engine/test_what_a_lane_leaves.py::test_an_attempt_that_cannot_begin_costs_its_own_url_only",),
        "            except ZeroDivisionError as error:\n                self._schedule.leave"),
    Guard("worker/engine/lane.py",
        "                self._schedule.leave(transfer.host_key)\n                self._flow.fail(",
        ("tests/unit/worker/engine/test_what_a_lane_leaves.py::test_an_attempt_that_cannot_begin_costs_its_own_url_only",),
        "                self._flow.fail("),
    _group_commit("    if isinstance(path, str):", "    if True:"),
    _run("except Exception:  # a bug costs a download", "except ZeroDivisionError:  # a bug costs a download"),
    Guard("worker/engine/flow.py", "self.hand_back(transfer, transfer.attempt_began,", _DECISIONS,
        "self.hand_back(transfer, now,"),
    _disk_backoff("min(max(FIRST_PAUSE, 2 * self._pause.value), LONGEST_PAUSE)", "FIRST_PAUSE"),
    _disk_backoff("if not self.lasts:\n                self._pause", "if True:\n                self._pause"),
    _disk_backoff("began >= self._until.value and "),
    _disk_backoff("self._pause.value = 0.0", "pass"),
    _disk_backoff("        self._reason.value = _cut(reason)\n", "        pass\n"),
    _disk_backoff("if self._now() < float(self._waiting_until.value) else None", "if True else None"),
    _disk_backoff("self._until.value = self._now() + _CHECK_INTERVAL", "pass"),
    _disk_backoff("if self._now() >= until:", "if False:"),
    _disk_backoff("while not is_stopping():", "while True:"),
    _disk_backoff("if self._is_logged.hoist():", "if True:"),
    Guard("worker/batch/runner.py", "self._disk_backoff.note(batch.run.stalled, began=batch.began)", _RUNNER),
    Guard("worker/batch/runner.py", "and not self._disk_backoff.lasts", _RUNNER),
    Guard("contract/records/messages.py", "{batch.partition('.')[0]}", ("tests/unit/contract/records/test_records.py",),
        "{batch}"),
    Guard("worker/process.py", "except FolderError as error:",
        ("tests/acceptance/test_full_disk.py::test_a_worker_whose_folder_vanishes_before_its_first_task_waits_for_it",),
        "except ZeroDivisionError as error:"),
)  # fmt: skip
