"""Execute notebooks in place: ``python scripts/notebooks.py notebooks/*.ipynb`` (make notebooks).

Each runs in its own folder, in a fresh kernel of this Python. What would differ from one execution
to the next without meaning anything (times, versions) is not kept, so that git shows a change only
where an output has changed. A notebook with an error is left as it was; the status is then 1.
"""

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from asyrepro.system.files import write_text

TIMEOUT = 600  # seconds a cell
KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}


def execute(path: Path) -> None:
    """Run a notebook from top to bottom and write its outputs into it.

    Raises:
        CellExecutionError: a cell failed; the file is as it was.
    """
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=TIMEOUT,
        kernel_name=KERNEL["name"],
        record_timing=False,
        extra_arguments=["--log-level=ERROR"],  # the kernel's own remarks
        resources={"metadata": {"path": path.parent}},
    )
    client.execute()
    notebook.metadata = {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    write_text(path, nbformat.writes(notebook) + "\n")


def main(paths: list[str]) -> int:
    failed = not paths
    if failed:
        print("give the notebooks to execute: notebooks/*.ipynb", file=sys.stderr)
    for path in map(Path, paths):
        try:
            execute(path)
            print(f"{path}: executed")
        except CellExecutionError as error:
            print(f"{path}: {error}", file=sys.stderr)
            failed = True
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
