"""How many processes there are, and how sums are cut between them."""

from __future__ import annotations

import numpy as np
import pytest

from eventprop.backends.cpu.shared import blocks_of, nodes_of, total
from eventprop.ranks import OFF, Ranks, started

OURS = ("OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE", "PMI_SIZE", "PMI_RANK", "PMIX_RANK", "SLURM_STEP_NUM_TASKS", OFF)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, 1),
        ({"PMI_RANK": "1", "PMI_SIZE": "4"}, 4),  # MPICH's mpirun
        ({"OMPI_COMM_WORLD_SIZE": "3", "PMIX_RANK": "0"}, 3),
        ({"PMIX_RANK": "0", "SLURM_NTASKS": "2", "SLURM_STEP_NUM_TASKS": "2"}, 2),  # srun
        ({"PMIX_RANK": "0", "SLURM_NTASKS": "1", "SLURM_STEP_NUM_TASKS": "1"}, 1),
        ({"SLURM_NTASKS": "4", "SLURM_PROCID": "0"}, 1),  # the script of sbatch
        ({"SLURM_NTASKS": "4", "SLURM_STEP_NUM_TASKS": "4"}, 1),  # srun without MPI
        ({"PMI_SIZE": "4", OFF: "0"}, 1),
    ],
)
def test_launchers_are_known(environment: dict[str, str], expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails if processes that belong together train alone, or if a job of one process waits for others."""
    for name in OURS:
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert started() == expected


@pytest.mark.parametrize("blocks", [1, 2, 3, 7, 8, 13])
def test_sums_do_not_depend_on_how_blocks_are_cut(blocks: int) -> None:
    """Fails if some cut adds blocks up in another order than one process does, which merges them as they come."""
    values = {b: np.float32(np.random.default_rng(b).normal(size=50)) for b in range(blocks)}
    expected = total({(0, b): value for b, value in values.items()}, blocks)
    for size in range(1, blocks + 2):
        cut = [blocks_of(rank, size, blocks) for rank in range(size)]
        assert [b for own in cut for b in own] == list(range(blocks))
        nodes = [node for own in cut for node in nodes_of(own)]
        known = {
            (level, i): total(
                {(0, b - (i << level)): values[b] for b in range(i << level, (i + 1) << level)}, 1 << level
            )
            for level, i in nodes
        }
        assert np.array_equal(total(known, blocks), expected)


def test_one_process_alone_needs_no_other() -> None:
    """Fails if a run without a launcher waits for somebody."""
    alone = Ranks()
    assert (alone.rank, alone.size, alone.share(3), alone.first(lambda: 4), alone.in_turn(lambda: 5)) == (0, 1, 3, 4, 5)
    assert alone.cores(7) == 7 and alone.strangers(dict) == "" and not alone.fails_alone()
    alone.wait()
