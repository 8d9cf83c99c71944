"""The notebooks in git: a known format, no outputs, and imports that the project declares."""

from __future__ import annotations

import ast
import sys
import tomllib
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
# What is imported under another name than it is installed by; IPython comes with the kernel.
IMPORT_NAMES = {"scikit-learn": "sklearn", "python-dotenv": "dotenv", "faiss-cpu": "faiss", "ipykernel": "IPython"}

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def code(notebook: NotebookNode) -> list[str]:
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


def allowed() -> set[str]:
    """Top-level modules: the standard library, our rooms, and declared dependencies."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    declared = [*project["project"]["dependencies"], *project["project"]["optional-dependencies"]["dev"]]
    names = [requirement.split(">=")[0].split("==")[0].strip() for requirement in declared]
    ours = {pattern.rstrip("*") for pattern in project["tool"]["setuptools"]["packages"]["find"]["include"]}
    return {*sys.stdlib_module_names, *ours, *(IMPORT_NAMES.get(name, name) for name in names)}


def test_all_are_there() -> None:
    assert [path.name for path in NOTEBOOKS] == [
        "01_explore_data.ipynb",
        "02_recall_comparison.ipynb",
        "03_ranking_and_funnel.ipynb",
        "04_rerank.ipynb",
    ]


@each_notebook
def test_format_and_nothing_of_a_run(path: Path) -> None:
    notebook = nbformat.read(path, as_version=nbformat.NO_CONVERT)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    assert notebook.metadata.kernelspec.name == "python3"
    for cell in notebook.cells:
        assert not cell.get("outputs"), f"cell {cell.id} carries outputs; clear them before you commit"
        assert cell.get("execution_count") is None, f"cell {cell.id} carries an execution count"
        assert not cell.metadata, f"cell {cell.id} carries metadata: {dict(cell.metadata)}"


@each_notebook
def test_imports_only_what_the_project_declares(path: Path) -> None:
    known = allowed()
    for source in code(nbformat.read(path, as_version=nbformat.NO_CONVERT)):
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0
                names = [node.module or ""]
            else:
                continue
            assert {name.split(".")[0] for name in names} <= known


@each_notebook
def test_prose_before_every_chapter_and_thin_cells(path: Path) -> None:
    notebook = nbformat.read(path, as_version=nbformat.NO_CONVERT)
    assert notebook.cells[0].cell_type == "markdown"
    assert notebook.cells[-1].cell_type == "markdown"
    for source in code(notebook):
        assert len(source.splitlines()) <= 45, "longer code belongs in a package, with tests"
