"""PyTorch trains alike: the losses of some steps in float64, dense and masked, as the benchmark compares them."""

import json

import numpy as np
import pytest

from minisparse.bench.stepper import LR, MOMENTUM, our_run
from minisparse.bench.torch_model import training_step
from minisparse.bench.train import MASKS
from minisparse.methods import Method
from minisparse.model import Model
from minisparse.run import Run, TrainSettings
from minisparse.train import learn

torch = pytest.importorskip("torch")


@pytest.mark.parametrize("mask", MASKS[:3], ids=str)
@pytest.mark.parametrize(("name", "shape"), [("lenet-5-caffe", (1, 28, 28)), ("resnet-8", (3, 8, 8))])
def test_the_losses_of_some_steps_are_the_same(name, shape, mask):
    small = our_run(name, shape, 0.25, *mask, 6)
    wide = Model.from_config(json.loads(json.dumps(small.model.config())))
    wide = Model(name, wide.net, shape, wide.seed, np.float64)
    masks = {}
    for path, p in small.model.parameters.items():
        wide.parameters[path].store.values = p.value().astype(np.float64)
        if p.mask is not None:
            masks[path] = p.mask
            wide.parameters[path].keep(p.mask)
    settings = TrainSettings(epochs=9, batch=6, lr=LR, momentum=MOMENTUM, schedule="constant")
    run, batch = Run(wide, small.data, Method(), settings), small.batches.batch(0, 0)
    step = training_step(torch, small.model, batch, LR, MOMENTUM, torch.contiguous_format, torch.float64, masks)
    for _ in range(3):
        assert learn(run, *batch) == pytest.approx(step(), rel=1e-9)
