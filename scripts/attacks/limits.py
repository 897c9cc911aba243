"""Too little of what a run needs: disk, rights, descriptors, memory, file size, threads."""

import os
import resource
import shutil
import subprocess

from . import Part
from .lab import differences, leftovers

NOBODY = 65534
# What another user than the superuser can run: libtorch may lie where only its owner reads.
WITHOUT_TRAINING = ("--until", "described", "--until", "split", "--until", "notes")


def mount(*args):
    subprocess.run(["mount", *map(str, args)], check=True, stderr=subprocess.PIPE)


def mounted(folder, *options):
    """A file system in memory at a folder; answers whether the machine allows it."""
    folder.mkdir(exist_ok=True)
    return subprocess.run(["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", str(folder)],
                          stderr=subprocess.DEVNULL).returncode == 0


def parts(options, slots):
    def limited(case):
        """One run within a limit, then one without."""
        what, name, value = case
        with slots.one() as project:
            project.fresh()
            faults = project.run("--jobs", "2", limit=[(what, value)]).faults(codes=(0, 2, 3, 4))
            faults = [f"{name} {value}: {fault}" for fault in faults]
            return faults + end(project)

    def end(project):
        return project.run().faults(codes=(0,)) + differences(project, project.truth) + leftovers(project)

    def full(case):
        """The cache, or the reports, on a disk that fills up; then there is room again."""
        where, size = case
        with slots.one() as project:
            project.fresh()
            folder = project.dir / where
            mounted(folder, f"size={size}")
            try:
                faults = project.run().faults(codes=(0, 3, 4))
                faults += project.call("cache", "gc").faults(codes=(0,))
                mount("-o", "remount,size=64M", folder)
                return faults + end(project)
            finally:
                subprocess.run(["umount", str(folder)], check=True)

    def read_only(case):
        """A cache that can only be read: whole, it serves; with something to compute, that is an error."""
        with slots.one() as project:
            folder = project.dir / "cache"
            mount("--bind", folder, folder)
            try:
                if case == "incomplete":
                    project.forget({"table"})
                mount("-o", "remount,ro,bind", folder)
                faults = []
                if case == "incomplete":
                    return project.run().faults(codes=(3, 4))
                for args in [("run", "--json"), ("show", "table"), ("status",), ("plan",), ("cache", "verify"),
                             ("cache", "gc", "--dry-run")]:
                    faults += [f"{' '.join(args)}: {fault}" for fault in project.call(*args).faults(codes=(0,))]
                return faults + differences(project, project.truth)
            finally:
                subprocess.run(["umount", str(folder)], check=True)

    def no_permission(case):
        """Another user, who may not write (or read) some folder."""
        with slots.one() as project:
            project.fresh()
            program = project.home / "program"
            shutil.copy(project.program, program)
            denied = project.dir / case
            denied.mkdir(exist_ok=True)
            for path in [*project.dir.rglob("*"), project.dir]:
                os.chown(path, NOBODY, NOBODY)
            denied.chmod(0)
            os.chown(denied, 0, 0)
            # The way to the project must be open.
            project.home.parent.chmod(0o755)
            before, project.program = project.program, program
            try:
                ended = project.run(*WITHOUT_TRAINING, user=NOBODY, group=NOBODY, extra_groups=[])
            finally:
                project.program = before
            faults = ended.faults(codes=(3, 4) if case == "cache" else (0, 3, 4))
            denied.chmod(0o755)
            return faults + end(project)

    quick = options.quick
    mib = 1 << 20

    def some(values):
        return values[:: max(1, len(values) // 3)] if quick else values

    descriptors = [6, 8, 10, 12, 14, 16, 20, 24, 32, 40, 48, 64, 96, 128]
    memory = [80, 120, 200, 300, 500, 700, 1000, 1500, 2000, 3000]
    sizes = [0, 1, 100, 1000, 4096, 10_000, 100_000]
    yield Part("few descriptors", [(resource.RLIMIT_NOFILE, "descriptors", n) for n in some(descriptors)], limited)
    yield Part("little memory", [(resource.RLIMIT_AS, "bytes of memory", n * mib) for n in some(memory)], limited)
    yield Part("small files", [(resource.RLIMIT_FSIZE, "bytes in a file", n) for n in some(sizes)], limited)
    if os.geteuid() != 0:
        yield Part("disk full, read-only, no permission", [], full, note="not tried: needs the superuser")
        return
    sizes = [f"{n}k" for n in some([16, 64, 128, 192, 256, 384, 512, 768, 1024, 2048])]
    yield Part("disk full", [("cache", size) for size in sizes] + [("reports", "4k"), ("reports", "8k")], full)
    yield Part("a cache that can only be read", ["whole", "incomplete"], read_only)
    yield Part("no permission", ["cache"] if quick else ["cache", "reports"], no_permission)
