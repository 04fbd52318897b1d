"""Which runs of a sweep this process trains: those that no other process has taken.

Each run directory has a lock, which a process loses when it dies. A process holds the lock of the
sweep's folder while it takes runs, so that all runs of one program are taken by one process.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from jaxdl import json_files
from jaxdl.checkpointing.run_directory import Locked, Run
from jaxdl.errors import UserError
from jaxdl.files import refuse_special
from jaxdl.json_files import write_json
from jaxdl.sweeps.sweep import Member

_GLANCE = 0.1  # seconds between two tries to lock the sweep's folder
_LONG = 30.0  # seconds until a message says that another process holds it


class Share(NamedTuple):
    """Runs that this process has taken, and no other can take.

    Attributes:
      members: the runs, as members of the sweep.
      runs: the directory of each, locked.
      program: the folder for their joint checkpoints; None for a single run.
    """

    members: list[Member]
    runs: list[Run]
    program: Path | None


@contextlib.contextmanager
def held_alone(run: Run, say: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock of a folder, after waiting until no other process holds it."""
    began, told = time.monotonic(), False
    while True:
        with ExitStack() as held:
            try:
                held.enter_context(run.locked())
            except Locked as error:
                if not told and time.monotonic() - began > _LONG:
                    say(f"waiting for the lock of the sweep: {error}")
                    told = True
            else:
                yield
                return
        time.sleep(_GLANCE)


def take(
    folder: Path,
    group: Sequence[Member],
    missing: Callable[[Member], bool],
    together: bool,
    held: ExitStack,
) -> Share | None:
    """Take runs of a group that no process has taken; None if there are none.

    Args:
      folder: the sweep's, whose lock is held.
      group: runs that can train in one program.
      missing: whether a run has no result yet.
      together: take all that are free, not only the first. A program that another process left
        unfinished is taken as a whole or not at all, since its checkpoints hold all its runs.
      held: keeps the locks.

    Raises:
      UserError: a run directory cannot be locked, or a program has runs that are not in the group.
    """
    wanted = [member for member in group if missing(member)]
    for program, places in begun(folder).items() if together and wanted else ():
        if not places & {member.place for member in wanted}:
            continue
        members = [member for member in group if member.place in places]
        if len(members) < len(places):
            raise UserError(f"{program}: has runs that this sweep does not have; remove it")
        wanted = [member for member in wanted if member.place not in places]
        with ExitStack() as locks:
            runs = [run for member in members if (run := locked(Run(folder / member.place), locks))]
            if len(runs) == len(members):
                held.enter_context(locks.pop_all())
                return Share(members, runs, program)
    free = list[tuple[Member, Run]]()
    for member in wanted:
        if run := locked(Run(folder / member.place), held):
            free.append((member, run))
            if not together:
                break
    if not free:
        return None
    members, runs = [member for member, _ in free], [run for _, run in free]
    return Share(members, runs, _begin(folder, members) if len(free) > 1 else None)


def begun(folder: Path) -> dict[Path, set[str]]:
    """The unfinished programs of a sweep: folder -> the places of their runs."""
    programs = {}
    for program in sorted((folder / "together").glob("*")):
        refuse_special(program)
        if (program / "runs.json").exists():
            programs[program] = set(json_files.read(program / "runs.json", list[str]))
    return programs


def _begin(folder: Path, members: Sequence[Member]) -> Path:
    """A new folder for a program that trains these runs."""
    together, number = folder / "together", 0
    while (program := together / str(number)).exists():
        number += 1
    program.mkdir(parents=True)
    write_json(program / "runs.json", [member.place for member in members])
    return program


def locked(run: Run, held: ExitStack) -> Run | None:
    """The run, locked until `held` is closed; None if another process has it."""
    try:
        held.enter_context(run.locked())
    except Locked:
        return None
    return run
