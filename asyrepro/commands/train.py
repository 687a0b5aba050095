"""Train one network with one loss, and evaluate it.

    asyrepro train experiment=table4_dncnn loss=asy_mse seed=0
    asyrepro train -m experiment=table2_srcnn loss=mae,asy_mae seed=0,1,2
    asyrepro train experiment=table4_dncnn loss=asy_mse minutes=8   # as many steps as fit into it

A run's folder is results/<study>/<row>/<loss>/seed<k>/; without study= it is in results/runs. A run
that was cut off is continued, a finished one is skipped, and one whose configuration differs from
its folder's, or from that of the runs it would be averaged with, is refused. SIGTERM, Ctrl-C and
runtime.max_minutes end a run or a sweep after a checkpoint.

Exit status: 0 done; 1 runs of a sweep failed; 2 wrong settings, or the one run failed; 75 not
finished (the time limit, or another process works on the run); 143 SIGTERM, 130 Ctrl-C.

Sweeps: -m and several values of any setting run all combinations, one after the other; with
hydra/launcher=processes several at once, with hydra/launcher=slurm as jobs of a cluster.

    asyrepro train -m model=dncnn task=denoising dataset=bsd400 task.sigma=15,25,50

Hydra's own: --cfg job shows the configuration, --config-dir adds a folder of your own options,
+task.name=value adds an option that its file does not have, --hydra-help lists the rest.
"""

from __future__ import annotations

from asyrepro.runs import guide, jobs
from asyrepro.system.errors import exit_status, say


def main(arguments: list[str]) -> int:
    """Run the command line; returns the exit status, where torchrun's processes do not end here."""
    if {"-h", "--help"} & set(arguments):
        return exit_status(lambda: say(guide.train_help(__doc__)))
    return jobs.main(arguments)
