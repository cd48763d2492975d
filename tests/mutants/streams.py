"""The guards of standard streams: output may be lost, and no file or socket takes their descriptors."""

from __future__ import annotations

from tests.mutants.guard import Guard

_STREAMS = "tests/unit/contract/test_streams.py"
_RUN = "tests/acceptance/test_streams.py"


def _of(text: str, instead: str, test: str = _STREAMS, file: str = "contract/streams.py") -> Guard:
    return Guard(file, text, (test,), instead)


GUARDS = (
    _of("except OSError as error:", "except EOFError as error:"),
    _of("0.0 if self._is_stuck else self._patience", "self._patience * 10_000"),
    _of("                self._is_stuck = True\n", ""),
    _of("                    self._is_stuck = False\n", ""),
    _of("if self._is_file or select.select([], [self._descriptor], [], 0.0)[1]:", "if True:"),
    _of("if self._is_file or ", "if "),
    _of("except BlockingIOError:", "except EOFError:"),
    _of("    fill_gaps()\n    outlet", "    outlet"),
    _of("        os.set_inheritable(nowhere, True)", "        pass"),
    _of("fill_gaps()  #", "pass  #", file="worker/__init__.py"),
    _of("if output.fault is None or", "if True or", _RUN, "producer/cli/__init__.py"),
    _of(" or output.fault.errno == errno.EPIPE", "", _RUN, "producer/cli/__init__.py"),
    _of("code if isinstance(code, Answer) else code or 1", "code or 1", _RUN, "producer/cli/__init__.py"),
    _of("code if isinstance(code, Answer) else code or 1", "code", _RUN, "producer/cli/__init__.py"),
)  # fmt: skip
