"""EnCodec's loss balancer: weights that are shares of the gradient (Défossez et al., 2022, section 3.4)."""

import torch
import torch.distributed as dist
from torch import Tensor, nn

VANISHING = 1e-12
"""A gradient whose norm is on average below this is none: there is nothing to bring to a size."""


class Balancer(nn.Module):
    """Combines losses on the output of a model so that each gives the share of the gradient that its weight says.

    With `g_i` the gradient of loss `i` with respect to the output, and `n_i` the moving average of its norm, the output
    gets the gradient

        Σ_i total_norm * w_i / Σ_j w_j * g_i / n_i

    whatever the scale of the losses; so a weight keeps its meaning when a loss is rescaled, or shrinks in training.
    Norms are taken per item of the batch and averaged: each item's gradient is of length `total_norm` if those of its
    losses are aligned, however many items there are. That matters for losses beside the balancer, such as a
    commitment, and for clipping; a mean loss would give each item its `B`-th part.

    In training mode a call updates the averages. They start without a bias towards zero, live in buffers, so that a
    checkpoint of the module holds them, and are the same in all processes of a distributed training.

    Attributes:
        shares: after a call, each loss's share of the norms that the batch's balanced gradient is the sum of,
            detached scalars that sum to 1 (to 0, if all gradients vanish). They stray from the weights as far as the
            batch's norms stray from their averages.
    """

    norm_sums: Tensor
    update_sums: Tensor

    def __init__(self, weights: dict[str, float], total_norm: float = 1.0, decay: float = 0.999):
        """Take the losses' names and weights.

        Args:
            weights: by name of the loss; only their ratios count.
            total_norm: length of the gradient of one item.
            decay: of the moving averages, per call.

        Raises:
            ValueError: a weight is negative, all are zero, or `total_norm` or `decay` is out of its range.
        """
        super().__init__()
        if min(weights.values(), default=0.0) < 0 or sum(weights.values()) <= 0:
            raise ValueError(f"the balancer's weights must not be negative nor all zero: {weights}")
        if total_norm <= 0 or not 0 <= decay < 1:
            raise ValueError(f"total_norm={total_norm} must be above 0, and decay={decay} at least 0 and below 1")
        self.weights = dict(weights)
        self.total_norm = total_norm
        self.decay = decay
        self.shares: dict[str, Tensor] = {}
        # A moving average without bias is the ratio of these two, both of which forget at the same pace.
        self.register_buffer("norm_sums", torch.zeros(len(weights)))
        self.register_buffer("update_sums", torch.zeros(len(weights)))

    def forward(self, losses: dict[str, Tensor], output: Tensor) -> Tensor:
        """Combine scalar `losses`, all functions of `output [B, ...]`, which must be their only way to the model.

        Losses that are not given (an adversarial one before the discriminators join) take no part: the others share
        the gradient.

        Returns:
            A scalar. Its gradient with respect to `output` is the balanced one; its value is the sum of the losses,
            each times what its gradient was multiplied by, which says little but that it is finite.

        Raises:
            ValueError: a loss has no weight, or none of those given has one above zero.
        """
        factors, gradients = self._weigh(losses, output)
        balanced = sum(factor * gradient for factor, gradient in zip(factors, gradients, strict=True))
        value = (factors * torch.stack([loss.detach().float() for loss in losses.values()])).sum()
        surrogate = (output * balanced).sum()
        return value + surrogate - surrogate.detach()

    def weighted_sum(self, losses: dict[str, Tensor], output: Tensor) -> Tensor:
        """The same for losses that also have other ways to the model than `output`, as those of a layer behind it.

        Returns:
            The sum of the losses, each times the factor that balances its gradient at `output`.
        """
        factors, _ = self._weigh(losses, output)
        return (factors * torch.stack([loss.float() for loss in losses.values()])).sum()

    def _weigh(self, losses: dict[str, Tensor], output: Tensor) -> tuple[Tensor, list[Tensor]]:
        """What each loss is to be multiplied by, `[len(losses)]`, and their gradients at `output`."""
        unknown = losses.keys() - self.weights.keys()
        weights = {name: self.weights[name] for name in losses.keys() - unknown}
        if unknown or sum(weights.values()) <= 0:
            raise ValueError(f"the losses {sorted(losses)} do not fit the balancer's weights {self.weights}")
        names = list(losses)
        gradients = [torch.autograd.grad(loss, output, retain_graph=True)[0].float() for loss in losses.values()]
        norms = torch.stack([gradient.flatten(1).norm(dim=1).mean() for gradient in gradients])
        if dist.is_initialized():
            dist.all_reduce(norms)
            norms = norms / dist.get_world_size()
        average = self._average([list(self.weights).index(name) for name in names], norms)

        wanted = norms.new_tensor([weights[name] for name in names])
        wanted = self.total_norm * wanted / wanted.sum()
        factors = torch.where(average > VANISHING, wanted / average.clamp(min=VANISHING), 0.0)
        lengths = factors * norms
        self.shares = dict(zip(names, lengths / lengths.sum().clamp(min=VANISHING), strict=True))
        return factors, gradients

    def _average(self, indices: list[int], norms: Tensor) -> Tensor:
        """The moving averages of the norms of the losses at `indices`; in training mode after taking in `norms`."""
        if self.training:
            # One overflow in half precision, whose step the loss scaler skips, may not spoil the average for ever.
            finite = norms.isfinite()
            for sums, new in ((self.norm_sums, norms), (self.update_sums, torch.ones_like(norms))):
                sums[indices] = torch.where(finite, self.decay * sums[indices] + new, sums[indices])
        updates = self.update_sums[indices]
        return torch.where(updates > 0, self.norm_sums[indices] / updates.clamp(min=VANISHING), norms)
