"""Look the locked versions up among known vulnerabilities, and say so where they could not be looked up.

pip-audit alone ends with 0 when its database does not answer: "could not be audited" is a line of its output.
Exit codes: 0 nothing known, 1 something known, 2 not (all) looked up.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

LOCK = Path(__file__).parent / "run.txt"
AUDIT = ["uv", "tool", "run", "pip-audit", "--requirement", str(LOCK), "--require-hashes", "--disable-pip"]
QUIETLY = ["--format", "json", "--progress-spinner", "off"]


def main() -> int:
    """Run pip-audit and return the exit code."""
    try:
        answer = subprocess.run([*AUDIT, *QUIETLY], capture_output=True, text=True, check=False)
        packages: list[dict[str, Any]] = json.loads(answer.stdout)["dependencies"]
    except FileNotFoundError:
        print("The audit needs uv, which runs pip-audit: install it.", file=sys.stderr)
        return 2
    except (ValueError, KeyError):
        last = answer.stderr.strip().splitlines()[-1:] or ["no answer"]
        print(f"NOT AUDITED: the vulnerability database or pip-audit cannot be reached ({last[0]}).", file=sys.stderr)
        return 2
    return judge(packages)


def judge(packages: list[dict[str, Any]]) -> int:
    """Tell what was found and return the exit code."""
    known = [(each, vuln) for each in packages for vuln in each.get("vulns", ())]
    for each, vuln in known:
        fixed = ", ".join(vuln.get("fix_versions", ())) or "no version yet"
        print(f"{each['name']} {each['version']}: {vuln['id']}, mended in {fixed}")
    skipped = [each["name"] for each in packages if "skip_reason" in each]
    looked_up = len(packages) - len(skipped)
    print(f"{looked_up} of {len(packages)} packages looked up, {len(known)} known vulnerabilities")
    if skipped:
        print(
            f"NOT AUDITED: {', '.join(skipped)}: the vulnerability database did not answer or does not know them.",
            file=sys.stderr,
        )
    return 1 if known else 2 if skipped or not packages else 0


if __name__ == "__main__":
    sys.exit(main())
