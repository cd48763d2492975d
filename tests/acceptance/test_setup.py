"""`./trawl` in a checkout: it sets itself up once, completely or again, for any user, from any folder."""

import ast
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.architecture.project import ROOT
from tests.support.person import ran
from tests.support.processes import await_condition, is_alive, send

STUB = '''"""Says where it runs."""
import os, sys
import contract
print(os.getcwd(), *sys.argv[1:])
'''
SET_UP = "set up in .venv"
EMPTY_LOCK = "# no package, so that nothing is fetched\n"
#: uv, as far as it is needed: an environment at once, and one package of one line.
QUICK_UV = f"""#!/bin/sh
for last; do :; done
case $1 in
  venv) exec {sys.executable} -m venv --without-pip "$last" ;;
  pip) for lib in "${{4%/bin/python}}"/lib/python3*; do echo >"$lib/site-packages/installed.py"; done ;;
esac
"""
SLOW_UV = """#!/bin/sh
echo $$ > "$(dirname "$0")/pid"
exec sleep 300
"""
BROKEN = "#!/bin/sh\nexit 127\n"  # what pyenv leaves on PATH for the versions it does not select
PRETEND_OLD = """
import runpy, sys
sys.version_info = (3, 9, 18, "final", 0)
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@dataclass(frozen=True, slots=True)
class Checkout:
    """A folder with `trawl`, locks without packages and a producer that says where it runs."""

    root: Path
    python: str = sys.executable

    @property
    def installer(self) -> Path:
        """Where SLOW_UV writes its pid."""
        return self.root / "bin" / "pid"

    def program(self, name: str, text: str) -> Path:
        """Put a program of this name first on the path `trawl` sees."""
        path = self.root / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
        return path

    def start(self, *arguments: str, folder: Path | None = None, **environment: str) -> subprocess.Popen[str]:
        """Start `./trawl` in a folder, the checkout by default."""
        return subprocess.Popen(
            [self.python, self.root / "trawl", *arguments],
            cwd=folder or self.root,
            env={**outside(), "PATH": f"{self.root / 'bin'}:/usr/bin:/bin", **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, folder: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run `./trawl` to its end and return what it said."""
        process = self.start(*arguments, folder=folder, **environment)
        out, err = process.communicate()
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def run_with_old_python(self, path: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `./trawl` with a Python that says it is 3.9."""
        command = [sys.executable, "-c", PRETEND_OLD, str(self.root / "trawl"), *arguments]
        return ran(*command, cwd=self.root, env={"PATH": path})


def outside() -> dict[str, str]:
    """Return our environment without what would lead another Python to our packages."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


@pytest.fixture
def checkout(tmp_path: Path) -> Iterator[Checkout]:
    root = tmp_path / "a checkout"  # the blank is on purpose
    for package, text in (("contract/__init__.py", ""), ("producer/__init__.py", ""), ("producer/__main__.py", STUB)):
        (root / package).parent.mkdir(parents=True, exist_ok=True)
        (root / package).write_text(text)
    (root / "requirements").mkdir()
    for lock in ("run", "dev"):
        (root / "requirements" / f"{lock}.txt").write_text(EMPTY_LOCK)
    shutil.copy(ROOT / "trawl", root)
    made = Checkout(root)
    made.program("uv", QUICK_UV)
    yield made
    if made.installer.exists():
        send(int(made.installer.read_text()), signal.SIGKILL)


def test_the_first_command_sets_up_and_the_second_does_not(checkout: Checkout, tmp_path: Path) -> None:
    first = checkout.run("run", "urls.txt", folder=tmp_path)
    second = checkout.run("run", "urls.txt", folder=tmp_path)

    assert first.returncode == second.returncode == 0, first.stderr + second.stderr
    assert SET_UP in first.stderr
    assert second.stderr == ""
    assert first.stdout == second.stdout == f"{tmp_path} run urls.txt\n"


@pytest.mark.parametrize("stderr", ["closed", "full"])
def test_setup_works_with_closed_streams(checkout: Checkout, stderr: str) -> None:
    """Guards fill_gaps and write: a cron job or a service manager may have closed standard output."""
    with open("/dev/full", "w") as full:
        ended = subprocess.run(
            [checkout.python, checkout.root / "trawl", "run"],
            cwd=checkout.root,
            env=outside() | {"PATH": f"{checkout.root / 'bin'}:/usr/bin:/bin"},
            stdout=subprocess.PIPE,
            stderr=full,
            preexec_fn=(lambda: os.close(2)) if stderr == "closed" else None,
            check=False,
        )

    assert (ended.returncode, ended.stdout) == (0, f"{checkout.root} run\n".encode())


def test_bytecode_exists_even_if_python_may_not_write_it(checkout: Checkout) -> None:
    """Guards write_bytecode: each command would take twice as long to start."""
    checkout.run(PYTHONDONTWRITEBYTECODE="1")

    assert {path.parents[1].name for path in checkout.root.rglob("*.pyc")} == {"contract", "producer", "site-packages"}


def test_it_can_be_called_through_a_link(checkout: Checkout, tmp_path: Path) -> None:
    checkout.run()
    (tmp_path / "trawl").symlink_to(checkout.root / "trawl")

    result = subprocess.run(
        [sys.executable, tmp_path / "trawl", "x"], cwd=tmp_path, env=outside(), capture_output=True, text=True,
        check=True,
    )  # fmt: skip

    assert result.stdout == f"{tmp_path} x\n"


def test_a_module_in_the_users_folder_is_not_imported(checkout: Checkout, tmp_path: Path) -> None:
    # Protects `-P`: `python -m` alone puts the user's folder first.
    (tmp_path / "contract.py").write_text("raise SystemExit('imported from the wrong place')")

    result = checkout.run(folder=tmp_path)

    assert result.returncode == 0, result.stderr


def test_a_new_lock_is_installed_into_the_environment_that_is_there(checkout: Checkout) -> None:
    checkout.run()
    (checkout.root / ".venv" / "kept").touch()
    (checkout.root / "requirements" / "run.txt").write_text("# another\n")

    again = checkout.run()
    after = checkout.run()

    assert SET_UP in again.stderr
    assert (checkout.root / ".venv" / "kept").exists()
    assert after.stderr == ""


@pytest.mark.parametrize("kind", ["first", "upgrade"])
def test_a_killed_setup_is_repeated(checkout: Checkout, kind: str) -> None:
    # Protects the mark's being written last, and unfinished before the first change.
    if kind == "upgrade":
        checkout.run()
        (checkout.root / "requirements" / "run.txt").write_text("# another\n")
    killed, installer = in_the_middle_of_setup(checkout)
    killed.kill()
    send(installer, signal.SIGKILL)
    killed.communicate()
    (checkout.root / ".venv" / "debris").touch()
    checkout.program("uv", QUICK_UV)

    again = checkout.run("x")

    assert again.stdout == f"{checkout.root} x\n", again.stderr
    assert SET_UP in again.stderr
    assert "moved" not in again.stderr
    assert not (checkout.root / ".venv" / "debris").exists()


def test_an_installer_that_outlives_its_setup_is_waited_for(checkout: Checkout) -> None:
    # Protects pass_fds: two installers must never write into one environment.
    killed, installer = in_the_middle_of_setup(checkout)
    killed.kill()
    killed.communicate()
    checkout.program("uv", QUICK_UV)
    second = checkout.start()
    assert second.stderr is not None
    first_words = second.stderr.readline()
    was_alive = is_alive(installer)
    send(installer, signal.SIGKILL)
    second.communicate()

    assert was_alive
    assert "waiting for it" in first_words
    assert second.returncode == 0


@pytest.mark.parametrize(("sent", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_an_installer_ends_with_the_setup_that_started_it(
    checkout: Checkout, sent: signal.Signals, status: int
) -> None:
    ended, installer = in_the_middle_of_setup(checkout)

    ended.send_signal(sent)
    _, words = ended.communicate()

    assert ended.returncode == status
    assert not is_alive(installer)
    assert "Traceback" not in words


def in_the_middle_of_setup(checkout: Checkout) -> tuple[subprocess.Popen[str], int]:
    """Start a set-up whose installer does not end; return it and the installer's pid."""
    checkout.program("uv", SLOW_UV)
    process = checkout.start()
    pid = await_condition(lambda: words_of(checkout.installer), within=30, what="an installer")
    return process, int(pid)


def words_of(file: Path) -> str:
    return file.read_text() if file.exists() else ""


def test_two_concurrent_first_commands_make_one_environment(checkout: Checkout) -> None:
    # Protects the lock file, and the second look once it is held.
    pair = [checkout.start(str(number)) for number in (1, 2)]
    words = [process.communicate() for process in pair]

    assert [process.returncode for process in pair] == [0, 0], words
    assert [out for out, _ in words] == [f"{checkout.root} {number}\n" for number in (1, 2)]
    assert sum(SET_UP in err for _, err in words) == 1


def test_a_moved_checkout_is_set_up_again(checkout: Checkout) -> None:
    checkout.run()
    moved = Checkout(checkout.root.rename(checkout.root.with_name("moved")))

    result = moved.run()

    assert SET_UP in result.stderr
    assert result.stdout == f"{moved.root}\n"


@pytest.mark.parametrize("name", [".venv", ".venv/notes"], ids=["a file", "a folder"])
def test_what_is_in_the_way_is_moved_aside(checkout: Checkout, name: str) -> None:
    notes = checkout.root / name
    notes.parent.mkdir(exist_ok=True)
    notes.write_text("of the user's own")

    ended = checkout.run("run")

    assert ended.returncode == 0, ended.stderr
    assert "moved the .venv that was there to .venv.before-trawl" in ended.stderr
    assert list(contents(checkout.root / ".venv.before-trawl").values()) == [b"of the user's own"]


@pytest.mark.parametrize("kind", ["a folder", "another checkout's", "its own, kept elsewhere", "a file", "nothing"])
def test_a_link_is_moved_aside_and_what_it_points_at_is_left_alone(
    checkout: Checkout, tmp_path: Path, kind: str
) -> None:
    """Guards ``make_environment``: the folder a link pointed at was emptied."""
    target, venv = tmp_path / "target", checkout.root / ".venv"
    if kind == "a file":
        target.write_text("of the user's own")
    elif kind == "its own, kept elsewhere":
        checkout.run("run")
        venv.rename(target)
        (checkout.root / "requirements" / "run.txt").write_text("# another lock\n")  # so that there is something to do
    elif kind != "nothing":
        target.mkdir()
        (target / "notes").write_text("of the user's own")
    if kind == "another checkout's":
        (target / ".trawl-setup").write_text("/another/checkout\n/another/python\nrun 0\n")
    before = contents(target)
    venv.symlink_to(target)

    ended = checkout.run("run")

    assert ended.returncode == 0, ended.stderr
    assert "moved the .venv that was there to .venv.before-trawl" in ended.stderr
    assert (checkout.root / ".venv.before-trawl").readlink() == target
    assert not venv.is_symlink()
    assert contents(target) == before


def test_warnings_of_an_installer_do_not_end_the_setup(checkout: Checkout) -> None:
    """Guards ``do_not_end_of_warnings``: with PYTHONWARNINGS=error pip fails on Python 3.13."""
    warns = f"{sys.executable} -c 'import warnings; warnings.warn(str())' || exit 1\n"
    checkout.program("uv", QUICK_UV.replace("#!/bin/sh\n", f"#!/bin/sh\n{warns}"))

    ended = checkout.run("run", PYTHONWARNINGS="error")

    assert ended.returncode == 0, ended.stderr


def test_an_environment_that_cannot_be_written_to_is_one_sentence(checkout: Checkout) -> None:
    checkout.run("run")
    (checkout.root / "requirements" / "run.txt").write_text("# another lock\n")
    in_the_way = checkout.root / ".venv" / ".trawl-setup.new"
    in_the_way.mkdir()

    ended = checkout.run("run")

    assert ended.returncode == 2
    assert ended.stderr == f"trawl: cannot set itself up: {in_the_way}: Is a directory\n"


def contents(folder: Path) -> dict[str, bytes]:
    """Return the files at or below a path."""
    return {str(each): each.read_bytes() for each in [folder, *folder.rglob("*")] if each.is_file()}


def test_pip_is_used_if_uv_fails_and_a_failure_of_both_is_reported(checkout: Checkout) -> None:
    # By a Python of an environment without pip: what the box has counts, not what that environment has.
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", checkout.root / "other"], check=True)
    checkout = replace(checkout, python=str(checkout.root / "other" / "bin" / "python"))
    checkout.program("uv", BROKEN)
    lock = checkout.root / "requirements" / "run.txt"
    lock.write_text(f"trawlnet-no-such-package==1 --hash=sha256:{'0' * 64}\n")

    failed = checkout.run(PIP_NO_INDEX="1")
    lock.write_text(EMPTY_LOCK)
    mended = checkout.run()

    assert failed.returncode == 2
    assert failed.stderr.splitlines()[-1].startswith("ERROR: No matching distribution")
    assert "Traceback" not in failed.stderr
    assert mended.returncode == 0, mended.stderr


def test_an_old_python_can_parse_it() -> None:
    # The oldest grammar that ast knows; Python 3.4 and 2.7 alike know no f-strings and no annotated variables.
    ast.parse((ROOT / "trawl").read_text("utf-8"), feature_version=(3, 4))


def test_an_unsuitable_python_is_reported_in_one_line(checkout: Checkout) -> None:
    result = checkout.run_with_old_python("/nowhere")

    assert result.returncode == 2
    assert (
        result.stderr
        == "trawl: needs Python 3.11, 3.12 or 3.13 and found only 3.9; install one of them and try again\n"
    )


def test_an_unsuitable_python_hands_over_to_a_suitable_one_on_the_path(checkout: Checkout) -> None:
    for name in ("python3.11", "python3.12", "python3.13"):
        checkout.program(name, BROKEN)
    suitable = f"python{sys.version_info.major}.{sys.version_info.minor}"
    checkout.program(suitable, f'#!/bin/sh\nexec {sys.executable} "$@"\n')

    result = checkout.run_with_old_python(f"{checkout.root / 'bin'}:/usr/bin:/bin", "x")

    assert result.stdout == f"{checkout.root} x\n", result.stderr
