"""Loops over rows of a table after a linear map: bias, LayerNorm, dropout and ReLU while a row is in the cache."""

from __future__ import annotations

import numpy as np

from gnnkit.kernels._jit import loop, part
from gnnkit.kernels._math import larger, passed, total
from gnnkit.kernels._vector import read, splat, write, zeros

ROWS = 256  # of a block, whose sums are added up before those of others: no number of threads changes them


@part
def moments(x, r, bias, eps):
    """The mean of x[r] + bias and 1 / sqrt(variance + eps), in two passes."""
    width = x.shape[1]
    whole = width - width % 16
    acc = zeros(x, 16)
    for c in range(0, whole, 16):
        acc = acc + (read(acc, x, r, c, None) + read(acc, bias, 0, c, None))
    added = total(acc)
    for c in range(whole, width):
        added += x[r, c] + bias[0, c]
    mean = x.dtype.type(added / width)
    middle, acc = splat(acc, mean), zeros(x, 16)
    for c in range(0, whole, 16):
        off = read(acc, x, r, c, None) + read(acc, bias, 0, c, None) - middle
        acc = acc + off * off
    squared = total(acc)
    for c in range(whole, width):
        off = x[r, c] + bias[0, c] - mean
        squared += off * off
    return mean, x.dtype.type(1 / np.sqrt(squared / width + eps))


@part
def row_key(seed, r):
    """64 bits of a row: SplitMix64's finaliser."""
    z = seed + np.uint64(r) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@part
def drawn(low, high, c):
    """32 bits of a column; see `gnnkit.kernels._torch_dense.kept`. Numba widens what it computes: cast back."""
    z = np.uint32(np.uint32(c) * np.uint32(0x9E3779B9) + low)
    z = np.uint32((z ^ (z >> np.uint32(16))) * np.uint32(0x85EBCA6B))
    z = np.uint32((z ^ (z >> np.uint32(13)) ^ high) * np.uint32(0xC2B2AE35))
    return np.uint32(z ^ (z >> np.uint32(16)))


@part
def above_zero(y, scale, out, r, c, count):
    """NaN stays."""
    write(larger(y, zeros(out, 16)) * splat(y, scale), out, r, c, count)


@part
def normed_step(x, r, c, count, bias, weight, shift, mean, factor, scale, out):
    y = (read(mean, x, r, c, count) + read(mean, bias, 0, c, count) - mean) * factor
    y = y * read(mean, weight, 0, c, count) + read(mean, shift, 0, c, count)
    above_zero(y, scale, out, r, c, count)


@part
def biased_step(x, r, c, count, bias, scale, out):
    like = zeros(x, 16)
    above_zero(read(like, x, r, c, count) + read(like, bias, 0, c, count), scale, out, r, c, count)


@loop
def norm_relu(low, high, x, bias, weight, shift, eps, seed, drop, scale, out):
    """out[r] = relu(dropout(layer_norm(x[r] + bias))); without weight no norm. ``out`` may be x."""
    width, zero = x.shape[1], x.dtype.type(0)
    whole, rest = width - width % 16, width % 16
    for r in range(low, high):
        if weight is not None:
            center, slope = moments(x, r, bias, eps)
            mean, factor = splat(zeros(x, 16), center), splat(zeros(x, 16), slope)
            for c in range(0, whole, 16):
                normed_step(x, r, c, None, bias, weight, shift, mean, factor, scale, out)
            if rest:
                normed_step(x, r, whole, rest, bias, weight, shift, mean, factor, scale, out)
        else:
            for c in range(0, whole, 16):
                biased_step(x, r, c, None, bias, scale, out)
            if rest:
                biased_step(x, r, whole, rest, bias, scale, out)
        if drop > 0:
            key = row_key(seed, r)
            lower, upper = np.uint32(key & np.uint64(0xFFFFFFFF)), np.uint32(key >> np.uint64(32))
            for c in range(width):
                out[r, c] = out[r, c] if drawn(lower, upper, c) >= drop else zero
    return 0


@part
def masked(acc, out, grad, scale, r, c, count):
    """The gradient of what ReLU sees."""
    return passed(read(acc, out, r, c, count), read(acc, grad, r, c, count)) * splat(acc, scale)


@part
def add_to(value, table, row, c, count):
    write(read(value, table, row, c, count) + value, table, row, c, count)


@part
def plain_step(b, r, c, count, out, grad, scale, dx, sums):
    g = masked(zeros(dx, 16), out, grad, scale, r, c, count)
    write(g, dx, r, c, count)
    add_to(g, sums, 3 * b, c, count)


@part
def first_step(b, r, c, count, x, bias, weight, mean, factor, out, grad, scale, sums, added, dotted):
    g = masked(added, out, grad, scale, r, c, count)
    normed = (read(added, x, r, c, count) + read(added, bias, 0, c, count) - mean) * factor
    add_to(g * normed, sums, 3 * b + 1, c, count)
    add_to(g, sums, 3 * b + 2, c, count)
    d = g * read(added, weight, 0, c, count)
    return added + d, dotted + d * normed


@part
def second_step(b, r, c, count, x, bias, weight, mean, factor, out, grad, scale, dx, sums, added, dotted):
    d = masked(added, out, grad, scale, r, c, count) * read(added, weight, 0, c, count)
    normed = (read(added, x, r, c, count) + read(added, bias, 0, c, count) - mean) * factor
    result = factor * (d - added - normed * dotted)
    write(result, dx, r, c, count)
    add_to(result, sums, 3 * b, c, count)


@loop
def norm_relu_backward(low, high, x, out, grad, bias, weight, eps, scale, dx, sums):
    """dx, and for each block b of rows sums[3 b : 3 b + 3] += the gradients of bias, weight and shift."""
    num_rows, width = x.shape
    whole, rest = width - width % 16, width % 16
    for b in range(low, high):
        for r in range(b * ROWS, min((b + 1) * ROWS, num_rows)):
            if weight is None:
                for c in range(0, whole, 16):
                    plain_step(b, r, c, None, out, grad, scale, dx, sums)
                if rest:
                    plain_step(b, r, whole, rest, out, grad, scale, dx, sums)
            else:
                center, slope = moments(x, r, bias, eps)
                added, dotted = zeros(x, 16), zeros(x, 16)
                mean, factor = splat(added, center), splat(added, slope)
                ends = x, bias, weight, mean, factor, out, grad, scale
                for c in range(0, whole, 16):
                    added, dotted = first_step(b, r, c, None, *ends, sums, added, dotted)
                if rest:
                    added, dotted = first_step(b, r, whole, rest, *ends, sums, added, dotted)
                size = x.dtype.type(width)
                added, dotted = splat(added, total(added) / size), splat(added, total(dotted) / size)
                for c in range(0, whole, 16):
                    second_step(b, r, c, None, *ends, dx, sums, added, dotted)
                if rest:
                    second_step(b, r, whole, rest, *ends, dx, sums, added, dotted)
    return 0
