"""PipelineTrainer: executes a plan, on one process or on one a stage and way."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

from gnnkit.pipeline._boundary import Boundary
from gnnkit.pipeline._check import inspect
from gnnkit.pipeline._examples import Features, Loss, Store, Targets, check_examples, check_network
from gnnkit.pipeline._history import HistoricalEmbeddings, check_refresh
from gnnkit.pipeline._inference import stream
from gnnkit.pipeline._keys import Keyed
from gnnkit.pipeline._network import Network
from gnnkit.pipeline._outputs import collect
from gnnkit.pipeline._part import Part
from gnnkit.pipeline._place import agree, fingerprint, neighbours, part_of, travels
from gnnkit.pipeline._plan import Plan
from gnnkit.pipeline._rows import Trade, Wait
from gnnkit.pipeline._schedule import schedule
from gnnkit.pipeline._stage import Stage
from gnnkit.pipeline._state import load_state_of, state_of
from gnnkit.pipeline._timeline import Timeline
from gnnkit.pipeline._trace import Trace
from gnnkit.pipeline._trade import send_rows, trade
from gnnkit.pipeline._transport import Transport
from gnnkit.pipeline._walk import Walk

OptimizerOf = Callable[[list[nn.Parameter]], torch.optim.Optimizer]


class PipelineTrainer:
    """Trains a deep network on one whole graph, its layers in stages, its nodes in chunks that flow through them.

    For layer l and node v of chunk c, with the chunks in an order that is drawn anew each epoch,

        a_v = Σ_u w_uv h̃_u,   h̃_u = h_u of this epoch if u's chunk is c or comes before c, else a historical h_u.

    Chunks go backward in the reverse order, and what later chunks did to a node is added before its own way back, so
    the gradient is exact for this function; historical rows are constants. One optimiser step an epoch, on the mean
    loss over all training nodes. With one chunk it is plain full-graph training. After GNNPipe (Chen et al.,
    *Accelerating Distributed Deep GNN Training with Pipelined Model Parallelism*, arXiv 2308.10087); random numbers
    belong to (seed, epoch, layer, chunk, way), so a plan gives the same numbers on one process and on many.

    One process executes the whole plan; under torchrun, each rank executes its stage and way and keeps no other
    layers, nodes or features. Every rank builds the same network from the same seed.

    Cost: the work of a full-graph epoch, and between stages 2 (S - 1) N D values; see `communication_volume`.

    Args:
        network: Rows, hops, rows; the trainer trains the modules of its own stage in place.
        plan: From `plan`.
        graph: ``edge_index [2, E]`` of the whole graph, or this process's `Part`, weights included.
        x: ``[N, F]``, a tensor or a store of `gnnkit.data`; only the first stage reads it, its own rows.
        y: ``[N, …]`` targets.
        train: ``[T]`` int64 ids of the training nodes.
        optimizer: Makes the optimiser of this stage's parameters.
        loss: Called as ``loss(outputs, y, reduction="sum")``.
        refresh: Epochs between refreshes of the historical rows, None for never.
        prime: Whether one exact forward pass fills the historical rows first; they are zeros otherwise.
        recompute: Whether a chunk's activations are computed once more on its way back in place of being kept. One
            chunk keeps them in any case: all would be back at once.
        precision: ``"full"``: as the features come. ``"bf16"``: rows, messages and layers in bfloat16, parameters and
            loss as they are.
        seed: Of the random numbers.
        device: Where this process computes.
        edge_attr: ``[E, De]`` states of the edges, where ``graph`` is an ``edge_index``.
        transport: Carries messages between processes; None makes one.
        trace: Whether `timeline` is kept.

    Raises:
        ValueError: The network breaks the contract of a layer, the plan does not fit it, the graph or the number of
            processes, an argument is out of range, or ranks disagree.
        FloatingPointError: The loss or a gradient of an epoch is not finite; no step was taken on any rank.

    Example:
        >>> import torch
        >>> from gnnkit.datasets import load
        >>> from gnnkit.pipeline import PipelineTrainer, adapters, plan
        >>> from gnnkit import Adjacency
        >>> data = load("karate")
        >>> torch.manual_seed(0)  # doctest: +ELLIPSIS
        <torch._C.Generator object at ...>
        >>> network = adapters.gcnii(34, 16, 4, num_layers=8, dropout=0.1)
        >>> cut = plan(Adjacency.from_pyg(data), 8, stages=2, chunks=3, partitioner="builtin")
        >>> trainer = PipelineTrainer(network, cut, data.edge_index, data.x, data.y, torch.arange(0, 34, 2),
        ...                           optimizer=lambda parameters: torch.optim.Adam(parameters, lr=0.01))
        >>> losses = [trainer.train_epoch() for _ in range(30)]
        >>> losses[-1] < losses[0], trainer.infer().shape
        (True, torch.Size([34, 4]))
    """

    def __init__(
        self,
        network: Network,
        plan: Plan,
        graph: Tensor | Part,
        x: Tensor | Store,
        y: Tensor,
        train: Tensor,
        *,
        optimizer: OptimizerOf,
        loss: Loss = nn.functional.cross_entropy,
        refresh: int | None = 1,
        prime: bool = True,
        recompute: bool = False,
        precision: Literal["full", "bf16"] = "full",
        seed: int = 0,
        device: torch.device | str = "cpu",
        edge_attr: Tensor | None = None,
        transport: Transport | None = None,
        trace: bool = False,
    ) -> None:
        check_examples(x, y, train, edge_attr, plan.num_nodes)
        check_refresh(refresh)
        if precision not in ("full", "bf16"):
            raise ValueError(f"precision: expected full or bf16 (got {precision!r})")
        if plan.num_layers != len(network.layers):
            raise ValueError(
                f"plan: expected one of the network's {len(network.layers)} layers (got {plan.num_layers})"
            )
        check_network(network, x.dtype, seed)
        states = edge_attr if isinstance(graph, Tensor) else graph.edge_attr(0)
        shapes = inspect(network, x.shape[1], None if states is None else states.shape[1])
        self.plan, self.epoch, self.shapes = plan, 0, shapes
        # what makes the numbers beside plan and network: a checkpoint belongs to it
        self.options = {"seed": seed, "refresh": refresh, "prime": prime, "precision": precision}
        self._own_transport = transport is None
        self.transport = transport or Transport(describe=lambda rank: "stage {}, way {}".format(*plan.place(rank)))
        world = self.transport.world_size
        if world not in (1, plan.world_size):
            stages, ways = plan.num_stages, plan.ways
            raise ValueError(f"plan: expected {world} processes, as there are (got {stages} stages of {ways} ways)")
        alone = world == 1
        self.stage_index, self.way = (0, 0) if alone else plan.place(self.transport.rank)
        low, high = (0, plan.num_layers) if alone else plan.stages[self.stage_index]
        self.device = torch.device(device)
        self.part = part_of(graph, network, plan, edge_attr, x.dtype, None if alone else self.way).to(self.device)
        self._keyed = Keyed(seed, self.device)
        dtype = torch.bfloat16 if precision == "bf16" else x.dtype
        self._stage = Stage(network, low, high, self.part, self._keyed, dtype, self.device)
        self._make_histories(low, high, refresh)
        around = (None, None) if alone else neighbours(plan, self.stage_index, self.way)
        widths = travels(network, shapes, low), travels(network, shapes, high)
        self._boundary = Boundary(self.transport, self.part, *around, *widths, dtype, self.device)
        self._ranks = [self.transport.rank] if alone else [plan.rank(self.stage_index, w) for w in range(plan.ways)]
        if not alone:
            self.transport.groups([[plan.rank(s, w) for w in range(plan.ways)] for s in range(plan.num_stages)])
            options = (plan.digest(), shapes, refresh, prime, recompute, precision, seed, trace, x.dtype)
            agree(self.transport, fingerprint(network, graph, train, *options))
        self._trace = Trace(self.transport.rank, trace, self.device)
        self._features = Features(x, self.part, low == 0, self.device)
        last = high == plan.num_layers
        targets = Targets(y, train, self.part, loss, self.device) if last else _no_loss
        again = recompute and self.part.num_chunks > 1
        self._walk = Walk(self._stage, self._boundary, self._features, targets, self._trades, again, self._trace)
        own = [parameter for parameter in self._stage.parameters().values() if parameter.requires_grad]
        self.optimizer = optimizer(own) if own else None
        self._lost = False
        self._primed = not prime or self.part.num_chunks == 1  # one chunk reads nothing of an earlier epoch

    # ------------------------------------------------------------------ training

    def train_epoch(self) -> float:
        """Train one epoch; return the mean loss over the training nodes of the whole graph, the same on all ranks."""
        epoch = self.epoch
        with self._in_step(), self._keyed.leave_alone():
            self._stage.train(True)
            if not self._primed:
                self._prime()
            if self._trace.enabled:
                self.transport.barrier()
                self._trace.begin()
            self._keyed.epoch = epoch
            for parameter in self._stage.parameters().values():
                parameter.grad = None
            tasks = schedule(self.plan.num_stages, self.plan.order(epoch)).tasks[self.stage_index]
            total = self._walk.run(tasks, epoch)
            loss = self._update(total, epoch)
        for history in self._stage.histories.values():
            history.end_epoch(epoch)
        self.epoch = epoch + 1
        return loss

    def _update(self, total: Tensor, epoch: int) -> float:
        """Sum the loss over all ranks and the gradients over a stage's ways, and take the step."""
        with self._trace.event("update"):
            gradients = self._summed_gradients()
            bad = sum((~gradient.isfinite()).sum() for gradient in gradients) + total.new_zeros(())
            whole = torch.stack([total, bad])
            self.transport.all_reduce([whole], range(self.transport.world_size), "control")
            loss, wrong = (float(value) for value in whole)
            if not math.isfinite(loss) or wrong:
                got = f"{loss} and {wrong:.0f} NaN or infinite gradients"
                raise FloatingPointError(f"epoch {epoch + 1}: expected a finite loss and gradients (got {got})")
            if self.optimizer is not None:
                self.optimizer.step()
            return loss

    def _summed_gradients(self) -> list[Tensor]:
        """Sum the gradients over a stage's ways, those of parameters that some way's nodes used."""
        parameters = [p for p in self._stage.parameters().values() if p.requires_grad]
        used = torch.tensor([float(p.grad is not None) for p in parameters], device=self.device)
        self.transport.all_reduce([used], self._ranks, "control")
        for parameter, count in zip(parameters, used.tolist(), strict=True):
            if count and parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        gradients = [p.grad for p in parameters if p.grad is not None]
        self.transport.all_reduce(gradients, self._ranks, "parameters")
        return gradients

    def _prime(self) -> None:
        """Fill the historical rows by one exact forward pass, as in training."""
        self._keyed.epoch = -1
        histories = self._stage.histories
        stream(
            self._stage, self._boundary, self._features, self._fill, {hop: h.current for hop, h in histories.items()}
        )
        for history in histories.values():
            history.prime()
        self._primed = True

    @contextmanager
    def _in_step(self) -> Iterator[None]:
        """Remember an error that leaves this process out of step with the others, whose messages it may have missed."""
        if self._lost:
            raise RuntimeError("expected processes in step: go on from a checkpoint in new ones (got an earlier error)")
        try:
            yield
        except FloatingPointError:  # raised on all ranks alike
            raise
        except BaseException:
            self._lost = self.transport.world_size > 1
            raise

    # ------------------------------------------------------------------ inference

    def infer(self) -> Tensor | None:
        """Return the outputs ``[N, C]`` of an exact forward pass without dropout, on rank 0; None on other ranks."""
        modes = self._stage.modes()
        self._stage.train(False)
        try:
            with self._in_step(), self._keyed.leave_alone():
                outputs = stream(self._stage, self._boundary, self._features, self._fill)
                rows = torch.cat(outputs) if self._boundary.following is None else None
                return collect(self.transport, self.plan, self.part, rows, self._stage.output_dtype, self.device)
        finally:
            self._stage.restore(modes)

    # ------------------------------------------------------------------ state

    def parameters(self) -> dict[str, nn.Parameter]:
        """Return the parameters of this rank's stage by their names in the network."""
        return self._stage.parameters()

    def network_state(self) -> dict[str, Tensor] | None:
        """Return copies of the whole network's state on rank 0, None on other ranks."""
        mine = self._stage.state()
        if self.transport.world_size == 1:
            return mine
        whole: dict[str, Tensor] = {}
        for stage in range(self.plan.num_stages):
            whole |= self.transport.broadcast_object(mine, self.plan.rank(stage, 0))
        return whole if self.transport.rank == 0 else None

    def state(self) -> dict[str, Any]:
        """Return copies of all that training goes on from: epoch, this stage's weights, optimiser, historical rows."""
        state = state_of(self._stage, self.optimizer, self.way)
        return {"epoch": self.epoch, "primed": self._primed, **state}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from a state of the same plan, network and place.

        Raises:
            ValueError: It belongs to another; nothing has changed.
        """
        load_state_of(self._stage, self.optimizer, self.way, state)
        self.epoch, self._primed = state["epoch"], state["primed"]

    def close(self) -> None:
        """Give the process groups back that the trainer made; a transport that was handed in stays open."""
        if self._own_transport:
            self.transport.close()

    @property
    def timeline(self) -> Timeline:
        """What this process did in the last epoch, with ``trace=True``."""
        return self._trace.timeline

    # ------------------------------------------------------------------ the pieces

    def _make_histories(self, low: int, high: int, refresh: int | None) -> None:
        """Make each hop's tables; with one chunk, which leaves nothing for later, hops of one width share them."""
        keep = self.part.num_chunks > 1
        made: dict[object, HistoricalEmbeddings] = {}
        for hop in range(low, high):
            width = self.shapes[hop].message_channels
            which = hop if keep else f"width {width}"
            if which not in made:
                made[which] = HistoricalEmbeddings(
                    self.part.num_rows,
                    width,
                    refresh=refresh,
                    keep=keep,
                    dtype=self._stage.dtype,
                    device=self.device,
                )
            self._stage.histories[hop] = made[which]

    def _rank_of(self, way: int) -> int:
        return self.plan.rank(self.stage_index, way)

    def _trades(self, hop: int, chunk: int, epoch: int) -> Trade:
        what = f"chunk {chunk} at layer {hop} of epoch {epoch}"
        exchanges = self.part.exchanges[chunk]
        return trade(self.transport, exchanges, self._rank_of, self._stage.histories[hop], what)

    def _fill(self, table: Tensor, chunk: int) -> Wait:
        exchanges = self.part.exchanges[chunk]
        what = f"chunk {chunk} of an exact pass"
        return send_rows(self.transport, exchanges, self._rank_of, table, what, "inference")


def _no_loss(outputs: Tensor, chunk: int) -> Tensor:
    raise AssertionError("only the last stage has a loss")
