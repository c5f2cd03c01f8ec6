"""The zoo: the papers' networks as functions of input shape, classes, width and seed.

`build("wrn-28-10", (3, 32, 32), 10)` finds them by name. Sizes are for 10 classes and the shape named:

    mnist-100-100        89,610   (1, 28, 28)   784-100-100-10
    lenet-300-100       266,610   (1, 28, 28)   784-300-100-10
    lenet-5-caffe       431,080   (1, 28, 28)   two 5x5 convolutions of 20 and 50 channels, then 500-10
    vgg-s            14,987,210   (3, 32, 32)   vgg16 with dropout and a further hidden layer of 512
    vgg16            14,724,042   (3, 32, 32)   13 convolutions with batch normalisation, then 10
    resnet-L            269,722   (3, 32, 32)   L = 20; 464,154 for 32; 853,018 for 56; any L = 6 n + 2
    wrn-L-K          36,479,194   (3, 32, 32)   L-K = 28-10; 10,961,370 for 16-8; 8,949,210 for 40-4; any L = 6 n + 4
    gnresnet-L         as resnet-L              L = 20; group normalisation, 16 channels a group
    densenet-L-K      1,019,722   (3, 32, 32)   L-K = 40-12; 6,979,642 for 100-12; any L = 3 n + 4

`width` multiplies the hidden widths (channels, or the growth rate), rounded, at least 1. A convolution in
front of a normalisation has no bias, which the normalisation would cancel. Weights in front of a ReLU
start with He's scale (gain 2), those of the fully connected networks and of LeNet-5 with LeCun's (gain 1).
"""

import difflib
from collections.abc import Callable, Iterator
from functools import partial
from math import gcd

from minisparse import layers as nn
from minisparse.layers import Layer, Sequential
from minisparse.model import Model

Shape = tuple[int, ...]


def mlp(name: str, hidden: Shape, input_shape: Shape, classes: int, width: float = 1.0, seed: int = 0) -> Model:
    """Flatten, then a ReLU between each two fully connected layers fc1, fc2, ...

    Source: 300-100 is LeCun et al. (1998); 100-100 is the MNIST network of Golub et al. (2018), arXiv 1806.06949.
    """
    stack, features = {"flatten": nn.Flatten()}, nn.Flatten().output_shape(input_shape)[0]
    for i, size in enumerate(hidden, start=1):
        outputs = _scaled(size, width)
        stack |= {f"fc{i}": nn.Linear(features, outputs), f"relu{i}": nn.ReLU()}
        features = outputs
    stack[f"fc{len(hidden) + 1}"] = nn.Linear(features, classes)
    return _model(name, stack, input_shape, seed)


def lenet5_caffe(input_shape: Shape, classes: int, width: float = 1.0, seed: int = 0) -> Model:
    """Caffe's LeNet: conv1, pool, conv2, pool, fc1, ReLU, fc2; no nonlinearity behind the convolutions.

    Source: BVLC/caffe, examples/mnist/lenet.prototxt, after LeCun et al. (1998).
    """
    name = "lenet-5-caffe"
    first, second, hidden = (_scaled(size, width) for size in (20, 50, 500))
    stack = {
        "conv1": nn.Conv2d(_channels(name, input_shape), first, 5),
        "pool1": nn.MaxPool2d(2),
        "conv2": nn.Conv2d(first, second, 5),
        "pool2": nn.MaxPool2d(2),
        "flatten": nn.Flatten(),
    }
    features = _features(name, stack, input_shape)
    stack |= {"fc1": nn.Linear(features, hidden), "relu": nn.ReLU(), "fc2": nn.Linear(hidden, classes)}
    return _model(name, stack, input_shape, seed)


def vgg(name: str, dropout: bool, input_shape: Shape, classes: int, width: float = 1.0, seed: int = 0) -> Model:
    """VGG-16's 13 convolutions, each with batch normalisation; stages of 64, 128, 256, 512, 512 channels.

    With `dropout` it is VGG-S: 0.3 behind the first convolution, 0.4 behind the others but the last of a stage,
    and a hidden layer of 512 between two dropouts of 0.5.

    Source: Simonyan and Zisserman (2014), arXiv 1409.1556, table 1, D; VGG-S as in S. Zagoruyko's
    cifar.torch (2015), which Golub et al. (2018) train.
    """
    stack, channels = {}, _channels(name, input_shape)
    for stage, (size, depth) in enumerate(((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)), start=1):
        outputs = _scaled(size, width)
        for i in range(1, depth + 1):
            block = {"conv": _conv3(channels, outputs), "norm": nn.BatchNorm(outputs), "relu": nn.ReLU()}
            if dropout and i < depth:
                block["dropout"] = nn.Dropout(0.3 if stage == 1 else 0.4)
            stack[f"conv{stage}_{i}"], channels = Sequential(block), outputs
        stack[f"pool{stage}"] = nn.MaxPool2d(2)
    stack["flatten"] = nn.Flatten()
    features = _features(name, stack, input_shape)
    if dropout:
        hidden = _scaled(512, width)
        stack |= {"dropout1": nn.Dropout(0.5), "fc1": nn.Linear(features, hidden, bias=False, gain=2.0)}
        stack |= {"norm1": nn.BatchNorm(hidden), "relu1": nn.ReLU(), "dropout2": nn.Dropout(0.5)}
        features = hidden
    stack["fc2" if dropout else "fc1"] = nn.Linear(features, classes)
    return _model(name, stack, input_shape, seed)


def grouped(channels: int) -> nn.GroupNorm:
    """Groups of 16 channels, or of the largest common divisor with 16; as Lym et al. (2019), arXiv 1810.00307."""
    return nn.GroupNorm(channels // gcd(channels, 16), channels)


def resnet(
    depth: int, input_shape: Shape, classes: int, width: float = 1.0, seed: int = 0, family="resnet", norm=nn.BatchNorm
) -> Model:
    """CIFAR ResNet: three stages of (depth - 2) / 6 blocks of 16, 32, 64 channels, parameter-free shortcuts.

    Source: He et al. (2015), arXiv 1512.03385, section 4.2, option A.
    """
    name = f"{family}-{depth}"
    blocks, channels = _per_stage(name, depth, 2, 6), _scaled(16, width)
    stack = {"conv1": _conv3(_channels(name, input_shape), channels)}
    stack |= {"norm1": norm(channels), "relu1": nn.ReLU()}
    for path, stage, stride in _stages(blocks):
        outputs = _scaled(16 * 2**stage, width)
        body = {"conv1": _conv3(channels, outputs, stride), "norm1": norm(outputs), "relu1": nn.ReLU()}
        body |= {"conv2": _conv3(outputs, outputs), "norm2": norm(outputs)}
        shortcut = nn.PaddedShortcut(outputs, stride) if stride > 1 else None
        stack[path] = Sequential({"sum": nn.Residual(Sequential(body), shortcut), "relu2": nn.ReLU()})
        channels = outputs
    stack |= {"pool": nn.GlobalAvgPool(), "fc1": nn.Linear(channels, classes)}
    return _model(name, stack, input_shape, seed)


def wrn(depth: int, widen: int, input_shape: Shape, classes: int, width: float = 1.0, seed: int = 0) -> Model:
    """Wide ResNet: three stages of (depth - 4) / 6 pre-activated blocks of 16, 32, 64 times `widen` channels.

    A block that changes the shape has a 1x1 convolution for shortcut, from behind its first ReLU.

    Source: Zagoruyko and Komodakis (2016), arXiv 1605.07146, table 1, block B(3, 3), without dropout.
    """
    name = f"wrn-{depth}-{widen}"
    blocks, channels = _per_stage(name, depth, 4, 6), _scaled(16, width)
    stack = {"conv1": _conv3(_channels(name, input_shape), channels)}
    for path, stage, stride in _stages(blocks):
        outputs = _scaled(16 * 2**stage * widen, width)
        first = {"norm1": nn.BatchNorm(channels), "relu1": nn.ReLU()}
        body = {"conv1": _conv3(channels, outputs, stride), "norm2": nn.BatchNorm(outputs), "relu2": nn.ReLU()}
        body["conv2"] = _conv3(outputs, outputs)
        if stride == 1 and channels == outputs:
            stack[path] = nn.Residual(Sequential(first | body))
        else:
            shortcut = nn.Conv2d(channels, outputs, 1, stride, bias=False)
            stack[path] = Sequential(first | {"sum": nn.Residual(Sequential(body), shortcut)})
        channels = outputs
    stack |= {"norm1": nn.BatchNorm(channels), "relu1": nn.ReLU(), "pool": nn.GlobalAvgPool()}
    stack["fc1"] = nn.Linear(channels, classes)
    return _model(name, stack, input_shape, seed)


def densenet(depth: int, growth: int, input_shape: Shape, classes: int, width: float = 1.0, seed: int = 0) -> Model:
    """DenseNet: three blocks of (depth - 4) / 3 layers, each adding `growth` channels; no bottleneck or compression.

    Source: Huang et al. (2016), arXiv 1608.06993, section 3, without dropout.
    """
    name = f"densenet-{depth}-{growth}"
    blocks, channels, added = _per_stage(name, depth, 4, 3), _scaled(16, width), _scaled(growth, width)
    stack = {"conv1": _conv3(_channels(name, input_shape), channels)}
    for path, _, stride in _stages(blocks):
        if stride > 1:
            transition = {"norm": nn.BatchNorm(channels), "relu": nn.ReLU()}
            transition["conv"] = nn.Conv2d(channels, channels, 1, bias=False, gain=2.0)
            stack[f"before_{path}"] = Sequential(transition | {"pool": nn.AvgPool2d(2)})
        body = {"norm": nn.BatchNorm(channels), "relu": nn.ReLU(), "conv": _conv3(channels, added)}
        stack[path] = nn.Concat(Sequential(body))
        channels += added
    stack |= {"norm1": nn.BatchNorm(channels), "relu1": nn.ReLU(), "pool": nn.GlobalAvgPool()}
    stack["fc1"] = nn.Linear(channels, classes)
    return _model(name, stack, input_shape, seed)


FIXED: dict[str, Callable[..., Model]] = {
    "mnist-100-100": partial(mlp, "mnist-100-100", (100, 100)),
    "lenet-300-100": partial(mlp, "lenet-300-100", (300, 100)),
    "lenet-5-caffe": lenet5_caffe,
    "vgg-s": partial(vgg, "vgg-s", True),
    "vgg16": partial(vgg, "vgg16", False),
}
FAMILIES: dict[str, tuple[Callable[..., Model], int]] = {
    "resnet": (resnet, 1),
    "gnresnet": (partial(resnet, family="gnresnet", norm=grouped), 1),
    "wrn": (wrn, 2),
    "densenet": (densenet, 2),
}
"""Name -> (function, how many numbers follow the name)."""
NAMES = (
    *FIXED,
    *("resnet-20", "resnet-32", "resnet-56", "gnresnet-20"),
    *("wrn-16-8", "wrn-28-10", "wrn-40-4"),
    *("densenet-40-12", "densenet-100-12"),
)
"""Models to offer; a family also takes other numbers."""


def build(name: str, input_shape: Shape, classes: int, width: float = 1.0, seed: int = 0) -> Model:
    """The model of this name, such as "lenet-300-100" or "wrn-28-10".

    Parameters
    ----------
    name : one of NAMES, or a family's with other numbers, such as "resnet-44"
    input_shape : of one sample, (I,) or (C, H, W)
    classes : number of outputs
    width : > 0, multiplies the hidden widths
    seed : of the initial values

    Raises
    ------
    ValueError : unknown name, or a shape, depth or width that the model cannot have.
    """
    family, *numbers = name.split("-")
    if name in FIXED:
        function, numbers = FIXED[name], []
    elif family in FAMILIES and len(numbers) == FAMILIES[family][1] and all(map(str.isdecimal, numbers)):
        function = FAMILIES[family][0]
    else:
        close = difflib.get_close_matches(name, NAMES, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"model {name!r} is unknown: use one of {', '.join(NAMES)}{hint}")
    if classes < 1:
        raise ValueError(f"classes={classes} must be at least 1")
    return function(*map(int, numbers), tuple(input_shape), classes, width, seed)


def _conv3(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    """3x3, padded to keep the size, in front of a normalisation and a ReLU."""
    return nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False, gain=2.0)


def _stages(blocks: int) -> Iterator[tuple[str, int, int]]:
    """(name, stage from 0, stride) of each block of three stages; stages 2 and 3 begin with stride 2."""
    for stage in range(3):
        for block in range(blocks):
            yield f"stage{stage + 1}_block{block + 1}", stage, 2 if stage and not block else 1


def _per_stage(name: str, depth: int, other: int, each: int) -> int:
    """Blocks a stage of a network with three stages."""
    if depth <= other or (depth - other) % each:
        raise ValueError(f"{name} cannot have depth {depth}: it must be {each} n + {other}, as {each + other} is")
    return (depth - other) // each


def _scaled(size: int, width: float) -> int:
    if not size * width > 0:
        raise ValueError(f"a hidden size of {size} times width={width} must be positive")
    return max(1, round(size * width))


def _channels(name: str, input_shape: Shape) -> int:
    if len(input_shape) != 3:
        raise ValueError(f"{name} takes images (C, H, W), not input_shape={input_shape}")
    return input_shape[0]


def _features(name: str, stack: dict[str, Layer], input_shape: Shape) -> int:
    """What comes out of these layers: the inputs of the first fully connected one."""
    try:
        return Sequential(stack).output_shape(input_shape)[0]
    except ValueError as error:
        raise ValueError(f"{name} does not fit input_shape={input_shape}: {error}") from error


def _model(name: str, stack: dict[str, Layer], input_shape: Shape, seed: int) -> Model:
    _features(name, stack, input_shape)
    return Model(name, Sequential(stack), input_shape, seed)
