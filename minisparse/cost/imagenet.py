"""Shape tables of ImageNet networks, which nobody builds here: 224 x 224 images (Inception v3: 299), 1,000 classes.

Sources: He et al. (2015), arXiv 1512.03385, table 1, with the stride in the 3x3 convolution; Szegedy et al. (2015),
arXiv 1512.00567, table 1 and figures 5 to 7, with batch normalisation and without the auxiliary classifier; Krizhevsky
(2014), arXiv 1404.5997, the single-column AlexNet. Weights and channels as in torchvision's models of these names.
"""

from __future__ import annotations

from dataclasses import dataclass

from minisparse.cost.shapes import Block, Network, Part, Parts, Unit, Work
from minisparse.cost.storage import Tensor


@dataclass
class Image:
    """Channels, height and width of what the next layer takes."""

    channels: int
    height: int
    width: int

    @property
    def size(self) -> int:
        return self.channels * self.height * self.width

    def copy(self) -> Image:
        return Image(self.channels, self.height, self.width)

    def conv(self, name: str, outputs: int, kernel=3, stride=1, padding=0, norm=True, relu=True) -> Parts:
        """A convolution with its norm and ReLU; the kernel and the padding are numbers or (height, width)."""
        (kh, kw), (ph, pw) = (k if isinstance(k, tuple) else (k, k) for k in (kernel, padding))
        inputs, weights = self.size, outputs * self.channels * kh * kw
        self.height, self.width = (self.height + 2 * ph - kh) // stride + 1, (self.width + 2 * pw - kw) // stride + 1
        self.channels = outputs
        tensors = [Tensor(f"{name}.weight", weights, outputs)]
        if not norm:
            tensors.append(Tensor(f"{name}.bias", outputs, role="bias"))
        macs = weights * self.height * self.width
        parts = [Work(name, "product", inputs, self.size, tuple(tensors), macs)]
        if norm:
            both = tuple(Tensor(f"{name}.norm.{part}", outputs, role=part) for part in ("gain", "bias"))
            parts.append(Work(f"{name}.norm", "norm", self.size, self.size, both))
        return (*parts, *([_relu(name, self.size)] if relu else []))

    def pool(self, name: str, kernel: int, stride: int = 1, padding: int = 0) -> Work:
        inputs = self.size
        self.height, self.width = ((side + 2 * padding - kernel) // stride + 1 for side in (self.height, self.width))
        return Work(name, "pool", inputs, self.size)

    def block(self, name: str, merge: str, *branches) -> Block:
        """Branches as functions of an image of their own; afterwards this is what they merge to."""
        images = [self.copy() for _ in branches]
        found = tuple(tuple(branch(image)) for branch, image in zip(branches, images, strict=True))
        self.channels = images[0].channels if merge == "add" else sum(image.channels for image in images)
        self.height, self.width = images[0].height, images[0].width
        return Block(name, found, merge)


def resnet(depth: int) -> Network:
    """Bottleneck blocks: 3, 4, 6, 3 for 50; 23 and 36 in the third stage for 101 and 152 (8 in the second)."""
    x = Image(3, 224, 224)
    units = [Unit("conv1", x.conv("conv1", 64, 7, 2, 3)), Unit("pool1", (x.pool("pool1", 3, 2, 1),))]
    blocks = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}[depth]
    for stage, count in enumerate(blocks):
        for i in range(count):
            name = f"stage{stage + 1}_block{i + 1}"
            units.append(Unit(name, _bottleneck(x, name, 64 * 2**stage, 2 if stage and not i else 1, i == 0)))
    return Network(f"resnet-{depth}", (*units, *_head(x, x.height)))


def _bottleneck(x: Image, name: str, width: int, stride: int, first: bool) -> Parts:
    def body(y: Image) -> Parts:
        reduced = y.conv(f"{name}.conv1", width, 1) + y.conv(f"{name}.conv2", width, 3, stride, 1)
        return reduced + y.conv(f"{name}.conv3", 4 * width, 1, relu=False)

    def shortcut(y: Image) -> Parts:
        return y.conv(f"{name}.shortcut", 4 * width, 1, stride, relu=False) if first else ()

    return x.block(f"{name}.sum", "add", body, shortcut), _relu(name, x.size)


def alexnet() -> Network:
    x = Image(3, 224, 224)
    units = []
    layers = ((64, 11, 4, 2, True), (192, 5, 1, 2, True), (384, 3, 1, 1, False), (256, 3, 1, 1, False))
    for i, (outputs, kernel, stride, padding, pooled) in enumerate((*layers, (256, 3, 1, 1, True)), start=1):
        units.append(Unit(f"conv{i}", x.conv(f"conv{i}", outputs, kernel, stride, padding, norm=False)))
        if pooled:
            units.append(Unit(f"pool{i}", (x.pool(f"pool{i}", 3, 2),)))
    features = x.size
    for i, outputs in enumerate((4096, 4096, 1000), start=6):
        relu = (_relu(f"fc{i}", outputs),) if i < 8 else ()
        units.append(Unit(f"fc{i}", (_linear(f"fc{i}", features, outputs), *relu)))
        features = outputs
    return Network("alexnet", tuple(units))


def inception_v3() -> Network:
    x = Image(3, 299, 299)
    units = [Unit("conv1", x.conv("conv1", 32, 3, 2)), Unit("conv2", x.conv("conv2", 32, 3))]
    units += [Unit("conv3", x.conv("conv3", 64, 3, 1, 1)), Unit("pool1", (x.pool("pool1", 3, 2),))]
    units += [Unit("conv4", x.conv("conv4", 80, 1)), Unit("conv5", x.conv("conv5", 192, 3))]
    units.append(Unit("pool2", (x.pool("pool2", 3, 2),)))
    units += [Unit(f"a{i}", (_inception_a(x, f"a{i}", pooled),)) for i, pooled in enumerate((32, 64, 64), start=1)]
    units.append(Unit("b", (_inception_b(x, "b"),)))
    units += [Unit(f"c{i}", (_inception_c(x, f"c{i}", width),)) for i, width in enumerate((128, 160, 160, 192), 1)]
    units.append(Unit("d", (_inception_d(x, "d"),)))
    units += [Unit(f"e{i}", (_inception_e(x, f"e{i}"),)) for i in (1, 2)]
    return Network("inception-v3", (*units, *_head(x, x.height)))


def _chain(name: str, *steps):
    """A branch: each step is (outputs, kernel, stride, padding), or a pool's (kernel, stride, padding)."""

    def branch(y: Image) -> Parts:
        parts: list[Part] = []
        for i, step in enumerate(steps):
            if len(step) == 3:
                parts.append(y.pool(f"{name}_{i + 1}", *step))
            else:
                parts += y.conv(f"{name}_{i + 1}", *step)
        return tuple(parts)

    return branch


def _inception_a(x: Image, name: str, pooled: int) -> Block:
    return x.block(
        name,
        "concat",
        _chain(f"{name}.one", (64, 1, 1, 0)),
        _chain(f"{name}.five", (48, 1, 1, 0), (64, 5, 1, 2)),
        _chain(f"{name}.three", (64, 1, 1, 0), (96, 3, 1, 1), (96, 3, 1, 1)),
        _chain(f"{name}.pool", (3, 1, 1), (pooled, 1, 1, 0)),
    )


def _inception_b(x: Image, name: str) -> Block:
    return x.block(
        name,
        "concat",
        _chain(f"{name}.three", (384, 3, 2, 0)),
        _chain(f"{name}.double", (64, 1, 1, 0), (96, 3, 1, 1), (96, 3, 2, 0)),
        _chain(f"{name}.pool", (3, 2, 0)),
    )


def _inception_c(x: Image, name: str, width: int) -> Block:
    across, down = ((1, 7), 1, (0, 3)), ((7, 1), 1, (3, 0))
    return x.block(
        name,
        "concat",
        _chain(f"{name}.one", (192, 1, 1, 0)),
        _chain(f"{name}.seven", (width, 1, 1, 0), (width, *across), (192, *down)),
        _chain(f"{name}.double", (width, 1, 1, 0), (width, *down), (width, *across), (width, *down), (192, *across)),
        _chain(f"{name}.pool", (3, 1, 1), (192, 1, 1, 0)),
    )


def _inception_d(x: Image, name: str) -> Block:
    return x.block(
        name,
        "concat",
        _chain(f"{name}.three", (192, 1, 1, 0), (320, 3, 2, 0)),
        _chain(f"{name}.seven", (192, 1, 1, 0), (192, (1, 7), 1, (0, 3)), (192, (7, 1), 1, (3, 0)), (192, 3, 2, 0)),
        _chain(f"{name}.pool", (3, 2, 0)),
    )


def _inception_e(x: Image, name: str) -> Block:
    def split(y: Image, part: str) -> Block:
        halves = ((384, (1, 3), 1, (0, 1)), (384, (3, 1), 1, (1, 0)))
        return y.block(f"{name}.{part}", "concat", *(_chain(f"{name}.{part}_{i}", half) for i, half in enumerate(halves)))

    def three(y: Image) -> Parts:
        return (*y.conv(f"{name}.three", 384, 1), split(y, "three"))

    def double(y: Image) -> Parts:
        return (*_chain(f"{name}.double", (448, 1, 1, 0), (384, 3, 1, 1))(y), split(y, "double"))

    one = _chain(f"{name}.one", (320, 1, 1, 0))
    return x.block(name, "concat", one, three, double, _chain(f"{name}.pool", (3, 1, 1), (192, 1, 1, 0)))


def _head(x: Image, kernel: int) -> tuple[Unit, Unit]:
    """The mean over all pixels and the classifier."""
    return Unit("pool", (x.pool("pool", kernel),)), Unit("fc", (_linear("fc", x.size, 1000),))


def _linear(name: str, inputs: int, outputs: int) -> Work:
    tensors = Tensor(f"{name}.weight", inputs * outputs, outputs), Tensor(f"{name}.bias", outputs, role="bias")
    return Work(name, "product", inputs, outputs, tensors, inputs * outputs)


def _relu(name: str, size: int) -> Work:
    return Work(f"{name}.relu", "map", size, size)


NETWORKS = {
    "resnet-50": lambda: resnet(50),
    "resnet-101": lambda: resnet(101),
    "resnet-152": lambda: resnet(152),
    "inception-v3": inception_v3,
    "alexnet": alexnet,
}
"""Name -> shape table."""
