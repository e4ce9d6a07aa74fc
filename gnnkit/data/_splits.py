"""Which nodes, or graphs, train, validate and test."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gnnkit.kernels._check import describe


@dataclass(frozen=True)
class Split:
    """Three disjoint sets of numbers of nodes, or of graphs, each an int64 tensor.

    Raises:
        ValueError: A set is empty, not int64 and 1-D, or two sets share a node.

    Example:
        >>> import torch
        >>> from gnnkit.data import Split
        >>> Split(torch.tensor([0]), torch.tensor([1]), torch.tensor([2, 3])).sizes
        (1, 1, 2)
    """

    train: Tensor
    valid: Tensor
    test: Tensor

    def __post_init__(self) -> None:
        for name, ids in (("train", self.train), ("valid", self.valid), ("test", self.test)):
            if not _is_vector(ids, torch.int64):
                raise ValueError(f"{name}: expected at least one int64 node id in one dimension (got {describe(ids)})")
        together = torch.cat([self.train, self.valid, self.test])
        repeated = together.numel() - torch.unique(together).numel()
        if repeated:
            raise ValueError(f"split: expected disjoint train, valid and test ids (got {repeated} repeated)")

    @property
    def sizes(self) -> tuple[int, int, int]:
        """The numbers of training, validation and test nodes."""
        return self.train.numel(), self.valid.numel(), self.test.numel()

    def to(self, device: torch.device | str) -> Split:
        """Return the split on another device."""
        return Split(self.train.to(device), self.valid.to(device), self.test.to(device))


def _is_vector(value: object, dtype: torch.dtype) -> bool:
    return isinstance(value, Tensor) and value.dim() == 1 and value.dtype == dtype and value.numel() > 0


def from_masks(data: Any, column: int | None = None) -> Split:
    """Read a fixed split that a PyG ``Data`` carries as ``train_mask``, ``val_mask`` and ``test_mask``.

    Args:
        data: Its masks are booleans [N], or [N, K] where it carries K splits.
        column: Which of the K splits; None where there is one.

    Raises:
        ValueError: The masks are not booleans of one shape, there is no such column, or a part is empty or shares
            a node.
    """
    masks: list[Any] = [getattr(data, name, None) for name in ("train_mask", "val_mask", "test_mask")]
    if column is not None:
        for mask in masks:
            if not isinstance(mask, Tensor) or mask.dim() != 2 or not 0 <= column < mask.shape[1]:
                raise ValueError(f"column: expected one of the columns of masks [N, K] (got {column} of {data})")
        masks = [mask[:, column] for mask in masks]
    lengths = {mask.numel() for mask in masks if _is_vector(mask, torch.bool)}
    if len(lengths) != 1 or not all(_is_vector(mask, torch.bool) for mask in masks):
        raise ValueError(f"data: expected as many booleans in train_mask, val_mask and test_mask (got {data})")
    train, valid, test = (torch.nonzero(mask).squeeze(1) for mask in masks)
    return Split(train, valid, test)


def per_class(y: Tensor, train_per_class: int, valid_per_class: int, seed: int) -> Split:
    """Draw equally many training and validation nodes from each class; the rest test.

    The draw depends on ``seed`` alone, not on torch's global generator.

    Args:
        y: ``[N]`` int64 classes.
        train_per_class: Training nodes of each class.
        valid_per_class: Validation nodes of each class.
        seed: Seed of the draw.

    Raises:
        ValueError: A class has too few nodes to leave one for the test.

    Example:
        >>> import torch
        >>> from gnnkit.data import per_class
        >>> per_class(torch.tensor([0, 0, 0, 1, 1, 1]), 1, 1, seed=0).sizes
        (2, 2, 2)
    """
    if not _is_vector(y, torch.int64):
        raise ValueError(f"y: expected an int64 class for each node (got {describe(y)})")
    for name, number in (("train_per_class", train_per_class), ("valid_per_class", valid_per_class), ("seed", seed)):
        if not isinstance(number, int) or abs(number) >= 2**63:
            raise ValueError(f"{name}: expected a whole number (got {number!r})")
    order = torch.randperm(y.numel(), generator=torch.Generator().manual_seed(seed))
    train, valid, test = [], [], []
    for label in torch.unique(y).tolist():
        nodes = order[y[order] == label]
        taken = train_per_class + valid_per_class
        if min(train_per_class, valid_per_class) < 1 or nodes.numel() <= taken:
            got = f"{train_per_class} + {valid_per_class} of {nodes.numel()}"
            raise ValueError(f"class {label}: expected nodes for training, validation and test (got {got})")
        train.append(nodes[:train_per_class])
        valid.append(nodes[train_per_class:taken])
        test.append(nodes[taken:])
    return Split(torch.cat(train), torch.cat(valid), torch.cat(test))


def k_fold(y: Tensor, seed: int, num_folds: int = 10) -> Split:
    """Split for cross-validation: one fold tests, a stratified share of the others validates, the rest train.

    Seeds 0 … ``num_folds`` - 1 test one fold of the same partition each, so that together they test every graph
    once; the next ``num_folds`` seeds share another partition. As many rows validate as a fold has. The folds and
    the validation rows hold the classes in the same proportions (scikit-learn's ``StratifiedKFold`` and
    ``StratifiedShuffleSplit``). The draw depends on ``seed`` alone.

    Args:
        y: ``[B]`` int64 classes.
        seed: ``seed % num_folds`` is the test fold, ``seed // num_folds`` the seed of the partition.
        num_folds: Number of folds.

    Raises:
        ValueError: A class has too few rows for a fold each.

    Example:
        >>> import torch
        >>> from gnnkit.data import k_fold
        >>> k_fold(torch.arange(200) % 2, seed=0).sizes
        (160, 20, 20)
    """
    from sklearn.model_selection import StratifiedKFold, train_test_split

    if not _is_vector(y, torch.int64):
        raise ValueError(f"y: expected an int64 class for each graph (got {describe(y)})")
    if not isinstance(num_folds, int) or num_folds < 3:
        raise ValueError(f"num_folds: expected a whole number >= 3 (got {num_folds!r})")
    if not isinstance(seed, int) or not 0 <= seed < 2**32:
        raise ValueError(f"seed: expected a whole number in [0, 2^32) (got {seed!r})")
    labels, counts = torch.unique(y, return_counts=True)
    if int(counts.min()) < num_folds:
        label = int(labels[counts.argmin()])
        raise ValueError(f"class {label}: expected at least {num_folds} rows, one a fold (got {int(counts.min())})")
    classes = y.cpu().numpy()
    folds = StratifiedKFold(num_folds, shuffle=True, random_state=seed // num_folds).split(classes, classes)
    rest, test = list(folds)[seed % num_folds]
    train, valid = train_test_split(rest, test_size=len(test), stratify=classes[rest], random_state=seed)
    return Split(*(torch.from_numpy(ids).long().sort().values for ids in (train, valid, test)))
