"""Results that cannot be written where they are sent: a full disk, a closed output, a pipe that nobody reads."""

import os
import signal
import time

from . import Part
from .lab import differences

COMMANDS = [("run", "--json"), ("run",), ("plan",), ("plan", "--json"), ("status",), ("show", "note"), ("runs",),
            ("show", "raw", "--artifact", "interactions", "--format", "csv", "--rows", "1000"), ("cache", "verify"),
            ("graph",), ("explain", "note"), ("schema",), ("data", "ls"), ("completions", "bash"), ("--help",)]
SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


def parts(options, slots):
    def lost(case):
        """What cannot be written is an error; that nobody reads on is none."""
        args, where = case
        with slots.one() as project:
            if where == "full disk":
                with open("/dev/full", "w") as full:
                    ended = project.call(*args, stdout=full)
                faults = ended.faults(codes=(2, 3, 4))
            elif where == "closed":
                process = project.start(*args, before=("sh", "-c", 'exec "$@" >&-', "sh"))
                faults = project.wait(process).faults(codes=(2, 3, 4))
            else:
                read, write = os.pipe()
                os.close(read)
                process = project.start(*args, stdout=write)
                os.close(write)
                ended = project.wait(process)
                faults = [] if ended.code == -signal.SIGPIPE else ended.faults(codes=(0,))
            faults = [f"{' '.join(args)}, {where}: {fault}" for fault in faults]
            return faults + project.run().faults(codes=(0,)) + differences(project, project.truth)

    def ignored(case):
        """A signal that was ignored when the program started, as by nohup, stays ignored."""
        sent = signal.Signals[case]
        with slots.one() as project:
            project.fresh()
            process = project.start("run", "--json", before=("sh", "-c", f'trap "" {case[3:]}; exec "$@"', "sh"))
            time.sleep(min(0.3, 0.3 * project.seconds))
            process.send_signal(sent)
            return project.wait(process).faults(codes=(0,)) + differences(project, project.truth)

    def heeded(case):
        """A signal ends a run within a second or so, and the next one finishes it."""
        sent, number = case
        with slots.one() as project:
            project.fresh()
            process = project.start("run", "--json")
            time.sleep((0.2 + 0.15 * number) * project.seconds)
            process.send_signal(signal.Signals[sent])
            clock = time.monotonic()
            ended = project.wait(process)
            faults = ended.faults(codes=(0, 130))
            if time.monotonic() - clock > 5:
                faults.append(f"{sent} is heeded after {time.monotonic() - clock:.1f} s")
            return faults + project.run().faults(codes=(0,)) + differences(project, project.truth)

    commands = COMMANDS[:4] if options.quick else COMMANDS
    yield Part("an output that cannot be written",
               [(args, where) for args in commands for where in ("full disk", "closed", "nobody reads")], lost)
    names = [sent.name for sent in SIGNALS]
    yield Part("ignored signals", names[2:] if options.quick else names, ignored)
    yield Part("signals", [(name, number) for name in names for number in range(1 if options.quick else 5)], heeded)
