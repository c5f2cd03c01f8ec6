"""Where a data set's files are: found in a folder or downloaded, and refused unless their hashes are right."""

from __future__ import annotations

import hashlib
import importlib.resources
import os
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from pathlib import Path

from minisparse.data.sources import DATASETS, File, Source

Folder = str | os.PathLike | None
TIMEOUT_SECONDS = 30


@dataclass(frozen=True)
class Place:
    """A folder that holds the files of a source, or the archive that does."""

    source: Source
    path: Path | Traversable

    def contents(self) -> Iterator[tuple[File, bytes]]:
        """Each file with its bytes, checked.

        Raises
        ------
        ValueError : a file is missing from the archive, damaged, or its hash differs.
        """
        members = self._members() if self.path.is_file() else self._plain()
        for file, content in members:
            _check(file, content, f"{self.path}/{file.name}", self.source)
            yield file, content

    def verify(self) -> None:
        """ValueError unless every file is there with the right hash."""
        for _ in self.contents():
            pass

    def _plain(self) -> Iterator[tuple[File, bytes]]:
        for file in self.source.files:
            yield file, self.path.joinpath(file.name).read_bytes()

    def _members(self) -> Iterator[tuple[File, bytes]]:
        wanted = {f"{self.source.inside}/{file.name}": file for file in self.source.files}
        try:
            with tarfile.open(self.path, "r:gz") as archive:
                for member in archive:
                    if member.name in wanted and member.isfile():
                        yield wanted.pop(member.name), archive.extractfile(member).read()
        except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
            raise ValueError(f"{self.path} is damaged ({error}); {_remedy(self.source)}") from error
        if wanted:
            raise ValueError(f"{self.path} has no {', '.join(wanted)}; {_remedy(self.source)}")


def _check(file: File, content: bytes, path: str, source: Source) -> None:
    if file.hash != (found := _hash_like(file, content)):
        raise ValueError(f"{path} has {found}, expected {file.hash}: it is damaged or another file; {_remedy(source)}")


def _hash_like(file: File, content: bytes) -> str:
    algorithm = file.hash.partition(":")[0]
    return f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"


def _remedy(source: Source) -> str:
    if not source.mirrors:
        return "install minisparse again"
    return f"delete it and run `minisparse data {source.name} --download`"


def roots(folder: Folder = None) -> list[Path]:
    """Folders to look in: `folder`, $MINISPARSE_DATA, ../shared/datasets beside the checkout and beside the
    working directory, and the cache of downloads.

    Raises
    ------
    ValueError : a folder is named that does not exist.
    """
    named = {"folder": folder, "MINISPARSE_DATA": os.environ.get("MINISPARSE_DATA")}
    for name, path in named.items():
        if path and not Path(path).is_dir():
            raise ValueError(f"{name}={path} does not exist: create it, or leave it out to look in the usual places")
    beside = [Path(__file__).resolve().parents[2], Path.cwd()]
    shared = [path.parent / "shared" / "datasets" for path in beside]
    return list(dict.fromkeys([*(Path(path) for path in named.values() if path), *shared, cache()]))


def cache() -> Path:
    """The folder that downloads go to when no other is named."""
    import pooch

    return pooch.os_cache("minisparse")


def locate(source: Source, folder: Folder = None) -> Place | None:
    """The first place that holds all files of the source, or None; hashes are not checked yet.

    A root may hold the files itself or in a folder with the data set's name. Files that lie in a root itself
    and belong to another known data set (MNIST and its successors share file names) are passed over.
    """
    places = roots(folder)
    if not source.mirrors:
        return Place(source, importlib.resources.files("minisparse.datasets").joinpath(source.name))
    for root in places:
        for holder in (root / source.name, root):
            for path in _candidates(source, holder):
                if path.is_file() or _holds(source, path, strict=holder == root):
                    return Place(source, path)
    return None


def _candidates(source: Source, holder: Path) -> list[Path]:
    if source.archive is None:
        return [holder]
    inside = holder / source.inside
    return [inside, holder / source.archive.name, inside.with_name(inside.name + ".tar.gz")]


def _holds(source: Source, path: Path, strict: bool) -> bool:
    if not all((path / file.name).is_file() for file in source.files):
        return False
    return not (strict and source.archive is None and _is_another(source, path))


def _is_another(source: Source, path: Path) -> bool:
    others = [s for s in DATASETS.values() if s.name != source.name and s.archive is None]
    name = source.train[-1].name
    content = (path / name).read_bytes()
    return any(file.name == name and file.hash == _hash_like(file, content) for s in others for file in s.train)


def download(source: Source, folder: Folder = None) -> Place:
    """Fetch what is missing into `folder`/name, or into the cache, from the first mirror that has it.

    Shows progress on stderr. A file that is there already is not fetched again.

    Raises
    ------
    ValueError : no mirror gave the file with the right hash.
    """
    place = Path(folder) if folder else cache()
    for file in source.downloads:
        if not (place / source.name / file.name).is_file():
            _fetch(source, file, place / source.name)
    return Place(source, place / source.name / source.archive.name if source.archive else place / source.name)


def _fetch(source: Source, file: File, target: Path) -> None:
    import pooch

    failures = []
    pooch.get_logger().setLevel("ERROR")  # what fails is said once, below
    downloader = pooch.HTTPDownloader(progressbar=True, timeout=TIMEOUT_SECONDS)
    for mirror in source.mirrors:
        try:
            pooch.retrieve(mirror + file.name, file.hash, file.name, target, downloader=downloader)
            return
        except (OSError, ValueError) as error:
            failures.append(f"{mirror} ({type(error).__name__})")
    raise ValueError(
        f"{source.name}: could not download {file.name} from {', '.join(failures)}; "
        f"put {', '.join(f.name for f in source.downloads)} into {target}, "
        "or into a folder that $MINISPARSE_DATA names"
    )
