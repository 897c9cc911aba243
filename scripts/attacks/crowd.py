"""Eight runs on one cache, with gc, verify, clean and other versions of the pipeline beside them."""

import collections
import json
import shutil
import subprocess
import threading

from . import Part
from .lab import differences, leftovers, stream

RUNS = 8
# Two more seeds, other epochs: what overlaps with the whole pipeline in part.
OTHERS = [(), ("--seeds", "1"), ("--seeds", "1,2,3"), ("--set", "stages.model.with.epochs=2"), ("--until", "score")]
MANY = """\
pipeline: many
axes: { a: [LABELS] }
stages:
  s: { kind: literal, over: [a], with: { rows: [{ x: "{{ a }}" }] } }
""".replace("LABELS", ", ".join(map(str, range(3000))))
# With `--pid` a process has the same number as its twin in another namespace, as in two containers.
NAMESPACE = ("unshare", "--pid", "--fork", "--mount-proc")


def executed(outs):
    """Stages that were executed, per run; every one has a key of its own here."""
    ids = collections.Counter()
    for out in outs:
        for line in out.splitlines():
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if event.get("event") == "stage_finished" and event.get("outcome") == "executed":
                ids[event["id"]] += 1
    return ids


def parts(options, slots):
    counts = collections.Counter()

    def folders(project, count):
        """Copies of the project without results, which all use its cache."""
        made = []
        for number in range(count):
            folder = project.home / f"twin{number}"
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            shutil.copy(project.dir / "pipeline.yaml", folder)
            made.append(folder)
        return made

    def twins(project, arguments, before=()):
        return [project.start("run", "--json", "--cache", project.cache, *args, cwd=folder, before=before)
                for folder, args in zip(folders(project, len(arguments)), arguments)]

    def judged(project, processes, beside=lambda: None):
        """Ends the runs, whatever goes on beside them, and finishes."""
        stop = threading.Event()
        faults = []

        def disturb():
            while not stop.is_set():
                faults.extend(beside() or [])

        thread = threading.Thread(target=disturb)
        thread.start()
        ended = [project.wait(process) for process in processes]
        stop.set()
        thread.join()
        counts["runs"] += len(ended)
        for run in ended:
            faults += run.faults(codes=(0,))
        return ended, faults

    def same(case):
        with slots.one() as project:
            project.fresh()
            ended, faults = judged(project, twins(project, [()] * RUNS))
            twice = [name for name, times in executed(run.out for run in ended).items() if times > 1]
            faults += [f"{name} was computed more than once" for name in twice]
            return faults + end(project)

    def overlapping(case):
        draws = stream(options.seed, "crowd", case)
        with slots.one() as project:
            project.fresh()
            _, faults = judged(project, twins(project, [draws.choice(OTHERS) for _ in range(RUNS)]))
            return faults + end(project, more=True)

    def beside(case):
        """Healthy runs, and commands that read or clear the cache, none of which may cry or break anything."""
        draws = stream(options.seed, "beside", case)

        def one(project):
            args = draws.choice([("cache", "gc", "--days", "0"), ("cache", "verify"), ("cache", "verify", "--repair"),
                                 ("clean", "--stage", "notes"), ("status",), ("show", "note")])
            ended = project.call(*args)
            counts["commands"] += 1
            # Those that remove things refuse while a run lasts; nothing is damaged.
            faults = ended.faults(codes=(0, 2, 4))
            if "is damaged" in ended.err + ended.out or "damaged:" in ended.out:
                faults.append(f"{' '.join(args)} says that a healthy cache is damaged: {ended.err.strip()[-200:]}")
            return faults

        with slots.one() as project:
            project.fresh()
            _, faults = judged(project, twins(project, [()] * RUNS), lambda: one(project))
            return faults + end(project)

    def killed(case):
        """Half of the runs are killed; the others must not notice."""
        draws = stream(options.seed, "killed", case)
        with slots.one() as project:
            project.fresh()
            processes = twins(project, [()] * RUNS)
            timers = [threading.Timer(draws.uniform(0, 3 * project.seconds), process.kill) for process in processes[::2]]
            for timer in timers:
                timer.start()
            ended = [project.wait(process) for process in processes]
            for timer in timers:
                timer.cancel()
            counts["killed"] += sum(run.code == -9 for run in ended)
            faults = [fault for run in ended[1::2] for fault in run.faults(codes=(0,))]
            return faults + end(project)

    def namespaces(case):
        with slots.one() as project:
            project.fresh()
            _, faults = judged(project, twins(project, [(), ("--seeds", "1")], before=NAMESPACE))
            return faults + end(project, more=True)

    def verified(_):
        """Many small results are made while they are verified: a healthy cache is never called damaged."""
        with slots.one() as project:
            folder = project.home / "many"
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            (folder / "pipeline.yaml").write_text(MANY)
            process = project.start("run", "--quiet", cwd=folder)
            faults = []
            while process.poll() is None:
                faults += project.call("cache", "verify", cwd=folder).faults(codes=(0,))
                counts["verified"] += 1
            return faults[:2] + project.wait(process).faults(codes=(0,))

    def end(project, more=False):
        faults = project.run().faults(codes=(0,)) + differences(project, project.truth, more=more)
        faults += [f"verify: {fault}" for fault in project.call("cache", "verify").faults(codes=(0,))]
        return faults + project.call("cache", "gc").faults(codes=(0,)) + leftovers(project)

    quick = options.quick
    yield Part(f"{RUNS} equal runs", list(range(1 if quick else 10)), same, alone=True)
    yield Part(f"{RUNS} runs that share some stages", list(range(1 if quick else 6)), overlapping, alone=True)
    yield Part(f"{RUNS} runs, with gc, verify, repair, clean beside", list(range(1 if quick else 8)), beside, alone=True,
               note=lambda: f"{counts['commands']} commands")
    yield Part(f"{RUNS} runs, half of them killed", list(range(1 if quick else 8)), killed, alone=True,
               note=lambda: f"{counts['killed']} killed")
    yield Part("verify beside a run of 3000 stages", list(range(1 if quick else 4)), verified, alone=True,
               count=lambda: counts["verified"])
    if subprocess.run([*NAMESPACE, "true"], stderr=subprocess.DEVNULL).returncode == 0:
        yield Part("two runs of equal process ids", list(range(2 if quick else 15)), namespaces, alone=True)
    else:
        yield Part("two runs of equal process ids", [], namespaces, note="not tried: needs the right to make namespaces")
