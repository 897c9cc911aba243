"""Pipelines, templates and raw files, changed at random by the million, in a process of their own (tests/mutations)."""

import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile

from . import Part

KINDS = ("pipelines", "templates", "files")
# Each process tries this many; one that dies costs the rest of its cases only.
EACH = 10_000
# A case may not take more than this, in MiB; one that takes far more ends the process.
MEMORY, FAR_MORE = 512, 4096


def build(root):
    """The program that changes and tries the cases."""
    command = [os.environ.get("CARGO", "cargo"), "test", "--release", "--locked", "--no-run", "--test", "mutations",
               "--message-format=json"]
    built = subprocess.run(command, cwd=root, check=True, stdout=subprocess.PIPE, text=True)
    for line in built.stdout.splitlines():
        message = json.loads(line)
        if message.get("executable") and message["target"]["name"] == "mutations":
            return message["executable"]
    sys.exit("torture: cargo built no `mutations`")


def parts(options, slots):
    program = build(options.root)
    folder = pathlib.Path(tempfile.mkdtemp(dir=slots.home))
    totals = {kind: [0, 0, 0] for kind in KINDS}
    count = {"pipelines": 10_000, "templates": 10_000, "files": 10_000} if options.quick else \
        {"pipelines": 1_000_000, "templates": 1_000_000, "files": 1_000_000}

    def check(case):
        kind, number = case
        path = folder / f"{kind}-{number}"
        command = [program, kind, str(EACH), str(options.seed + number), str(path)]
        limit = (resource.RLIMIT_AS, (FAR_MORE << 20,) * 2)
        ended = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
                               preexec_fn=lambda: resource.setrlimit(*limit), timeout=3600)
        if ended.returncode == 0:
            done, slowest, largest = map(int, ended.stdout.split())
            total = totals[kind]
            total[:] = [total[0] + done, max(total[1], slowest), max(total[2], largest)]
            return [f"{kind}: a case takes {largest} MiB (seed {options.seed + number})"] if largest > MEMORY else []
        kept = pathlib.Path(tempfile.gettempdir()) / f"torture-{kind}-{options.seed}-{number}"
        path.replace(kept)
        return [f"{kind}: exit {ended.returncode}: {ended.stderr.strip()[-400:]}; the case is {kept}"]

    for kind in KINDS:
        cases = [(kind, number) for number in range(count[kind] // EACH)]
        yield Part(kind, cases, check, count=lambda kind=kind: totals[kind][0],
                   note=lambda kind=kind: f"at most {totals[kind][1]} ms and {totals[kind][2]} MiB for one")
