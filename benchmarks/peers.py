"""The others: each downloader's command line at its best setting, and the tools that show the physical limit.

Every peer writes plain files, checks certificates, does not retry, and prints nothing. Flags and numbers of transfers
are the fastest found in a sweep (README, "Settings"); none is there to hold a peer back.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from benchmarks.client import Client, Command, Reading, Run
from benchmarks.corpora import KB, ROWS, Link, Row, Unit, file_name
from benchmarks.meter import Cost


def curl(run: Run) -> Command:
    pairs = zip(run.urls, range(run.row.files), strict=True)
    config = "".join(f'url = "{url}"\noutput = "{run.output / file_name(index)}"\n' for url, index in pairs)
    return Command(
        [
            "curl",
            "-Z",
            *([] if run.row.http2 else ["--parallel-immediate"]),  # it would rather connect than share a connection
            "--parallel-max",
            str(run.in_flight),
            "-sS",
            "--fail",
            "--cacert",
            str(run.server.authorities),
            "-q",
        ]
        + ["-K", run.write("curl.conf", config)]
    )


def wget2(run: Run) -> Command:
    argv = [
        "wget2",
        "--no-config",
        "-q",
        "--progress=none",
        "--no-robots",
        "--no-hsts",
        "-nH",
        "--cut-dirs=1",
        "-P",
        str(run.output),
    ]
    argv += ["--max-threads", str(run.in_flight), "--ca-certificate", str(run.server.authorities), "--no-ocsp"]
    return Command([*argv, "-i", run.write("urls.txt", "\n".join(run.urls) + "\n")], {"HOME": str(run.folder)})


def aria2(run: Run) -> Command:
    pairs = zip(run.urls, range(run.row.files), strict=True)
    listed = "".join(f"{url}\n out={file_name(index)}\n" for url, index in pairs)
    argv = [
        "aria2c",
        "--no-conf",
        "-q",
        "--download-result=hide",
        "--summary-interval=0",
        "--file-allocation=none",
        "-d",
        str(run.output),
    ]
    argv += [
        "-j",
        str(run.in_flight),
        "--async-dns=false",
        "--disable-ipv6",
        "--ca-certificate",
        str(run.server.authorities),
    ]
    if run.row.link is Link.CAPPED:
        argv += ["-x8", "-s8", "-k1M"]
    return Command([*argv, "-i", run.write("aria2.txt", listed)], {"HOME": str(run.folder)})


def rclone(run: Run) -> Command:
    names = run.write("names.txt", "".join(f"{file_name(index)}\n" for index in range(run.row.files)))
    argv = [
        "rclone",
        "copy",
        ":http:",
        str(run.output),
        "--http-url",
        f"{run.server.base(run.row)}/{run.row.bodies}/",
        "--config",
        "",
    ]
    argv += [
        "--files-from-raw",
        names,
        "--no-traverse",
        "--no-check-dest",
        "--retries",
        "1",
        "--ca-cert",
        str(run.server.authorities),
    ]
    argv += ["--transfers", str(run.in_flight), "--checkers", str(run.in_flight), "--ignore-checksum"]
    if run.row.link is Link.CAPPED:
        argv += ["--multi-thread-streams", "8", "--multi-thread-cutoff", "1M"]
    elif run.row.size < 10 * KB:
        argv += [
            "--http-no-head"
        ]  # saves a request per URL; a large body of unknown length is buffered, which costs more
    return Command(argv)


def img2dataset(python: str) -> Callable[[Run], Command]:
    def command(run: Run) -> Command:
        listed = run.write("urls.txt", "\n".join(run.urls) + "\n")
        argv = [
            str(Path(python).with_name("img2dataset")),
            f"--url_list={listed}",
            "--input_format=txt",
            "--output_format=files",
        ]
        argv += [
            f"--output_folder={run.output}",
            "--processes_count=2",
            f"--thread_count={run.in_flight}",
            "--resize_mode=no",
        ]
        argv += [
            "--disable_all_reencoding=True",
            "--retries=0",
            f"--number_sample_per_shard={max(1, run.row.files // 4)}",
        ]
        return Command(
            argv,
            {"SSL_CERT_FILE": str(run.server.authorities), "NO_ALBUMENTATIONS_UPDATE": "1", "HOME": str(run.folder)},
        )

    return command


def parfive(python: str) -> Callable[[Run], Command]:
    def command(run: Run) -> Command:
        listed = run.write("urls.txt", "\n".join(run.urls) + "\n")
        splits = "8" if run.row.link is Link.CAPPED else "1"
        argv = [
            python,
            "-P",
            str(Path(__file__).with_name("parfive_driver.py")),
            listed,
            str(run.output),
            str(run.in_flight),
            splits,
        ]
        return Command(argv, {"SSL_CERT_FILE": str(run.server.authorities), "HOME": str(run.folder)})

    return command


def wrk(run: Run) -> Command:
    """Ask for the row's URLs again and again for three seconds: what server and link give when nothing is stored."""
    paths = ",".join(f'"/{run.row.bodies}/{file_name(index)}"' for index in range(run.row.files))
    script = (
        f"local paths = {{{paths}}}\nlocal asked, n = {{}}, 0\n"
        "function init() for i, path in ipairs(paths) do asked[i] = wrk.format('GET', path) end end\n"
        "function request() n = n % #asked + 1; return asked[n] end\n"
    )
    argv = ["wrk", "-t2", f"-c{run.in_flight}", "-d3s", "-s", run.write("wrk.lua", script), run.server.base(run.row)]
    return Command(argv)


def _read_wrk(run: Run, cost: Cost) -> Reading:
    text = run.log.read_text("utf-8", "replace")
    rate, asked = re.search(r"Requests/sec:\s+([\d.]+)", text), re.search(r"(\d+) requests in", text)
    if not rate or not asked:
        return Reading(0.0, cost.cpu)
    # The row's cost is what it would be for the row's URLs: wrk asks for them many times over.
    return Reading(float(rate[1]), cost.cpu * run.row.files / max(1, int(asked[1])))


def copy(run: Run) -> Command:
    names = [str(run.server.corpora / run.row.bodies / file_name(index)) for index in range(run.row.files)]
    return Command(["cp", *names, str(run.output)])


def peers(python_of_peers: str | None) -> list[Client]:
    """Return every peer and limit; img2dataset and parfive only with the Python they are installed in."""
    found = [
        Client(
            name="curl",
            command=curl,
            version=["curl", "--version"],
            in_flight={"A": 128, "B": 16, "S": 8, "SE": 8},
            slow_on=frozenset({"SE"}),
        ),
        Client(
            name="wget2",
            command=wget2,
            version=["wget2", "--version"],
            in_flight={"A": 32, "B": 16, "E": 32, "S": 32, "H": 16, "SE": 8},
        ),
        Client(name="aria2", command=aria2, version=["aria2c", "--version"], in_flight={"SE": 32}, skips=_http1_only),
        Client(name="rclone", command=rclone, version=["rclone", "version"], skips=_one_host_only),
        Client(name="wrk", command=wrk, version=["wrk", "-v"], read=_read_wrk, is_limit=True),
        Client(name="cp", command=copy, version=["cp", "--version"], is_limit=True),
    ]
    if python_of_peers:
        ask = "import importlib.metadata, sys; print(sys.argv[1], importlib.metadata.version(sys.argv[1]))"
        always = frozenset(ROWS)
        found += [
            Client(
                name="img2dataset",
                command=img2dataset(python_of_peers),
                version=[python_of_peers, "-c", ask, "img2dataset"],
                skips=_small_bodies_only,
                slow_on=always,
            ),
            Client(
                name="parfive",
                command=parfive(python_of_peers),
                version=[python_of_peers, "-c", ask, "parfive"],
                skips=_http1_only,
                slow_on=always,
            ),
        ]
    return found


def _one_host_only(row: Row) -> str | None:
    return "copies from one host per run" if row.hosts > 1 else None


def _http1_only(row: Row) -> str | None:
    return "speaks no HTTP/2" if row.http2 else None


def _small_bodies_only(row: Row) -> str | None:
    if row.http2:
        return _http1_only(row)
    return "made for images: holds bodies in memory" if row.unit is Unit.BYTES else None
