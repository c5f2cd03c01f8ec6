"""PyTorch computes the same losses and gradients, float64, to a relative 1e-9."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minisparse.loss import mean_squared_error, softmax_cross_entropy

torch = pytest.importorskip("torch")


@given(
    st.integers(1, 12), st.integers(1, 9), st.floats(0, 0.99), st.sampled_from([0.1, 1.0, 30.0, 1e4]), st.integers(0, 9)
)
def test_cross_entropy_with_label_smoothing(classes, n, smoothing, scale, seed):
    generator = np.random.default_rng(seed)
    logits, labels = scale * generator.normal(size=(classes, n)), generator.integers(classes, size=n)
    loss, dlogits = softmax_cross_entropy(logits, labels, smoothing)
    peer = torch.tensor(logits.T.copy(), requires_grad=True)
    theirs = torch.nn.functional.cross_entropy(peer, torch.tensor(labels), label_smoothing=smoothing)
    theirs.backward()
    assert loss == pytest.approx(theirs.item(), rel=1e-9, abs=1e-12)
    np.testing.assert_allclose(dlogits, peer.grad.numpy().T, rtol=1e-9, atol=1e-13)


@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 9))
def test_mean_squared_error(outputs, n, seed):
    y, target = np.random.default_rng(seed).normal(size=(2, outputs, n))
    loss, dy = mean_squared_error(y, target)
    peer = torch.tensor(y, requires_grad=True)
    theirs = torch.nn.functional.mse_loss(peer, torch.tensor(target))
    theirs.backward()
    assert loss == pytest.approx(theirs.item(), rel=1e-9)
    np.testing.assert_allclose(dy, peer.grad.numpy(), rtol=1e-9)
