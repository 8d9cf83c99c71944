"""Run the notebooks from top to bottom, each in a fresh kernel of this interpreter; their files stay as they are.

    PYTHONPATH=. python notebooks/execute.py --data_dir data
    PYTHONPATH=. python notebooks/execute.py --data_dir data --html build/notebooks
    PYTHONPATH=. python notebooks/execute.py --data_dir data notebooks/02_recall_comparison.ipynb

Prints one line per notebook. The first failing cell ends the run: its source and error go to stderr, exit code 1.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from pathlib import Path
from time import perf_counter

import nbformat
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode

from evaluation.report import write_text
from reccore import DataError, Workspace
from reccore.workspace import require
from scripts._cli import run

FOLDER = Path(__file__).resolve().parent
DATA_VARIABLE = "MOVIELENS_REC_DATA"
SECONDS_PER_CELL = 600
WITHOUT_SCRIPTS = """{% extends 'lab/index.html.j2' %}
{% block html_head_js %}{% endblock %}
{% block html_head_js_mathjax %}{% endblock %}
{% block html_head_js_mermaidjs %}{% endblock %}
"""
_ANSI = re.compile(r"\x1b\[[0-9;]*m")


class ThisInterpreter(KernelSpecManager):
    """Offers one kernel, the Python that runs this program, whatever kernels are installed."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        command = [sys.executable, "-m", "ipykernel_launcher", "--log-level=ERROR", "-f", "{connection_file}"]
        return KernelSpec(argv=command, display_name=kernel_name, language="python")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--data_dir", type=Path, default=Path("data"), help="data root (default: data)")
    parser.add_argument("--html", type=Path, metavar="FOLDER", help="write each with its outputs and pictures as HTML")
    parser.add_argument("notebooks", type=Path, nargs="*", help="which ones (default: all of this folder, in order)")
    args = parser.parse_args(argv)
    require(Workspace(args.data_dir).prepared, "prepared data", "prepare_two_tower_data.py")
    for path in args.notebooks or sorted(FOLDER.glob("*.ipynb")):
        started = perf_counter()
        failure = execute(path, args.data_dir, args.html)
        if failure is not None:
            print(f"{path.name} failed after {perf_counter() - started:.1f} s", flush=True)
            print(failure, file=sys.stderr)
            sys.exit(1)
        print(f"{path.name} {perf_counter() - started:.1f} s", flush=True)


def execute(path: Path, data_dir: Path, html: Path | None = None) -> str | None:
    """Run one notebook in its own folder on a data root, and write it with its outputs into the folder ``html``.

    Returns:
        None if every cell ran, else the failing cell's source and its error.

    Raises:
        DataError: the file is missing or is not a notebook.
    """
    try:
        notebook = nbformat.read(path, as_version=4)
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read the notebook {path}: {error}") from error
    client = NotebookClient(
        notebook,
        km=AsyncKernelManager(kernel_spec_manager=ThisInterpreter()),
        timeout=SECONDS_PER_CELL,
        resources={"metadata": {"path": str(path.resolve().parent)}},
    )
    try:
        client.execute(env={**os.environ, DATA_VARIABLE: str(data_dir.resolve())})
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        return _ANSI.sub("", str(error))
    if html is not None:
        write_text(html / f"{path.stem}.html", to_html(notebook, path.stem))
    return None


def to_html(notebook: NotebookNode, title: str) -> str:
    """An executed notebook as one HTML file that loads nothing from elsewhere; pictures lie in the file."""
    from nbconvert import HTMLExporter

    exporter = HTMLExporter(raw_template=WITHOUT_SCRIPTS, embed_images=True)
    page, _ = exporter.from_notebook_node(notebook, resources={"metadata": {"name": title}})
    return page


if __name__ == "__main__":
    run(main)
