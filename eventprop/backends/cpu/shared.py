"""A CPU engine that is one of several: each presents some of a batch's samples, and all get the same sums.

The samples are cut between blocks, and sums follow the tree of ``sums.hpp`` whoever has the blocks. So no bit depends
on how many there are.
"""

from __future__ import annotations

import ctypes

import numpy as np

from eventprop.backends import BatchResult
from eventprop.backends.cpu.engine import CpuEngine
from eventprop.backends.cpu.interface import address, check
from eventprop.network import Network
from eventprop.ranks import Ranks

__all__ = ["SharedEngine", "blocks_of", "nodes_of", "total"]

Node = tuple[int, int]
"""Level and index in the tree: the sum of the 2^level blocks from index * 2^level on."""


def blocks_of(rank: int, size: int, blocks: int) -> range:
    """Which of a batch's blocks a process has."""
    return range(blocks * rank // size, blocks * (rank + 1) // size)


def nodes_of(blocks: range) -> list[Node]:
    """The largest nodes of the tree that lie within some blocks, in their order."""
    nodes: list[Node] = []
    for block in blocks:
        level, index = 0, block
        while index % 2 and nodes and nodes[-1] == (level, index - 1):
            nodes.pop()
            level, index = level + 1, index // 2
        nodes.append((level, index))
    return nodes


def total(sums: dict[Node, np.ndarray], blocks: int) -> np.ndarray:
    """The sum over all blocks of a batch from those of nodes that have each of them once."""

    def of(level: int, index: int) -> np.ndarray:
        if (level, index) in sums:
            return sums[level, index]
        left = of(level - 1, 2 * index)
        return left + of(level - 1, 2 * index + 1) if (2 * index + 1) << (level - 1) < blocks else left

    return of((blocks - 1).bit_length(), 0)


class SharedEngine(CpuEngine):
    """One of several engines that present each batch together; all of them make the same calls.

    Recorded batches are presented by each of them as a whole.

    Args:
        ranks: the processes that they are in.
        num_threads, network: as of :class:`CpuEngine`.
    """

    def __init__(self, network: Network, num_threads: int | None, ranks: Ranks) -> None:
        super().__init__(network, num_threads)
        self._ranks = ranks
        self._all_here = False  # whether each process presents the whole of the batch

    def blocks_in(self, n: int) -> int:
        """Blocks of ``n`` samples, the last of which may be shorter."""
        return -(-n // self.block)

    def _blocks(self, n: int) -> list[range]:
        """The blocks of each process."""
        size = self._ranks.size
        return [blocks_of(rank, size, self.blocks_in(n)) for rank in range(size)]

    def _own(self, n: int, recorded: bool) -> slice:
        self._all_here = recorded
        if recorded:
            return slice(0, n)
        blocks = self._blocks(n)[self._ranks.rank]
        return slice(min(n, blocks.start * self.block), min(n, blocks.stop * self.block))

    def _complete(self, result: BatchResult, silent: np.ndarray, own: slice, status: int) -> None:
        """Results of all samples, and whether all could be presented: who could not tells it in a row of its own."""
        if self._all_here:
            return check(status)
        n = silent.size
        columns = [result.scores, result.loss[:, None], result.measured[:, None], result.spike_counts, silent[:, None]]
        told = [np.full((1, column.shape[1]), status, column.dtype) for column in columns]
        rows = np.concatenate(
            [np.concatenate([t, c[own]]).view(np.uint8) for t, c in zip(told, columns, strict=True)], axis=1
        )
        counts = [1 + min(n, b.stop * self.block) - min(n, b.start * self.block) for b in self._blocks(n)]
        found = self._ranks.gather(rows, counts)
        heads = np.cumsum([0, *counts[:-1]])
        check(int(found[heads, -4:].view(np.int32).max()))
        samples, ends = np.delete(found, heads, axis=0), np.cumsum([c.shape[1] * c.dtype.itemsize for c in columns])
        for column, part in zip(columns, np.split(samples, ends[:-1], axis=1), strict=True):
            column[:] = np.ascontiguousarray(part).view(column.dtype)

    def _finish_gradients(self, n: int) -> None:
        """Each process adds up a part of the numbers for all, and all get all parts."""
        if self._all_here:
            return super()._finish_gradients(n)
        check(self._lib.engine_close_block(self._handle))
        size, ranks = self._lib.engine_sum_size(self._handle), self._ranks
        nodes = [nodes_of(blocks) for blocks in self._blocks(n)]
        own = [self._node(i, size) for i in range(len(nodes[ranks.rank]))]
        cuts = [size * rank // ranks.size for rank in range(ranks.size + 1)]
        widths = [cuts[rank + 1] - cuts[rank] for rank in range(ranks.size)]
        mine = widths[ranks.rank]
        parts = [values[cuts[rank] : cuts[rank + 1]] for rank in range(ranks.size) for values in own]
        sent = own[0] if len(own) == 1 else np.concatenate([*parts, np.empty(0, self._dtype)])
        given = ranks.scatter(sent, [w * len(own) for w in widths], [mine * len(theirs) for theirs in nodes])
        rows = zip((node for theirs in nodes for node in theirs), given.reshape(-1, mine), strict=True)
        added = ranks.gather(total(dict(rows), self.blocks_in(n)), widths)
        check(self._lib.engine_finish_gradients(self._handle, address(added)))

    def _node(self, i: int, size: int) -> np.ndarray:
        """A node of the tree where the engine has it, ``(size,)``."""
        place = (ctypes.c_char * (size * self._dtype.itemsize)).from_address(self._lib.engine_node(self._handle, i))
        return np.frombuffer(memoryview(place), self._dtype)

    def times(self) -> dict[str, float]:
        return {"exchange": self._ranks.seconds}
