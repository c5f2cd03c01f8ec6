"""Where files are looked for, that damaged ones are refused, and downloads, all with small files of our own."""

import hashlib
import http.server
import io
import tarfile
import threading
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from minisparse.data import Batches, cifar, files, idx, load, loader
from minisparse.data.files import download, locate
from minisparse.data.sources import DATASETS, File, Source
from tests.test_data_cifar import batch

IMAGES = np.arange(20 * 6, dtype=np.uint8).reshape(20, 2, 3)
LABELS = np.arange(20, dtype=np.uint8) % 4
CONTENTS = {
    "train-images.gz": idx.encode(IMAGES),
    "train-labels.gz": idx.encode(LABELS),
    "test-images.gz": idx.encode(IMAGES[:5]),
    "test-labels.gz": idx.encode(LABELS[:5]),
}


def described(contents: dict[str, bytes], algorithm: str = "sha256") -> tuple[File, ...]:
    return tuple(File(n, f"{algorithm}:{hashlib.new(algorithm, c).hexdigest()}") for n, c in contents.items())


FILES = described(CONTENTS)
TOY = Source("toy", (1, 2, 3), 4, (16, 4, 5), idx, FILES[:2], FILES[2:], ("http://127.0.0.1:9/",))


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    """No environment, cache, working directory or proxy but the test's own."""
    monkeypatch.delenv("MINISPARSE_DATA", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(files, "cache", lambda: tmp_path / "cache")
    monkeypatch.setitem(DATASETS, "toy", TOY)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


def write(folder, contents=CONTENTS):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return folder


def test_a_folder_may_hold_the_files_or_a_folder_of_the_name(tmp_path):
    for folder in (write(tmp_path / "a"), write(tmp_path / "b" / "toy").parent):
        data = load("toy", folder)
        assert (data.input_shape, data.classes) == ((1, 2, 3), 4)
        np.testing.assert_array_equal(data.test.x[:, 0], IMAGES[:5])
        np.testing.assert_array_equal(data.test.labels, LABELS[:5])


def test_places_are_looked_in_in_the_documented_order(tmp_path, monkeypatch):
    monkeypatch.setenv("MINISPARSE_DATA", str(tmp_path / "environment"))
    in_order = [tmp_path / "folder", tmp_path / "environment", tmp_path / "shared" / "datasets", tmp_path / "cache"]
    for root in in_order:
        root.mkdir(parents=True)
    for root in reversed(in_order):
        write(root / "toy")
        assert locate(TOY, tmp_path / "folder").path == root / "toy"


@pytest.mark.parametrize("name", ["toy", "digits"])
def test_a_folder_that_does_not_exist_is_named(name, tmp_path, monkeypatch):
    absent = tmp_path / "absent"
    with pytest.raises(ValueError, match=f"folder={absent} does not exist: create it"):
        load(name, absent)
    monkeypatch.setenv("MINISPARSE_DATA", str(absent))
    with pytest.raises(ValueError, match=f"MINISPARSE_DATA={absent} does not exist"):
        load(name)


def test_a_place_with_a_file_missing_is_passed_over(tmp_path, monkeypatch):
    monkeypatch.setenv("MINISPARSE_DATA", str(write(tmp_path / "whole")))
    (write(tmp_path / "part") / "test-labels.gz").unlink()
    assert locate(TOY, tmp_path / "part").path == tmp_path / "whole"


def test_files_of_another_known_data_set_in_a_root_are_passed_over(tmp_path, monkeypatch):
    other = {name: idx.encode(idx.parse(content)[::-1].copy()) for name, content in CONTENTS.items()}
    hashed = described(other)
    monkeypatch.setitem(DATASETS, "other", replace(TOY, name="other", train=hashed[:2], test=hashed[2:]))
    root = write(tmp_path / "root", other)
    assert locate(TOY, root) is None
    assert locate(DATASETS["other"], root).path == root


@pytest.mark.parametrize("damaged", CONTENTS)
def test_a_damaged_file_is_refused_with_path_hashes_and_remedy(tmp_path, damaged):
    folder = write(tmp_path / "toy")
    content = bytearray(CONTENTS[damaged])
    content[len(content) // 2] ^= 1
    (folder / damaged).write_bytes(content)
    with pytest.raises(ValueError) as caught:
        load("toy", tmp_path)
    message = str(caught.value)
    assert str(folder / damaged) in message
    assert hashlib.sha256(content).hexdigest() in message
    assert hashlib.sha256(CONTENTS[damaged]).hexdigest() in message
    assert "minisparse data toy --download" in message


def test_a_file_with_the_right_hash_and_the_wrong_format_is_refused(tmp_path, monkeypatch):
    contents = CONTENTS | {"train-images.gz": b"not gzip"}
    hashed = described(contents)
    monkeypatch.setitem(DATASETS, "toy", replace(TOY, train=hashed[:2], test=hashed[2:]))
    with pytest.raises(ValueError, match=r"train-images\.gz: not a whole gzip file"):
        load("toy", write(tmp_path / "x", contents))


def test_samples_of_another_shape_than_described_are_refused(tmp_path, monkeypatch):
    monkeypatch.setitem(DATASETS, "toy", replace(TOY, input_shape=(1, 3, 3)))
    with pytest.raises(ValueError, match=r"\(1, 3, 3\) is expected"):
        load("toy", write(tmp_path / "x"))


def test_a_name_that_is_not_known_is_refused_with_those_that_are():
    with pytest.raises(ValueError, match="use one of digits, mnist"):
        load("mnits")


class Archive:
    """A small data set in the form of CIFAR."""

    def __init__(self):
        x = np.arange(8 * 12, dtype=np.uint8).reshape(8, 12)
        self.x, self.y = x, np.array([0, 1, 2, 2, 0, 0, 1, 1])
        self.contents = {
            "batch_1": batch(x[:3], self.y[:3]),
            "batch_2": batch(x[3:6], self.y[3:6]),
            "test": batch(x[6:], self.y[6:]),
        }
        hashed = described(self.contents, "md5")
        self.packed = self.pack(self.contents)
        self.source = Source(
            "photos", (3, 2, 2), 3, (4, 2, 2), cifar, hashed[:2], hashed[2:], ("http://127.0.0.1:9/",),
            archive=described({"photos-python.tar.gz": self.packed}, "md5")[0],
            inside="photos-py",
            mean=(0.4, 0.5, 0.6),
        )

    def pack(self, contents: dict[str, bytes]) -> bytes:
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w:gz") as archive:
            for name, content in reversed(contents.items()):
                member = tarfile.TarInfo(f"photos-py/{name}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
        return stream.getvalue()


@pytest.fixture
def photos(monkeypatch):
    archive = Archive()
    monkeypatch.setitem(DATASETS, "photos", archive.source)
    return archive


@pytest.mark.parametrize("form", ["official archive", "repackaged archive", "folder"])
def test_an_archive_is_read_official_repackaged_or_extracted(tmp_path, photos, form):
    folder = tmp_path / "data" / "photos"
    if form == "folder":
        write(folder / "photos-py", photos.contents)
    else:
        write(folder, {"photos-python.tar.gz" if form == "official archive" else "photos-py.tar.gz": photos.packed})
    data = load("photos", tmp_path / "data")
    np.testing.assert_array_equal(data.test.x.reshape(2, 12), photos.x[6:])
    both = np.concatenate([data.train.x, data.validation.x]).reshape(6, 12)
    order = np.argsort(both[:, 0])
    np.testing.assert_array_equal(both[order], photos.x[:6])
    np.testing.assert_array_equal(np.concatenate([data.train.labels, data.validation.labels])[order], photos.y[:6])
    np.testing.assert_allclose(data.test.samples()[1, 2, 1, 1], photos.x[7, 11] / 255 - 0.6, rtol=1e-6)


def test_an_archive_with_a_changed_or_missing_file_is_refused(tmp_path, photos):
    changed = photos.contents | {"batch_2": photos.contents["batch_1"]}
    missing = {name: content for name, content in photos.contents.items() if name != "test"}
    for contents, reason in ((changed, "batch_2 has md5:"), (missing, "has no photos-py/test")):
        folder = write(tmp_path / "x", {"photos-python.tar.gz": photos.pack(contents)})
        with pytest.raises(ValueError, match=reason):
            load("photos", folder)


def test_every_truncated_archive_is_refused_unless_only_padding_is_lost(tmp_path, photos):
    refused = 0
    for length in range(len(photos.packed)):
        folder = write(tmp_path / "x", {"photos-python.tar.gz": photos.packed[:length]})
        try:
            data = load("photos", folder)
        except ValueError as error:
            assert "photos-python.tar.gz" in str(error)
            refused += 1
        else:
            np.testing.assert_array_equal(data.test.x.reshape(2, 12), photos.x[6:])
            assert len(data.train) + len(data.validation) == 6
    assert refused > len(photos.packed) - 60


@pytest.fixture
def serve(tmp_path):
    """Serves a folder on the loopback interface; gives its address."""
    servers = []

    def start(folder):
        class Quiet(http.server.SimpleHTTPRequestHandler):
            def log_message(self, *args):
                requests.append(self.path)

        requests = []
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder))
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_address[1]}/", requests

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_a_download_takes_the_first_mirror_with_the_right_bytes_and_only_once(tmp_path, monkeypatch, serve):
    damaged, _ = serve(write(tmp_path / "damaged", {name: b"<html>" for name in CONTENTS}))
    empty, _ = serve(write(tmp_path / "empty", {}))
    good, requests = serve(write(tmp_path / "good"))
    source = replace(TOY, mirrors=("http://127.0.0.1:9/", empty, damaged, good))
    monkeypatch.setitem(DATASETS, "toy", source)
    first = load("toy")
    assert len(requests) == len(CONTENTS)
    assert {path.name for path in (tmp_path / "cache" / "toy").iterdir()} == set(CONTENTS)
    second = load("toy")
    assert len(requests) == len(CONTENTS)
    np.testing.assert_array_equal(first.train.x, second.train.x)


def test_a_download_fetches_what_is_missing_and_refuses_what_is_damaged(tmp_path, monkeypatch, serve):
    good, requests = serve(write(tmp_path / "good"))
    monkeypatch.setitem(DATASETS, "toy", replace(TOY, mirrors=(good,)))
    present = write(tmp_path / "cache" / "toy", {"train-images.gz": b"damaged"}) / "train-images.gz"
    with pytest.raises(ValueError, match=r"train-images\.gz has sha256"):
        load("toy")
    assert len(requests) == len(CONTENTS) - 1
    assert present.read_bytes() == b"damaged"


def test_a_download_goes_to_the_folder_that_is_named(tmp_path, photos, serve):
    good, _ = serve(write(tmp_path / "good", {"photos-python.tar.gz": photos.packed}))
    place = download(replace(photos.source, mirrors=(good,)), tmp_path / "mine")
    assert place.path == tmp_path / "mine" / "photos" / "photos-python.tar.gz"
    assert len(Batches(loader.read(place).train, 2, seed=0)) == 2
    assert not (tmp_path / "cache").exists()


def test_a_download_that_fails_names_mirrors_files_and_where_to_put_them(tmp_path, monkeypatch, serve):
    damaged, _ = serve(write(tmp_path / "damaged", {name: b"<html>" for name in CONTENTS}))
    monkeypatch.setitem(DATASETS, "toy", replace(TOY, mirrors=("http://127.0.0.1:9/", damaged)))
    with pytest.raises(ValueError) as caught:
        load("toy")
    message = str(caught.value)
    assert "could not download train-images.gz" in message
    for part in ("127.0.0.1:9", damaged, str(tmp_path / "cache" / "toy"), "$MINISPARSE_DATA"):
        assert part in message
    assert not any((tmp_path / "cache" / "toy").iterdir())
