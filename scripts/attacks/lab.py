"""A project with every stage kind, runs of it, and the comparison of all bytes with an undisturbed run."""

import dataclasses
import functools
import hashlib
import http.server
import json
import os
import pathlib
import random
import resource
import shutil
import subprocess
import threading
import time

# What a run that hangs would take for ever; the slowest sound one takes a few seconds.
TIMEOUT = 40
# A message longer than this is no message.
LOUDEST = 1 << 20

PIPELINE = """\
pipeline: torture
axes:
  method:
    mf: { backbone: mf, sampler: uniform }
    cnsdiff: { backbone: lightgcn, sampler: { cnsdiff: { variant: trained, gen_warmup_epochs: 1 } } }
  seed: [1, 2]
stages:
  raw: { kind: synthetic, with: { users: 120, items: 90, interactions: 1000, seed: 7 } }
  clicks:
    kind: ingest
    with:
      format: { delimited: { columns: { user: 1, item: 2, time: 3 }, header: false } }
      files: [{ part: all, source: ../clicks.csv }]
  fetched:
    kind: ingest
    with:
      format: { delimited: { columns: { user: 1, item: 2, time: 3 }, header: false } }
      files: [{ part: all, source: "URL", digest: "sha256:DIGEST" }]
  split: { kind: split, needs: { data: raw }, with: { scenario: { popularity: { valid: 0.1, iid: 0.1 } }, parts: [log] } }
  timed: { kind: split, needs: { data: clicks }, with: { scenario: { temporal: {} } } }
  model:
    kind: train
    over: [method, seed]
    needs: { split: split }
    with:
      backbone: "{{ method.backbone }}"
      sampler: "{{ method.sampler }}"
      seed: "{{ seed }}"
      epochs: 3
      batch_size: 128
      dim: 8
  score: { kind: evaluate, needs: { split: split, model: model }, with: { set: iid } }
  tests: { kind: compare, collapse: [method, seed], needs: { scores: score }, with: { reference: cnsdiff, resamples: 100 } }
  table: { kind: report, needs: { scores: score*, tests: tests }, with: { over: seed, ours: [cnsdiff] } }
  described: { kind: describe, needs: { data: [clicks, fetched], splits: timed } }
  note: { kind: literal, with: { rows: [{ x: 1, name: a }, { x: 2.5 }] } }
  notes: { kind: concat, needs: { tables: note } }
"""

# Who reads whose artifacts; what stands here is what the pipeline says under `needs`.
NEEDS = {
    "raw": [], "clicks": [], "fetched": [], "note": [],
    "split": ["raw"], "timed": ["clicks"], "model": ["split"], "score": ["split", "model"], "tests": ["score"],
    "table": ["score", "tests"], "described": ["clicks", "fetched", "timed"], "notes": ["note"],
}

# Texts that no user may ever see.
FORBIDDEN = ("panicked at", "RUST_BACKTRACE", "stack backtrace")
COSTS = ("seconds", "cpu_seconds", "peak_memory_bytes", "threads")
# Exit codes that are documented; others, and signals, are failures.
DOCUMENTED = (0, 2, 3, 4, 5, 130)


def clicks(users=30, step=1):
    """A raw file of interactions; another `step` gives other lines of the same length."""
    rows = [(user, (user * 7 + step * turn * turn) % 40, 1000 + turn * 97 + user)
            for user in range(users) for turn in range(9)]
    return "".join(f"u{user:02},i{item:02},{moment}\n" for user, item, moment in rows).encode()


class Silent(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def serve(folder):
    """A web server on a free port of this machine, for the raw file that is downloaded."""
    handler = functools.partial(Silent, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_address[1]


@dataclasses.dataclass
class Ended:
    """How a run of the program ended."""

    code: int
    out: str
    err: str
    seconds: float
    hung: bool = False

    def why(self):
        """What it said of its end."""
        failed = [line for line in self.out.splitlines() if '"outcome":"failed"' in line]
        return (self.err.strip() or "".join(failed[-1:]))[-400:]

    def faults(self, codes=DOCUMENTED):
        """What no run may do, whatever was done to it."""
        found = []
        if self.hung:
            found.append(f"hangs: still there after {TIMEOUT} s")
        elif self.code not in codes:
            found.append(f"ends with {self.code}, not with one of {codes}: {self.why()}")
        found += [f"says `{text}`" for text in FORBIDDEN if text in self.err or text in self.out]
        if len(self.err) > LOUDEST:
            found.append(f"writes {len(self.err)} bytes of messages")
        if not self.hung and self.code not in (0, 130) and not (self.err + self.out).strip():
            found.append(f"ends with {self.code} and says nothing")
        return found


def limits(pairs):
    def apply():
        for what, value in pairs:
            resource.setrlimit(what, (value, value))
    return apply if pairs else None


class Project:
    """A folder with the pipeline. `home` holds the raw file, which stays where it is while the project is replaced."""

    def __init__(self, program, home, port):
        self.program, self.home = program, pathlib.Path(home)
        self.dir, self.template = self.home / "project", self.home / "template"
        self.dir.mkdir(parents=True)
        content = clicks(step=3)
        # One address for all projects: it stands in an artifact, which is to be the same in all of them.
        (self.home.parent / "fetched.csv").write_bytes(content)
        self.write_clicks(clicks())
        url = f"http://127.0.0.1:{port}/fetched.csv"
        text = PIPELINE.replace("URL", url).replace("DIGEST", hashlib.sha256(content).hexdigest())
        (self.dir / "pipeline.yaml").write_text(text)

    def write_clicks(self, content):
        """Writes the raw file as one that has long been there."""
        path = self.home / "clicks.csv"
        path.write_bytes(content)
        os.utime(path, (time.time() - 3600,) * 2)

    @property
    def cache(self):
        return self.dir / "cache"

    def start(self, *args, limit=(), env=None, cwd=None, stdout=subprocess.PIPE, before=(), **popen):
        command = [*before, str(self.program), *map(str, args)]
        environment = {**os.environ, "RUST_BACKTRACE": "0", "NO_COLOR": "1", **(env or {})}
        environment.pop("CNSDIFF_MIRROR", None)
        return subprocess.Popen(command, cwd=cwd or self.dir, env=environment, stdin=subprocess.DEVNULL, stdout=stdout,
                                stderr=subprocess.PIPE, preexec_fn=limits(limit), text=True, errors="replace", **popen)

    @staticmethod
    def wait(process, timeout=TIMEOUT):
        clock = time.monotonic()
        try:
            out, err = process.communicate(timeout=timeout)
            hung = False
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            hung = True
        return Ended(process.returncode, out or "", err or "", time.monotonic() - clock, hung)

    def call(self, *args, **options):
        return self.wait(self.start(*args, **options))

    def run(self, *args, **options):
        return self.call("run", "--json", *args, **options)

    def keep(self):
        """Makes the project as it is now what `reset` goes back to."""
        shutil.rmtree(self.template, ignore_errors=True)
        shutil.copytree(self.dir, self.template, symlinks=True)

    def reset(self):
        remove(self.dir)
        shutil.copytree(self.template, self.dir, symlinks=True)

    def fresh(self):
        """The project before any run."""
        for name in ("cache", "reports", "data", "pipeline.lock"):
            remove(self.dir / name)

    def forget(self, stages):
        """Takes the entries of stages out of the cache, so that they are computed again."""
        for path in (self.cache / "index").rglob("*.entry"):
            if stages and path.is_file() and origin(path).split("[")[0] in stages:
                path.unlink()


def remove(path):
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    elif path.exists() or path.is_symlink():
        path.unlink()


def origin(entry):
    """The instance that an index entry is of; nothing if the entry is damaged."""
    try:
        return json.loads(entry.read_bytes().split(b"\n")[2])["id"]
    except (ValueError, IndexError, KeyError):
        return ""


def after(stage):
    """The stages that read, directly or not, what `stage` makes."""
    direct = [other for other, needs in NEEDS.items() if stage in needs]
    return set(direct).union(*(after(other) for other in direct))


def digest(path):
    return hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()


def entry_without_costs(path):
    entry = json.loads(path.read_bytes().split(b"\n")[1])
    return json.dumps({name: value for name, value in entry.items() if name not in COSTS}, sort_keys=True)


def everything(project):
    """Every byte that a run is answerable for: the lock file, the reports, the objects, the index without costs."""
    found = {}
    for path in [project.dir / "pipeline.lock", *sorted((project.dir / "reports").rglob("*"))]:
        if path.is_file():
            found[str(path.relative_to(project.dir))] = digest(path)
    for path in sorted((project.cache / "objects").rglob("*")):
        if path.is_file():
            found[str(path.relative_to(project.dir))] = digest(path)
    for path in sorted((project.cache / "index").rglob("*.entry")):
        if path.is_file():
            found[str(path.relative_to(project.dir))] = entry_without_costs(path)
    return found


def differences(project, truth, more=False):
    """How the project differs from the undisturbed one; `more` allows results of other inputs beside."""
    try:
        found = everything(project)
    except (OSError, ValueError, IndexError) as error:
        return [f"cannot be compared: {error}"]
    wrong = [f"{name} is missing" for name in truth if name not in found]
    wrong += [f"{name} differs" for name in truth if name in found and found[name] != truth[name]]
    if not more:
        wrong += [f"{name} is too many" for name in found if name not in truth]
    return wrong[:5]


def leftovers(project):
    """Temporary files and folders that a finished run and `cache gc` must not leave."""
    places = [project.cache / name for name in ("staging", "scratch", "tmp")]
    found = [path for place in places if place.is_dir() for path in place.iterdir()]
    found += [path for path in project.dir.rglob(".tmp*") if not path.is_relative_to(project.cache)]
    return [f"{path.relative_to(project.dir)} is left" for path in found[:3]]


def workers_of(pid):
    """Children of a process, from /proc."""
    found = []
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except (OSError, IndexError):
            continue
        if int(fields[1]) == pid:
            found.append(int(stat.parent.name))
    return found


def stream(seed, *names):
    """Random draws that depend on the seed and the names alone, so that a case can be repeated by itself."""
    return random.Random(f"{seed} {names}")
