"""SIGKILL at random instants: of the run, of its workers, of commands that change the cache."""

import collections
import os
import signal
import time

from . import Part
from .lab import differences, everything, leftovers, stream, workers_of

# A training of some seconds, so that checkpoints (one in five seconds) are written and read.
LONG = ("--only", "method=cnsdiff", "--seeds", "1", "--until", "model", "--set", "stages.model.with.select=last",
        "--set", "stages.model.with.epochs=1500")


def finish(project, truth):
    """The run that follows must finish and give the bytes of an undisturbed one, and nothing may be left over."""
    ended = project.run()
    faults = ended.faults(codes=(0,)) + differences(project, truth)
    faults += project.call("cache", "gc").faults(codes=(0,))
    return faults + leftovers(project) + differences(project, truth)


def parts(options, slots):
    counts = collections.Counter()

    def runs(case):
        draws = stream(options.seed, "kill", case)
        with slots.one() as project:
            project.fresh()
            for _ in range(5):
                process = project.start("run", "--json")
                time.sleep(draws.uniform(0, 1.1 * project.seconds))
                counts["mid-run"] += process.poll() is None
                counts["kills"] += 1
                process.kill()
                project.wait(process)
            return finish(project, project.truth)

    def workers(case):
        draws = stream(options.seed, "worker", case)
        faults = []
        with slots.one() as project:
            project.fresh()
            for _ in range(3):
                process = project.start("run", "--json")
                while process.poll() is None and not workers_of(process.pid):
                    time.sleep(0.005)
                time.sleep(draws.uniform(0, 0.6 * project.seconds))
                for worker in workers_of(process.pid):
                    counts["workers"] += 1
                    try:
                        os.kill(worker, signal.SIGKILL)
                    except ProcessLookupError:
                        counts["workers"] -= 1
                ended = project.wait(process)
                counts["failed runs"] += ended.code == 3
                faults += ended.faults(codes=(0, 3))
                if ended.code == 3 and "SIGKILL" not in ended.err + ended.out:
                    faults.append(f"a killed worker's signal is not named: {ended.err[-300:]}")
            return faults + finish(project, project.truth)

    def commands(case):
        draws = stream(options.seed, "command", case)
        args = draws.choice([("cache", "gc", "--days", "0"), ("cache", "verify", "--repair"), ("clean",),
                             ("clean", "--stage", "model"), ("run", "--json")])
        with slots.one() as project:
            process = project.start(*args)
            time.sleep(draws.uniform(0, 0.03))
            counts["commands"] += process.poll() is None
            process.kill()
            project.wait(process)
            return [f"after {' '.join(args)}: {fault}" for fault in finish(project, project.truth)]

    def training(case):
        draws = stream(options.seed, "training", case)
        with slots.one() as project:
            whole = project.run(*LONG)
            truth = everything(project)
            faults = whole.faults(codes=(0,))
            project.reset()
            for _ in range(2):
                process = project.start("run", "--json", *LONG)
                time.sleep(draws.uniform(0.3, 1) * whole.seconds)
                process.kill()
                counts["trainings"] += 1
                project.wait(process)
                counts["checkpoints"] += any((project.cache / "scratch").rglob("*.checkpoint"))
            faults += project.run(*LONG).faults(codes=(0,))
            return faults + differences(project, truth)

    quick = options.quick
    yield Part("a run, five times in a row", list(range(6 if quick else 70)), runs, count=lambda: counts["kills"],
               note=lambda: f"{counts['mid-run']} while it ran")
    yield Part("all workers of a run", list(range(3 if quick else 40)), workers, count=lambda: counts["workers"],
               note=lambda: f"{counts['failed runs']} runs failed, and said why")
    yield Part("gc, clean, verify --repair, an unchanged run", list(range(8 if quick else 60)), commands,
               note=lambda: f"{counts['commands']} while it ran")
    if not quick:
        yield Part("a long training, twice", list(range(8)), training, count=lambda: counts["trainings"],
                   note=lambda: f"{counts['checkpoints']} left a checkpoint")
