"""Raw files that change while a run reads them, and changes that file times do not show."""

import collections
import os
import time

from . import Part
from .lab import clicks, differences, everything, stream

# With one job, a stage before `clicks` that takes so long that changes fall between the digest and the reading.
SLOW = ("--jobs", "1", "--until", "raw", "--until", "timed", "--set", "stages.raw.with.users=20000",
        "--set", "stages.raw.with.items=8000", "--set", "stages.raw.with.interactions=1000000")
WAYS = ("other lines of equal length", "longer", "shorter", "a new file in its place", "times put back", "removed", "a link")


def edit(project, how, content):
    path = project.home / "clicks.csv"
    before = path.stat()
    if how == "a new file in its place":
        new = path.with_suffix(".new")
        new.write_bytes(content)
        new.rename(path)
    elif how == "removed":
        path.unlink()
    elif how == "a link":
        target = path.with_suffix(".target")
        target.write_bytes(content)
        path.unlink()
        path.symlink_to(target.name)
    else:
        # In place, as rsync --inplace does.
        path.write_bytes(content)
    if how == "times put back":
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def restore(project, content):
    path = project.home / "clicks.csv"
    path.unlink(missing_ok=True)
    project.write_clicks(content)


def parts(options, slots):
    counts = collections.Counter()
    versions = {"other lines of equal length": clicks(step=2), "longer": clicks(users=40), "shorter": clicks(users=20)}

    def content(how):
        return versions.get(how, clicks(step=2))

    def during(case):
        number, how = case
        draws = stream(options.seed, "change", number)
        with slots.one() as project:
            try:
                project.fresh()
                process = project.start("run", "--json", *SLOW)
                time.sleep(draws.uniform(0, 0.7))
                edit(project, how, content(how))
                ended = project.wait(process)
                counts["refused"] += ended.code == 3
                faults = ended.faults(codes=(0, 3))
                # Whatever was stored belongs to what was read: with the old file back, the old results.
                restore(project, clicks())
                faults += project.run().faults(codes=(0,))
                faults += [f"with the old file: {fault}" for fault in differences(project, project.truth, more=True)]
                if how == "removed":
                    return faults
                # ... and with the new one, those of a project that never had the old one.
                restore(project, content(how))
                faults += project.run().faults(codes=(0,))
                changed = everything(project)
                project.fresh()
                faults += project.run().faults(codes=(0,))
                alone = everything(project)
                return faults + [f"with the new file: {name} differs" for name in alone if changed.get(name) != alone[name]]
            finally:
                restore(project, clicks())

    def between(case):
        """Changed between two runs, size and times as before."""
        with slots.one() as project:
            try:
                # The file was restored a moment ago: only a file that has stood still is remembered.
                time.sleep(2.5)
                faults = project.run().faults(codes=(0,))
                edit(project, "times put back", clicks(step=2 + case))
                faults += project.run().faults(codes=(0,))
                served = everything(project)
                project.fresh()
                faults += project.run().faults(codes=(0,))
                alone = everything(project)
                return faults + [f"{name} is stale" for name in alone if served.get(name) != alone[name]][:3]
            finally:
                restore(project, clicks())

    rounds = 1 if options.quick else 12
    yield Part("a raw file, while a run reads it", [(n, how) for n in range(rounds) for how in WAYS], during,
               note=lambda: f"{counts['refused']} runs refused it")
    yield Part("a raw file, size and times as before", list(range(2 if options.quick else 20)), between)
