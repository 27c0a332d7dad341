"""Execute the notebooks of the course in place, so that what is committed is what the package does.

    python -m notebooks.execute notebooks/*.ipynb

The kernel is the running Python: no installed kernel, profile or start-up file is used, one thread computes, and
pictures are drawn inline. What changes from run to run or belongs to one machine is taken out before a notebook
is written: times, the state of widgets (large, and dead without a kernel) and the exact version of the
interpreter. The version of the package is stamped into the metadata as `dashtheory_version`.

Needs the extra `notebook` (nbclient, nbformat, ipykernel).
"""

from __future__ import annotations

import copy
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from jupyter_core.paths import jupyter_runtime_dir
from nbclient import NotebookClient
from nbformat import NotebookNode

from dashtheory._version import __version__
from dashtheory.record import write_text

STAMP = "dashtheory_version"
"""Key of the notebook's metadata that holds the version of the package that executed it."""

SOLUTION = "solution"
"""Tag of a cell that solves an exercise; it is folded in JupyterLab, with its output."""

FOLDED = {"source_hidden": True, "outputs_hidden": True}

WIDGET = "application/vnd.jupyter.widget-view+json"
_TEXT = ("text/plain", "text/html", "text/markdown", "text/latex")
_ENVIRONMENT = {
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    "OMP_NUM_THREADS": "1",
    "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    "PYTHONHASHSEED": "0",
}


class _ThisPython(KernelSpecManager):
    """One kernel: the Python that runs this."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        """The same kernel, whatever its name."""
        command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(argv=command, display_name="Python 3", language="python")


class _Kernel(AsyncKernelManager):
    """A kernel of this Python, reached by files and not over the network."""

    def __init__(self, **traits: Any) -> None:
        sockets = str(Path(jupyter_runtime_dir(), "kernel"))
        super().__init__(**{"kernel_spec_manager": _ThisPython(), "transport": "ipc", "ip": sockets} | traits)


def read(path: Path) -> NotebookNode:
    """The notebook at `path`, in format 4."""
    notebook: NotebookNode = nbformat.reads(path.read_text(encoding="utf-8"), as_version=4)  # type: ignore[no-untyped-call]
    return notebook


def write(path: Path, notebook: NotebookNode) -> None:
    """Write a notebook to `path`, atomically."""
    text: str = nbformat.writes(notebook)  # type: ignore[no-untyped-call]
    write_text(path, text + "\n")


def execute(notebook: NotebookNode, folder: Path, *, timeout: float = 600) -> NotebookNode:
    """Run every cell in a fresh kernel and clean the result.

    Args:
        notebook: format 4.5; not modified.
        folder: working folder of the kernel.
        timeout: seconds per cell.

    Returns:
        a new notebook with its outputs and the stamp.

    Raises:
        nbclient.exceptions.CellExecutionError: if a cell fails.
    """
    work = copy.deepcopy(notebook)
    with _surroundings():
        NotebookClient(
            work,
            kernel_manager_class=_Kernel,
            timeout=timeout,
            resources={"metadata": {"path": str(folder)}},
            store_widget_state=False,
        ).execute()
    return clean(work)


@contextmanager
def _surroundings() -> Iterator[None]:
    """Environment of the kernel: nobody's profile or configuration; the caller's comes back."""
    before = dict(os.environ)
    with tempfile.TemporaryDirectory(prefix="nb") as home:
        os.environ.update(_ENVIRONMENT)
        for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR"):
            os.environ[name] = tempfile.mkdtemp(dir=home)
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)


def clean(notebook: NotebookNode) -> NotebookNode:
    """A copy without what changes from run to run, stamped with the version of the package.

    Dropped: metadata of execution and widgets, outputs that are a widget, the interpreter's version. Solutions
    of exercises are folded.
    Joined: pieces of one stream, which arrive cut in different places.
    """
    result = copy.deepcopy(notebook)
    result["metadata"] = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
        STAMP: __version__,
    }
    for cell in result.cells:
        cell["metadata"] = {key: value for key, value in cell.metadata.items() if key == "tags"}
        if SOLUTION in cell["metadata"].get("tags", []):
            cell["metadata"]["jupyter"] = dict(FOLDED)
        if cell.cell_type == "code":
            cell.outputs = _join_streams([one for one in cell.outputs if WIDGET not in one.get("data", {})])
    return result


def _join_streams(outputs: Sequence[NotebookNode]) -> list[NotebookNode]:
    joined: list[NotebookNode] = []
    for one in outputs:
        if one.output_type == "stream" and joined and joined[-1].get("name") == one.name:
            joined[-1].text += one.text
        else:
            joined.append(one)
    return joined


def text_outputs(notebook: NotebookNode) -> dict[str, list[str]]:
    """Everything that a reader of each code cell reads as text, by the cell's id.

    Streams, errors and the text forms of results count; of a picture inside HTML its alternative text alone does,
    without its numbers: those of a network that is trained live may differ from machine to machine. Memory
    addresses and the text form of a picture are left out.
    """
    return {
        cell.id: [text for one in cell.outputs for text in _texts(one)]
        for cell in notebook.cells
        if cell.cell_type == "code"
    }


def _texts(output: NotebookNode) -> Iterator[str]:
    if output.output_type == "stream":
        yield f"{output.name}: {output.text}"
        return
    if output.output_type == "error":
        yield f"error: {output.ename}: {output.evalue}"
        return
    data: dict[str, Any] = output.get("data", {})
    is_picture = any(kind.startswith("image/") for kind in data)
    for kind in _TEXT:
        if kind in data and not (is_picture and kind == "text/plain"):
            text = re.sub(r'<img\b[^>]*\balt="([^"]*)"[^>]*>', _alone, data[kind])
            yield f"{kind}: {re.sub(r'0x[0-9a-f]{6,}', '0x', text)}"


def _alone(picture: re.Match[str]) -> str:
    """A picture's alternative text without its numbers."""
    return f'<img alt="{re.sub("[0-9][0-9.,]*", "#", picture[1])}">'


def main(arguments: Sequence[str] | None = None) -> int:
    """Execute the notebooks named on the command line in place; returns the exit status."""
    paths = [Path(name) for name in (sys.argv[1:] if arguments is None else arguments)]
    if not paths:
        print("usage: python -m notebooks.execute NOTEBOOK ...", file=sys.stderr)
        return 2
    for path in paths:
        print(path, flush=True)
        write(path, execute(read(path), path.resolve().parent))
    return 0


if __name__ == "__main__":
    sys.exit(main())
