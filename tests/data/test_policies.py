"""Policies on traces, without data: what is provable, and what LSM-GNN's description promises."""

from __future__ import annotations

import itertools
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gnnkit import Adjacency
from gnnkit.data import belady, hit_ratio, out_degree, reverse_pagerank
from gnnkit.data._policies import POLICIES, Policy, ranks_of, worst

Trace = list[Tensor]
WINDOWS = 0, 1, 2, 3, 4, 8, 64


def trace_of(*batches: list[int]) -> Trace:
    return [torch.tensor(batch, dtype=torch.int64) for batch in batches]


@st.composite
def zipf(draw: st.DrawFn) -> tuple[Trace, int, Tensor]:
    """A trace of batches whose ids follow Zipf's law, a capacity, scores with ties."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    rows, steps, size = draw(st.integers(2, 30)), draw(st.integers(1, 40)), draw(st.integers(1, 12))
    law = np.arange(1, rows + 1) ** -draw(st.sampled_from([0.0, 0.7, 1.0, 1.5]))
    trace = [torch.from_numpy(rng.choice(rows, rng.integers(0, size + 1), p=law / law.sum())) for _ in range(steps)]
    return trace, draw(st.integers(0, rows + 1)), torch.from_numpy(rng.integers(0, 6, rows))


def ratio(case: tuple[Trace, int, Tensor], policy: str, window: int = 0, victim: int = 0) -> float:
    trace, capacity, scores = case
    return hit_ratio(
        trace, policy, capacity, num_rows=len(scores), window=window, victim=victim if window else 0, scores=scores
    )


# ------------------------------------------------------------------ laws


@pytest.mark.parametrize("policy", ["lookahead", "hybrid"])
@given(case=zipf())
def test_a_longer_window_never_serves_less_and_never_more_than_belady(
    policy: str, case: tuple[Trace, int, Tensor]
) -> None:
    found = [ratio(case, policy, window) for window in WINDOWS]
    assert found == sorted(found)
    assert found[-1] <= belady(*case[:2], len(case[2]))


@pytest.mark.parametrize("policy", ["lookahead", "hybrid"])
@given(case=zipf())
def test_a_window_over_the_whole_trace_is_belady(policy: str, case: tuple[Trace, int, Tensor]) -> None:
    assert ratio(case, policy, len(case[0])) == belady(*case[:2], len(case[2]))


@given(case=zipf())
def test_lookahead_without_a_window_is_lru(case: tuple[Trace, int, Tensor]) -> None:
    assert ratio(case, "lookahead", 0) == ratio(case, "lru")


@pytest.mark.parametrize("policy", POLICIES)
@settings(max_examples=50)
@given(case=zipf(), share=st.sampled_from([0.0, 0.25, 1.0]), window=st.sampled_from(WINDOWS))
def test_no_policy_serves_more_than_belady(
    policy: str, case: tuple[Trace, int, Tensor], share: float, window: int
) -> None:
    victim = int(share * case[1]) if policy in ("lookahead", "hybrid") else 0
    assert ratio(case, policy, window, victim) <= belady(*case[:2], len(case[2]))


@pytest.mark.parametrize("policy", ["lru", "degree", "pagerank"])
@settings(max_examples=25)
@given(case=zipf())
def test_a_larger_cache_never_serves_less_where_the_order_of_rows_does_not_depend_on_its_size(
    policy: str, case: tuple[Trace, int, Tensor]
) -> None:
    found = [ratio((case[0], capacity, case[2]), policy) for capacity in range(len(case[2]) + 1)]
    assert found == sorted(found)
    assert found[0] == 0


@pytest.mark.parametrize("policy", POLICIES)
@settings(max_examples=25)
@given(case=zipf())
def test_a_cache_of_the_whole_table_misses_first_reads_only(policy: str, case: tuple[Trace, int, Tensor]) -> None:
    trace, _, scores = case
    sets = [set(batch.tolist()) for batch in trace]
    reads, distinct = sum(map(len, sets)), len(set().union(*sets))
    expected = (reads - distinct) / reads if reads else 0.0
    assert ratio((trace, len(scores), scores), policy, 3) == belady(trace, len(scores)) == expected


def optimum(batches: tuple[frozenset[int], ...], capacity: int) -> int:
    """The most hits, by trying every set of rows that may be kept after every batch."""

    @cache
    def best(step: int, held: frozenset[int]) -> int:
        if step == len(batches):
            return 0
        union = sorted(held | batches[step])
        keep = itertools.combinations(union, min(capacity, len(union)))
        return len(held & batches[step]) + max(best(step + 1, frozenset(kept)) for kept in keep)

    return best(0, frozenset())


@given(
    batches=st.lists(st.frozensets(st.integers(0, 4), max_size=3), min_size=1, max_size=6), capacity=st.integers(0, 3)
)
def test_belady_is_the_best_of_all_ways_to_keep_rows(batches: list[frozenset[int]], capacity: int) -> None:
    reads = sum(map(len, batches))
    found = belady(trace_of(*map(sorted, batches)), capacity)
    assert found * reads == pytest.approx(optimum(tuple(batches), capacity))


# ------------------------------------------------------------------ what goes first


@given(case=zipf(), window=st.integers(1, 8), share=st.sampled_from([0.25, 0.5, 1.0]))
def test_a_victim_buffer_serves_no_more_than_the_same_room_in_lines(
    case: tuple[Trace, int, Tensor], window: int, share: float
) -> None:
    assert ratio(case, "lookahead", window, int(share * case[1])) <= ratio(case, "lookahead", window)


def test_with_a_victim_buffer_a_longer_window_can_serve_less() -> None:
    """The buffer is divided among the batches of the window: two places for the next one, or one for each of two."""
    trace = trace_of([0, 1], [0, 1])
    assert [hit_ratio(trace, "lookahead", 2, window=window, victim=2) for window in (1, 2)] == [0.5, 0.25]
    # and lines given up for it are missed: row 0 comes back after two steps, which a window of one does not see
    trace = trace_of([0], [], [0])
    assert [
        hit_ratio(trace, "lookahead", 2, num_rows=2, window=window, victim=2 * bool(window)) for window in (0, 1)
    ] == [0.5, 0.0]


def test_the_farthest_known_reuse_goes_and_unknown_ones_before_it() -> None:
    ids, reuse, since = np.arange(4), np.array([7, 9, 2**61, 2**61]), np.array([0, 0, 3, 1])
    order = []
    for count in range(1, 5):
        order.append(set(worst(Policy("lookahead").keys(ids, reuse, since, 5), ids, count).tolist()))
    assert order == [{3}, {3, 2}, {3, 2, 1}, {3, 2, 1, 0}]


def test_hybrid_lets_the_lowest_score_go_first_among_the_unknown_then_the_longest_unused() -> None:
    ids, since = np.arange(5), np.array([1, 2, 9, 8, 0])
    reuse = np.array([2**61, 2**61, 2**61, 2**61, 6])
    policy = Policy("hybrid", ranks_of(np.array([5.0, 5.0, 1.0, 9.0, 0.0])))
    keys = policy.keys(ids, reuse, since, 5)
    assert np.argsort(-keys).tolist() == [2, 0, 1, 3, 4]


def test_equal_rows_go_by_id() -> None:
    assert sorted(worst(np.array([1, 5, 5, 5]), np.array([0, 30, 10, 20]), 2).tolist()) == [1, 3]


def test_a_row_used_again_in_its_own_batch_is_no_reuse() -> None:
    trace = trace_of([0, 0, 1], [2], [1])
    assert hit_ratio(trace, "lookahead", 1, window=2) == belady(trace, 1) == 0.25


def test_a_reloaded_row_is_known_again() -> None:
    # row 0 is announced for steps 3 and 5 while it lies in the cache: after step 3 it is wanted at 5, not at 3
    trace = trace_of([0], [1], [2], [0], [3], [0])
    assert hit_ratio(trace, "lookahead", 1, window=5) == belady(trace, 1) == pytest.approx(2 / 6)


def test_a_row_that_is_held_is_known_as_soon_as_its_batch_comes_into_the_window() -> None:
    # row 0 is kept as one of the last two used; when row 2 is read, the window has come to the batch that wants row 0
    trace = trace_of([0], [1], [2], [0])
    assert hit_ratio(trace, "lru", 2) == 0
    assert hit_ratio(trace, "lookahead", 2, window=1) == 0.25


def test_fifo_does_not_mind_use_and_lru_does() -> None:
    trace = trace_of([0], [1], [0], [2], [0])
    assert hit_ratio(trace, "fifo", 2) == 0.2
    assert hit_ratio(trace, "lru", 2) == 0.4


def test_random_depends_on_the_seed_alone() -> None:
    rng = np.random.default_rng(0)
    trace = [torch.from_numpy(rng.integers(0, 60, 20)) for _ in range(30)]
    found = [hit_ratio(trace, "random", 20, seed=seed) for seed in (1, 1, 2, 3)]
    assert found[0] == found[1]
    assert len(set(found)) > 1


# ------------------------------------------------------------------ scores


def test_degree_counts_the_neighbourhoods_that_list_a_node() -> None:
    adj = Adjacency.from_edge_index(torch.tensor([[0, 0, 1, 3, 0], [1, 2, 2, 0, 1]]), num_nodes=4)
    assert out_degree(adj).tolist() == [3, 1, 0, 1]


def test_reverse_pagerank_is_what_a_dense_product_gives() -> None:
    draw = torch.Generator().manual_seed(0)
    edge_index = torch.randint(9, (2, 30), generator=draw)
    adj = Adjacency.from_edge_index(edge_index, num_nodes=9)
    share = torch.zeros(9, 9, dtype=torch.float64)  # [source, destination]
    share.index_put_(tuple(edge_index), torch.ones(30, dtype=torch.float64), accumulate=True)
    share /= share.sum(0).clamp(min=1)
    rank = torch.full((9,), 1 / 9, dtype=torch.float64)
    for _ in range(20):
        rank = 0.15 / 9 + 0.85 * share @ rank
    torch.testing.assert_close(reverse_pagerank(adj), rank)
    assert rank.sum() <= 1 + 1e-9


# ------------------------------------------------------------------ errors


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"policy": "mru"}, r"policy: expected one of degree, .* \(got 'mru'\)"),
        ({"policy": "degree"}, r"scores: expected a score for each row, which degree goes by \(got None\)"),
        ({"policy": "hybrid", "scores": torch.ones(2)}, r"scores: expected 3 numbers.*\(got .*\[2\]\)"),
        ({"policy": "hybrid", "scores": torch.tensor([1, 2, float("nan")])}, "none NaN"),
        ({"capacity": -1}, r"capacity: expected a whole number >= 0 \(got -1\)"),
        ({"window": 0.5}, r"window: expected a whole number"),
        ({"victim": 1}, r"victim: expected .* \(got 1 of 2 for lru\)"),
        ({"policy": "lookahead", "victim": 3}, r"victim: expected at most the capacity"),
        ({"policy": "random", "seed": None}, r"seed: expected a whole number \(got None\)"),
        ({"num_rows": 2}, r"trace: expected ids in \[0, 2\) \(got 2\)"),
        ({"trace": trace_of([0, -3])}, r"trace: expected ids >= 0 \(got -3\)"),
        ({"trace": [torch.ones(2)]}, r"trace: expected a 1-D int32 or int64 tensor"),
    ],
)
def test_what_is_wrong_with_a_replay_is_said(arguments: dict[str, object], said: str) -> None:
    right = {"trace": trace_of([0, 1], [2]), "policy": "lru", "capacity": 2}
    with pytest.raises(ValueError, match=said):
        hit_ratio(**{**right, **arguments})  # type: ignore[arg-type]


def test_scores_of_a_graph_are_refused_where_they_have_no_meaning() -> None:
    bipartite = Adjacency.from_edge_index(torch.tensor([[0], [1]]), num_nodes=(1, 2))
    with pytest.raises(ValueError, match=r"one set of nodes \(got 1 sources, 2 destinations\)"):
        reverse_pagerank(bipartite)
    with pytest.raises(ValueError, match=r"damping: expected a number in \[0, 1\] \(got 2\)"):
        reverse_pagerank(Adjacency.from_edge_index(torch.tensor([[0], [1]])), damping=2)
