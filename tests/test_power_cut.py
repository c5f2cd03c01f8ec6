"""After a power cut there is the old file or the new one: replays of what a save asks of the disk, and kills.

What a program writes is on the disk once it is synced. Until then a sector of a file may be there or not, or in part,
and so may each change of a folder. The tests record the calls of a real save and look at every state that a power cut
after any of them can leave.
"""

import builtins
import itertools
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from minisparse import fileformat
from minisparse.checkpoint import RunFolder
from minisparse.methods import DropBack
from minisparse.run import Run
from minisparse.testing.methods import SETTINGS, small_data, small_model
from minisparse.train import train_step

SECTOR = 512


class Recorder:
    """Stands between a save and the system; `calls` lists what reaches the disk, in order."""

    def __init__(self, monkeypatch):
        self.calls, self.names = [], {}
        for name in ("fsync", "replace", "unlink", "open"):
            monkeypatch.setattr(os, name, self.watch(getattr(os, name), getattr(self, "note_" + name)))
        monkeypatch.setattr(fileformat, "open", self.open, raising=False)

    def watch(self, original, note):
        def call(*arguments, **options):
            result = original(*arguments, **options)
            note(result, *arguments)
            return result

        return call

    def open(self, path, mode):
        file = builtins.open(path, mode, buffering=0)  # noqa: SIM115 - whoever called closes it
        if "r" in mode:
            return file
        assert mode == "xb"
        name = str(path)
        self.names[file.fileno()] = name
        self.calls.append(("create", name))
        return Recorded(file, lambda data: self.calls.append(("write", name, bytes(data))))

    def note_open(self, descriptor, path, *_):
        self.names[descriptor] = str(path)

    def note_fsync(self, _, descriptor):
        self.calls.append(("sync", self.names[descriptor]))

    def note_replace(self, _, source, target):
        self.calls.append(("rename", str(source), str(target)))

    def note_unlink(self, _, path, *__):
        self.calls.append(("unlink", str(path)))


class Recorded:
    """A file whose writes are noted."""

    def __init__(self, file, note):
        self.file, self.note = file, note

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    def write(self, data):
        self.file.write(data)
        self.note(data)

    def __getattr__(self, name):
        return getattr(self.file, name)


def states(before, calls, rng, samples):
    """What the files may hold after a power cut behind any of the calls.

    Yields dictionaries name -> bytes: `before` says what was on the disk.
    """
    for number in range(len(calls) + 1):
        done = calls[:number]
        folder, contents, pending, unsynced = dict.fromkeys(before), {}, [], {}
        for name, content in before.items():
            contents[name], folder[name] = content, name
        links = dict(folder)
        for i, call in enumerate(done):
            inode = f"inode {i}"
            if call[0] == "create":
                links[call[1]], contents[inode], unsynced[inode] = inode, b"", True
                pending.append((None, call[1], inode))
            elif call[0] == "write":
                contents[links[call[1]]] += call[2]
            elif call[0] == "sync" and call[1] in links:
                unsynced.pop(links[call[1]], None)
            elif call[0] == "sync":
                for change in pending:
                    apply(folder, change)
                pending = []
            elif call[0] == "rename":
                pending.append((call[1], call[2], links[call[1]]))
                links[call[2]] = links.pop(call[1])
            else:
                pending.append((call[1], None, None))
                links.pop(call[1], None)
        for kept in itertools.product([False, True], repeat=len(pending)):
            on_disk = dict(folder)
            for change in itertools.compress(pending, kept):
                apply(on_disk, change)
            for _ in range(samples if unsynced else 1):
                torn = {
                    inode: tear(content, rng) if inode in unsynced else content for inode, content in contents.items()
                }
                yield {name: torn[inode] for name, inode in on_disk.items()}


def apply(folder, change):
    source, target, inode = change
    folder.pop(source, None)
    if target is not None:
        folder[target] = inode


def tear(content, rng):
    """The content with any of its sectors lost, one torn, and any number missing at the end."""
    damaged = bytearray(content)
    for start in range(0, len(content), SECTOR):
        if rng.random() < 0.3:
            place = start + rng.choice([0, 0, rng.randrange(SECTOR)])
            damaged[place : start + SECTOR] = bytes(len(damaged[place : start + SECTOR]))
    if rng.random() < 0.5:
        del damaged[rng.randrange(len(content) + 1) :]
    return bytes(damaged)


def record(folder, monkeypatch, save):
    """(files before, calls, files after) of a save."""
    before = {str(path): path.read_bytes() for path in folder.iterdir()}
    with monkeypatch.context() as patch:
        calls = Recorder(patch)
        save()
    return before, calls.calls, {str(path): path.read_bytes() for path in folder.iterdir()}


def is_temporary(name):
    return Path(name).name.startswith(".") and name.endswith(".tmp")


def surprises(before, calls, after, samples=40):
    """States in which a file is neither the old one nor the new one."""
    rng = random.Random(0)
    return [
        name
        for state in states(before, calls, rng, samples)
        for name in {*before, *state}
        if not is_temporary(name) and state.get(name) not in (before.get(name), after[name])
    ]


def test_any_subset_of_unsynced_writes_leaves_the_old_model_or_the_new(tmp_path, monkeypatch):
    path, old, new = tmp_path / "model.msp", os.urandom(1300), os.urandom(3000)
    path.write_bytes(old)
    (tmp_path / ".model.msp.0123abcd.tmp").write_bytes(b"left over")
    before, calls, after = record(tmp_path, monkeypatch, lambda: fileformat.write_atomically(path, new))
    assert after == {str(path): new}
    assert [call[0] for call in calls] == ["unlink", "create", "write", "sync", "rename", "sync"]
    assert surprises(before, calls, after, 400) == []


def test_any_subset_of_unsynced_writes_leaves_the_old_checkpoint_or_the_new(tmp_path, monkeypatch):
    run = Run(small_model(), small_data(), DropBack(budget=60), SETTINGS)
    run.method.start(run)
    folder = RunFolder(tmp_path)
    folder.save(run)
    train_step(run)
    before, calls, after = record(tmp_path, monkeypatch, lambda: folder.save(run))
    checkpoint = str(folder.checkpoint)
    assert before.keys() == after.keys() and before[checkpoint] != after[checkpoint]
    assert surprises(before, calls, after) == []
    *_, last = states(before, calls, random.Random(0), 1)
    assert last == after


@pytest.mark.parametrize("missing", [3, 5])
def test_the_replay_finds_a_writer_that_does_not_sync(tmp_path, monkeypatch, missing):
    path = tmp_path / "model.msp"
    path.write_bytes(b"old" * 500)
    before, calls, after = record(tmp_path, monkeypatch, lambda: fileformat.write_atomically(path, b"new" * 700))
    kept = [call for i, call in enumerate([("unlink", ""), *calls]) if i not in (0, missing)]
    if missing == 3:
        assert surprises(before, kept, after)
    else:  # the folder's sync: the rename may be lost after the call has returned
        assert any(
            state[str(path)] != after[str(path)] for state in list(states(before, kept, random.Random(0), 1))[-2:]
        )


WRITER = """
import sys, os
from minisparse.fileformat import encode, write_atomically
old, new = (encode("model", {"n": n}, {"x": bytes([n]) * 3_000_000}) for n in (1, 2))
while True:
    for data in (old, new):
        write_atomically(sys.argv[1], data)
        os.write(1, b".")
"""


@pytest.mark.parametrize("kills", [5, pytest.param(200, marks=pytest.mark.deep)])
def test_a_writer_killed_at_any_moment_leaves_a_whole_file(tmp_path, kills):
    path, rng, seen = tmp_path / "model.msp", random.Random(kills), set()
    for _ in range(kills):
        process = subprocess.Popen([sys.executable, "-c", WRITER, path], stdout=subprocess.PIPE)
        process.stdout.read(1)
        time.sleep(0.05 * rng.random())
        process.kill()
        process.communicate()
        header, sections = fileformat.read(path, "model")
        assert sections["x"] == bytes([header["n"]]) * 3_000_000
        seen.add(header["n"])
    assert seen == {1, 2} or kills < 10
    fileformat.write_atomically(path, b"")
    assert [p.name for p in tmp_path.iterdir()] == ["model.msp"]
