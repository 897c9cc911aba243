"""Damage to every kind of file that the program keeps, followed by a run that computes what reads it."""

import collections
import json
import os
import shutil

from . import Part
from .lab import NEEDS, after, differences, leftovers, remove, stream

# What happens to a file. A place is a share of its length; a mend is the command that a message may ask for.
FLIPS = ("first byte", "head", "quarter", "middle", "three quarters", "tail", "last byte", "anywhere")
CHANGES = ("zeroed", "emptied", "halved", "one byte short", "one byte long", "removed")
REPLACED = ("directory", "full directory", "dangling link", "link cycle", "fifo")


def flip(path, where, draws):
    content = bytearray(path.read_bytes())
    if not content:
        return False
    last = len(content) - 1
    place = {"first byte": 0, "head": min(last, draws.randrange(4, 64)), "quarter": last // 4, "middle": last // 2,
             "three quarters": last * 3 // 4, "tail": max(0, last - draws.randrange(1, 64)), "last byte": last,
             "anywhere": draws.randrange(len(content))}[where]
    content[place] ^= 1 << draws.randrange(8)
    path.write_bytes(content)
    return True


def replace(path, by):
    remove(path)
    if by == "directory":
        path.mkdir()
    elif by == "full directory":
        path.mkdir()
        (path / "file").write_text("x")
    elif by == "dangling link":
        path.symlink_to("nowhere")
    elif by == "link cycle":
        path.symlink_to(path.name)
    elif by == "fifo":
        os.mkfifo(path)


def change(path, how, draws):
    """Damages a file; answers whether that was possible."""
    if how in FLIPS:
        return flip(path, how, draws)
    if how in REPLACED:
        replace(path, how)
        return True
    content = path.read_bytes()
    if how == "removed":
        path.unlink()
    elif not content and how != "one byte long":
        return False
    else:
        middle = len(content) // 2
        path.write_bytes({
            "zeroed": content[:middle] + bytes(min(64, len(content) - middle)) + content[middle + 64:],
            "emptied": b"", "halved": content[:middle], "one byte short": content[:-1],
            "one byte long": content + b"\0"}[how])
    return True


def objects(project):
    """The artifacts in the cache: path, and the stage that made them."""
    found = {}
    for entry in sorted((project.cache / "index").rglob("*.entry")):
        outputs, source = (json.loads(line) for line in entry.read_bytes().split(b"\n")[1:3])
        stage = source["id"].split("[")[0]
        for output in outputs["outputs"]:
            name = output["digest"]
            # The first of equal instances stands for them.
            found.setdefault(f"cache/objects/{name[:2]}/{name}.parquet", (stage, output["name"]))
    return found


# Everything else that is kept, by kind of file.
KEPT = {
    "index entry": "cache/index/*/*.entry", "log": "cache/logs/*/*.log", "last keys": "cache/pipelines/*",
    "facets": "cache/facets/*", "remembered digests": "cache/raw/digests", "download": "cache/raw/sha256-*",
    "run record": "cache/runs/*", "lock": "cache/lock", "key locks": "cache/locks/*", "format": "cache/format",
    "last run": "cache/runs/last/*", "lock file": "pipeline.lock", "report": "reports/**/*",
}


def kept(project):
    """The files of each kind. A kind that nobody listed is to be attacked too."""
    found = {kind: sorted(path for path in project.dir.glob(pattern) if path.is_file()) for kind, pattern in KEPT.items()}
    listed = {path for paths in found.values() for path in paths}
    others = (path for path in sorted(project.cache.rglob("*")) if path.is_file() and path not in listed)
    return found | {"other": [path for path in others if not path.is_relative_to(project.cache / "objects")]}


def mended(project, truth, may_refuse):
    """A run, and where it may refuse what lies there, the repair that it asks for and another run."""
    ended = project.run()
    faults = ended.faults()
    if ended.code != 0:
        if not may_refuse:
            return [*faults, f"the run ends with {ended.code}: {(ended.err or ended.out).strip()[-300:]}"]
        faults += project.call("cache", "verify", "--repair").faults(codes=(0, 4))
        faults += [f"after the repair: {fault}" for fault in project.run().faults(codes=(0,))]
    faults += differences(project, truth)
    faults += [f"verify afterwards: {fault}" for fault in project.call("cache", "verify").faults(codes=(0,))]
    return faults + leftovers(project)


def parts(options, slots):
    sample, counts = stream(options.seed, "sample"), collections.Counter()
    first = slots.all[0]
    first.reset()
    made, others = objects(first), kept(first)

    def chosen(cases, quick):
        return sorted(sample.sample(cases, min(quick, len(cases)))) if options.quick else cases

    def used(case):
        """A damaged artifact, and stages that compute from it, or from others of the same stage."""
        path, how = case
        stage, _ = made[path]
        with slots.one() as project:
            if not change(project.dir / path, how, stream(options.seed, *case)):
                return []
            project.forget(after(stage))
            if how in REPLACED:
                return mended(project, project.truth, may_refuse=True)
            faults = project.run().faults(codes=(0,))
            wrong = differences(project, project.truth)
            if wrong == [f"{path} differs"]:
                # Nothing was computed from it: it may lie there, but not unknown to `cache verify`.
                counts["unread"] += 1
                faults += project.call("cache", "verify").faults(codes=(4,))
                faults += project.call("cache", "verify", "--repair").faults(codes=(0, 4))
                return faults + mended(project, project.truth, may_refuse=False)
            counts["made again"] += not faults and not wrong
            return faults + wrong + leftovers(project)

    def unused(case):
        """Damage where everything is cached: told by `cache verify`, mended by `--repair`, never served."""
        path, how = case
        with slots.one() as project:
            if not change(project.dir / path, how, stream(options.seed, *case)):
                return []
            told = project.call("cache", "verify")
            faults = told.faults(codes=(4,)) if path.startswith("cache/objects") else told.faults(codes=(0, 4))
            faults += project.call("cache", "verify", "--repair").faults(codes=(0, 4))
            return faults + mended(project, project.truth, may_refuse=False)

    def other(case):
        """Damage to what is no artifact: a run, with everything cached or with stages to compute."""
        kind, number, how, forget = case
        with slots.one() as project:
            path = kept(project)[kind][number]
            if not change(path, how, stream(options.seed, *case[:3])):
                return []
            project.forget(forget)
            if kind == "format":
                # Who knows what lies there? A person decides.
                faults = project.run().faults(codes=(0, 4))
                remove(path)
                shutil.copy(project.template / "cache" / "format", path)
                return faults + mended(project, project.truth, may_refuse=False)
            if kind == "download":
                # A run that does not read it leaves it to `cache verify`.
                faults = project.run().faults()
                faults += project.call("cache", "verify", "--repair").faults(codes=(0, 4))
                return faults + mended(project, project.truth, may_refuse=False)
            if kind in ("lock file", "report"):
                # What a person has in hand: a damaged lock file is refused, a directory is left alone.
                faults = project.run().faults()
                if kind == "lock file" or how in REPLACED:
                    remove(path)
                return faults + mended(project, project.truth, may_refuse=False)
            return mended(project, project.truth, may_refuse=how in REPLACED)

    def poisoned(case):
        """Damage that a run meets must not outlive a repair in what was computed from it."""
        path, how = case
        stage, _ = made[path]
        with slots.one() as project:
            if not change(project.dir / path, how, stream(options.seed, *case)):
                return []
            project.forget(after(stage))
            project.run()
            faults = project.call("cache", "verify", "--repair").faults(codes=(0, 4))
            faults += project.run().faults(codes=(0,))
            return faults + differences(project, project.truth)

    read = [path for path, (stage, _) in made.items() if after(stage)]
    yield Part("an artifact that a later stage reads",
               chosen([(path, how) for path in read for how in FLIPS + CHANGES + REPLACED[:1]], 50), used,
               note=lambda: f"{counts['made again']} made again at once, {counts['unread']} not read")
    yield Part("an artifact, then verify --repair and a run",
               chosen([(path, how) for path in made for how in ("anywhere", "halved", "removed", *REPLACED)], 20), unused)
    yield Part("an artifact, a run on it, then a repair",
               chosen([(path, how) for path in read for how in ("middle", "anywhere")], 10), poisoned)
    cases = []
    for kind, paths in others.items():
        # A few files of a kind stand for all of it.
        for number in range(min(len(paths), 2)):
            for how in FLIPS + CHANGES + REPLACED:
                cases.append((kind, number, how, ()))
                if kind not in ("index entry", "log", "report"):
                    cases.append((kind, number, how, tuple(sorted(NEEDS))))
    kinds = ", ".join(kind for kind, paths in others.items() if paths)
    yield Part("any other file that is kept", chosen(cases, 60), other, note=kinds)
