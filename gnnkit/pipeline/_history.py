"""Rows that chunks read of each other: this epoch's where they are there, historical ones otherwise."""

from __future__ import annotations

import torch
from torch import Tensor

from gnnkit.kernels import gather_rows


class HistoricalEmbeddings:
    """The rows that neighbours see at one hop: those of this epoch, those of an earlier one, and their gradients.

    A chunk reads another's rows of this epoch if that chunk came before it, else its historical rows, which are
    constants: no gradient goes through them. With ``refresh=1`` the rows of an epoch become the historical ones of
    the next; with R, every R epochs; with None never, so that those of the priming stay.

    With ``keep=False``, for a graph of one chunk, there is no earlier epoch to read of: only this epoch's rows are
    there, and gradients begin at zero again once they are taken, so that hops can share the tables.

    Memory: 2 R D' values, R D' with ``keep=False``, and R D' gradients (float32 for 16-bit rows).

    Args:
        num_rows: R.
        channels: D'.
        refresh: Epochs between refreshes, or None.
        keep: Whether there are historical rows.
        dtype: Of the rows.
        device: Where they lie.

    Raises:
        ValueError: ``refresh`` is below 1.

    Example:
        >>> import torch
        >>> from gnnkit.pipeline import HistoricalEmbeddings
        >>> history = HistoricalEmbeddings(3, 2)
        >>> history.publish(0, torch.ones(1, 2))  # row 0 of this epoch
        >>> ids = history.ids(torch.tensor([0, 2]), fresh=torch.tensor([True, False]))
        >>> history.read(ids).tolist()
        [[1.0, 1.0], [0.0, 0.0]]
        >>> history.end_epoch(0)
        >>> history.historical[0].tolist()
        [1.0, 1.0]
    """

    def __init__(
        self,
        num_rows: int,
        channels: int,
        *,
        refresh: int | None = 1,
        keep: bool = True,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        check_refresh(refresh)
        self.refresh, self.keep = refresh, keep
        self._rows = torch.zeros(1 + keep, num_rows, channels, dtype=dtype, device=device)
        wide = torch.float32 if dtype.itemsize < 4 else dtype
        self._gradients = torch.zeros(num_rows, channels, dtype=wide, device=device)
        self._slot = 0

    @property
    def current(self) -> Tensor:
        """``[R, D']`` rows of this epoch; those of chunks still to come are meaningless."""
        return self._rows[self._slot]

    @property
    def historical(self) -> Tensor:
        """``[R, D']`` rows of an earlier epoch, none with ``keep=False``."""
        return self._rows[1 - self._slot] if self.keep else self._rows[0, :0]

    @property
    def gradients(self) -> Tensor:
        """``[R, D']`` gradients of this epoch's rows, as far as the chunks after them have been walked back."""
        return self._gradients

    def publish(self, low: int, rows: Tensor) -> None:
        """Write this epoch's rows from ``low`` on; their gradients begin at zero."""
        self.current[low : low + len(rows)] = rows
        self.expect(low, low + len(rows))

    def expect(self, low: int, high: int) -> None:
        """Let the gradients of rows begin at zero: others write the rows themselves."""
        self._gradients[low:high] = 0

    def ids(self, rows: Tensor, fresh: Tensor) -> Tensor:
        """Return where `read` finds rows: this epoch's where ``fresh``, else the historical ones."""
        if not self.keep:
            return rows
        slot = torch.where(fresh, self._slot, 1 - self._slot)
        return rows + slot * self._rows.shape[1]

    def read(self, ids: Tensor) -> Tensor:
        """Return rows by the ids of `ids`, without gradients."""
        return gather_rows(self._rows.view(-1, self._rows.shape[2]), ids)

    def add_gradients(self, rows: Tensor, gradients: Tensor) -> None:
        """Add to the gradients of distinct rows. What a historical row is given here, nobody reads."""
        self._gradients.index_add_(0, rows, gradients.to(self._gradients.dtype))

    def take_gradients(self, low: int, high: int, dtype: torch.dtype) -> Tensor:
        """Return a copy of the gradients of rows."""
        taken = self._gradients[low:high].to(dtype, copy=True)
        if not self.keep:
            self._gradients[low:high] = 0
        return taken

    def end_epoch(self, epoch: int) -> None:
        """Make this epoch's rows the historical ones where a refresh is due after ``epoch`` (counted from 0)."""
        if self.refresh is not None and (epoch + 1) % self.refresh == 0:
            self.prime()

    def prime(self) -> None:
        """Make the current rows the historical ones, whatever the epoch."""
        if self.keep:
            self._slot = 1 - self._slot

    def restore(self, rows: Tensor) -> None:
        """Take historical rows from a checkpoint.

        Raises:
            ValueError: They have another shape.
        """
        self.check(rows)
        self.historical.copy_(rows)

    def check(self, rows: Tensor) -> None:
        """Require rows of the historical ones' shape."""
        if rows.shape != self.historical.shape:
            raise ValueError(f"history: expected rows of shape {list(self.historical.shape)} (got {list(rows.shape)})")


def check_refresh(refresh: int | None) -> None:
    """Require a number of epochs, or None."""
    if refresh is not None and (isinstance(refresh, bool) or not isinstance(refresh, int) or refresh < 1):
        raise ValueError(f"refresh: expected a number of epochs >= 1, or None for never (got {refresh!r})")
