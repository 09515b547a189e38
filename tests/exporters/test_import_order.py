from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("module", ["exporters.retrieval", "exporters.services", "exporters.students"])
def test_a_module_can_be_the_first_one_that_a_process_imports(module: str) -> None:
    """usearch and ONNX Runtime in the wrong order end the process with a segmentation fault."""
    code = f"import {module}, onnxruntime, usearch.index"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
