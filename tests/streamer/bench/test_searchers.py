from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from streamer.bench.item_vectors import clustered
from streamer.bench.searchers import KINDS

SAMPLE = clustered(600, 8, 3)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_answers_so_many_distinct_rows_and_says_what_it_holds(kind):
    searcher = KINDS[kind](SAMPLE.items)
    for query in SAMPLE.queries:
        rows = searcher.search(query, 10)
        assert len(set(rows.tolist())) == 10 and rows.min() >= 0 and rows.max() < 600
        scores = SAMPLE.items[rows] @ query
        assert (np.diff(scores) <= 1e-4).all()
    assert searcher.nbytes >= SAMPLE.items.nbytes


def test_the_peers_can_be_loaded_in_a_process_that_runs_graphs():
    """usearch and ONNX Runtime in the wrong order end the process with a segmentation fault."""
    code = "from streamer.bench import searchers as s; s._needed('usearch.index', 'usearch'); import onnxruntime"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
