"""Muon: gradient descent with orthogonalised momentum, for short training runs.

Adam divides every coordinate of the gradient by its own size; a convolution's update then has a
few large singular values and many small ones, and most directions of the kernel are learnt late.
Muon replaces the momentum matrix U S V^T of each hidden layer by about U V^T, so that all its
directions advance alike (Jordan, "Muon: an optimizer for hidden layers in neural networks", 2024;
the scaling to Adam's step size from Liu et al., "Muon is scalable for LLM training",
arXiv 2502.16982, 2025).

torch.optim.Muon takes matrices only, and computes in bfloat16, which most CPUs emulate. This one
takes kernels of convolutions, computes in float32, and trains what is no hidden layer (biases,
normalisation, the first and the last layer) with Adam, so that training sees one optimiser.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim.adam import adam

MOST = 5  # iterations; more would raise float32's rounding errors of the Gram matrix to its size
HIDDEN = 16  # a hidden layer has at least so many input and output channels
COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # Jordan's: steepest at 0, within 0.68 ... 1.21 at the end


def orthogonalized(matrices: Tensor, iterations: int = 5) -> Tensor:
    """About U V^T of each matrix U S V^T, by Newton-Schulz iterations.

    Args:
        matrices: (..., rows, columns), floating point.
        iterations: up to :data:`MOST`; five bring all singular values that are at least two
            thousandths of the Frobenius norm to between 0.68 and 1.21.

    Returns:
        The same shape and type. A matrix of zeros stays zero.

    Raises:
        ValueError: fewer iterations than one, or more than :data:`MOST`.
    """
    x = matrices / (torch.linalg.matrix_norm(matrices, keepdim=True) + 1e-7)
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    x = _factor(x @ x.mT, iterations) @ x
    return x.mT if tall else x


def orthogonalized_together(matrices: list[Tensor], iterations: int = 5) -> list[Tensor]:
    """:func:`orthogonalized` of matrices of several shapes, in few operations, as a GPU needs it.

    The Gram matrices of all shapes are iterated as one batch, padded with zeros to the largest:
    rows and columns of zeros stay zero in every product. Equal to 1e-5.
    """
    norms = torch._foreach_norm(matrices)
    torch._foreach_add_(norms, 1e-7)
    xs = torch._foreach_div(matrices, norms)
    xs = [x.mT if x.shape[0] > x.shape[1] else x for x in xs]
    alike: dict[torch.Size, list[int]] = {}
    for number, x in enumerate(xs):
        alike.setdefault(x.shape, []).append(number)
    stacks = [torch.stack([xs[number] for number in numbers]) for numbers in alike.values()]
    side = max(x.shape[1] for x in stacks)
    grams = torch.cat([F.pad(x @ x.mT, (0, side - x.shape[1]) * 2) for x in stacks])
    factors = _factor(grams, iterations).split([len(x) for x in stacks])
    for x, factor, numbers in zip(stacks, factors, alike.values(), strict=True):
        rows = x.shape[1]
        for number, done in zip(numbers, (factor[:, :rows, :rows] @ x).unbind(), strict=True):
            xs[number] = done.mT if matrices[number].shape[0] > matrices[number].shape[1] else done
    return xs


def _factor(gram: Tensor, iterations: int) -> Tensor:
    """What Newton-Schulz iterations multiply X by from the left, from its Gram matrix X X^T alone.

    Each multiplies X by P = a + b G + c G G and makes P G P of G = X X^T. A 3 x 3 kernel has nine
    times as many columns as rows: products of rows by rows are the cheaper ones, five iterations
    take a third of the time. They need float32: a Gram matrix squares the singular values.
    """
    _check_iterations(iterations)
    a, b, c = COEFFICIENTS
    factor = None
    for left in reversed(range(iterations)):
        step = b * gram + c * gram @ gram
        step.diagonal(dim1=-2, dim2=-1).add_(a)
        factor = step if factor is None else step @ factor
        if left:
            gram = step @ gram @ step
    return factor


def _check_iterations(iterations: int) -> None:
    if iterations not in range(1, MOST + 1):
        raise ValueError(f"iterations is {iterations}, but must be a whole number up to {MOST}")


class Muon(torch.optim.Optimizer):
    """Muon for the kernels of hidden convolutions, Adam for all other parameters.

    A kernel (out, in, ...) is taken as a matrix of ``out`` rows. Its update has the root mean
    square 0.2 ``lr`` per value, Adam's typical one; ``adam`` is what Adam's rate is of ``lr``.
    On CUDA kernels of all shapes are multiplied as one batch, and no value is read back: rates may
    be tensors and the step can be captured in a graph.

    Args:
        params: parameters or groups of them, as for all of torch's optimisers; a group may have
            its own lr, momentum, adam, betas and eps.
        lr: learning rate of the hidden layers.
        momentum: decay of the running mean of the gradient; the step looks ahead (Nesterov).
        adam: Adam's learning rate for the other parameters, as a fraction of ``lr``.
        betas, eps: Adam's.
        parts: how many layers a kernel's rows hold, one after the other, as a gated layer's do: its
            candidate and its gate. Each is a matrix of its own.
        decay: decoupled weight decay of the hidden layers: a step takes ``lr * decay`` of a weight.
            Muon's updates do not shrink with the gradient; without decay the weights grow until
            units that saturate (tanh, sigmoid) carry no gradient any more.
        largest: kernels whose matrices have more rows (and columns) than this are left to Adam, as
            the products' cost grows with the square of the smaller side.
        iterations: of :func:`orthogonalized`.

    Raises:
        ValueError: a rate or a count that is not positive, a momentum outside [0, 1), a negative
            decay, or a group with its own parts, decay, largest or iterations.
    """

    capturable = True  # in a CUDA graph

    def __init__(
        self,
        params,
        lr: float = 0.02,
        momentum: float = 0.95,
        adam: float = 0.15,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        parts: int = 1,
        decay: float = 0.0,
        largest: float = math.inf,
        iterations: int = 5,
    ):
        if not (isinstance(parts, int) and parts > 0):
            raise ValueError(f"parts is {parts}, but must be a whole number above 0")
        if not 0 <= decay < math.inf:
            raise ValueError(f"decay is {decay}, but must be at least 0")
        if not largest > 0:
            raise ValueError(f"largest is {largest}, but must be above 0")
        _check_iterations(iterations)
        defaults = {"lr": lr, "momentum": momentum, "adam": adam, "betas": tuple(betas), "eps": eps}
        super().__init__(params, defaults)
        self.parts, self.largest, self.iterations = parts, largest, iterations
        self.decay = decay
        for group in self.param_groups:
            if own := {"parts", "decay", "largest", "iterations"} & set(group):
                raise ValueError(f"{sorted(own)[0]} is one for all groups of parameters")
            for name in ("lr", "adam", "eps"):
                if not 0 < group[name] < math.inf:
                    raise ValueError(f"{name} is {group[name]}, but must be above 0 and finite")
            for name, values in {"momentum": [group["momentum"]], "betas": group["betas"]}.items():
                if not all(0 <= value < 1 for value in values):
                    raise ValueError(f"{name} is {group[name]}, but must be in [0, 1)")

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            hidden = [p for p in params if self.orthogonalizes(p)]
            rest = [p for p in params if not self.orthogonalizes(p)]
            together = bool(params) and self.batches(params[0])
            if hidden:
                (self._step_together if together else self._step_by_shape)(hidden, group)
            if rest:
                (self._step_fused_adam if together else self._step_adam)(rest, group)
        return loss

    def orthogonalizes(self, p: Tensor) -> bool:
        """Whether Muon trains a parameter: a hidden layer that splits and is not too large."""
        if not is_hidden(p) or p.shape[0] % self.parts:
            return False
        return min(p.shape[0] // self.parts, p[0].numel()) <= self.largest

    @staticmethod
    def batches(p: Tensor) -> bool:
        """Whether operations are so much dearer than their arithmetic that shapes go together."""
        return p.is_cuda

    def _step_together(self, params: list[Tensor], group: dict) -> None:
        """Hidden layers on a GPU, in as few operations as there may be."""
        ahead = self._looking_ahead(params, group)
        rows = [_in_memory_order(p, p).view(len(p), -1) for p in params]
        ahead = [_in_memory_order(a, p).flatten(1) for a, p in zip(ahead, params, strict=True)]
        weights, matrices = (
            [part for kernel in kernels for part in kernel.chunk(self.parts)]
            for kernels in (rows, ahead)
        )
        updates = orthogonalized_together(matrices, self.iterations)
        if self.decay:
            torch._foreach_mul_(params, 1 - self.decay * group["lr"])
        torch._foreach_mul_(updates, [-0.2 * math.sqrt(max(w.shape)) for w in weights])
        torch._foreach_mul_(updates, group["lr"])
        torch._foreach_add_(weights, updates)

    def _step_by_shape(self, params: list[Tensor], group: dict) -> None:
        """Hidden layers on a CPU: matrices of one shape are multiplied as one batch."""
        shapes: dict[tuple[int, ...], list[Tensor]] = {}
        for p in params:
            shapes.setdefault(tuple(p.shape), []).append(p)
        for shape, alike in shapes.items():
            ahead = self._looking_ahead(alike, group)
            matrices = torch.stack([tensor.flatten(1) for tensor in ahead])
            matrices = matrices.unflatten(1, (self.parts, -1))
            scale = 0.2 * math.sqrt(max(matrices.shape[-2:]))
            updates = orthogonalized(matrices, self.iterations)
            if self.decay:
                torch._foreach_mul_(alike, 1 - self.decay * group["lr"])
            updates = [update.reshape(shape) for update in updates]
            torch._foreach_add_(alike, updates, alpha=-scale * group["lr"])

    def _looking_ahead(self, params: list[Tensor], group: dict) -> list[Tensor]:
        """The gradients' running means after this step, and once more towards the gradients."""
        gradients = [p.grad for p in params]
        means = [self._state(p, "mean") for p in params]
        torch._foreach_lerp_(means, gradients, 1 - group["momentum"])
        return torch._foreach_lerp(gradients, means, group["momentum"])

    def _step_fused_adam(self, params: list[Tensor], group: dict) -> None:
        """torch's own, whose counts of steps are tensors on the GPU."""
        for p in params:
            self.state[p]["step"] = torch.as_tensor(
                self.state[p].get("step", 0), dtype=torch.float32, device=p.device
            )
        adam(
            params,
            [p.grad for p in params],
            [self._state(p, "mean") for p in params],
            [self._state(p, "square") for p in params],
            [],
            [self.state[p]["step"] for p in params],
            fused=True,
            amsgrad=False,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            lr=group["lr"] * group["adam"],
            weight_decay=0,
            eps=group["eps"],
            maximize=False,
        )

    def _step_adam(self, params: list[Tensor], group: dict) -> None:
        gradients = [p.grad for p in params]
        means = [self._state(p, "mean") for p in params]
        squares = [self._state(p, "square") for p in params]
        for p in params:
            self.state[p]["step"] = self.state[p].get("step", 0) + 1
        steps = [self.state[p]["step"] for p in params]
        beta1, beta2 = group["betas"]
        torch._foreach_lerp_(means, gradients, 1 - beta1)
        torch._foreach_mul_(squares, beta2)
        torch._foreach_addcmul_(squares, gradients, gradients, 1 - beta2)
        spreads = torch._foreach_div(squares, [1 - beta2**step for step in steps])
        torch._foreach_sqrt_(spreads)
        torch._foreach_add_(spreads, group["eps"])
        rates = [-group["lr"] * group["adam"] / (1 - beta1**step) for step in steps]
        torch._foreach_addcdiv_(params, means, spreads, rates)

    def _state(self, p: Tensor, name: str) -> Tensor:
        state = self.state[p]
        if name not in state:
            state[name] = torch.zeros_like(p)
        return state[name]


def is_hidden(p: Tensor) -> bool:
    """Whether a parameter is the kernel of a hidden convolution (or layer), which Muon trains."""
    return p.ndim >= 2 and min(p.shape[:2]) >= HIDDEN


def _in_memory_order(tensor: Tensor, kernel: Tensor) -> Tensor:
    """A tensor of a kernel's shape, its axes in the order in which the kernel lies in memory."""
    last = kernel.ndim == 4 and kernel.is_contiguous(memory_format=torch.channels_last)
    return tensor.permute(0, 2, 3, 1) if last else tensor
