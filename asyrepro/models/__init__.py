"""The four restoration networks of the paper, each as its own paper defines it.

Networks only: they know nothing of data, losses or configuration. Every ``forward`` takes a
float batch in [0, 1] and returns the restored image batch (N, C, H, W), neither clipped nor
rounded.

``reach`` is how many input pixels beyond its own an output pixel sees, on each side at most. An
image can therefore be restored in windows that overlap (:mod:`asyrepro.restoration.tiling`).

    SRCNN   super-resolution of luma, input already upsampled     8,129 parameters
    EDSR    super-resolution of RGB, input the small image    1,554,499 (baseline, x3)
    DnCNN   denoising of one noise level                        556,032 (17 layers)
    GRUNet  denoising with a noise-level map, DPHSIR's own   14,278,451
"""

from asyrepro.models.dncnn import DnCNN
from asyrepro.models.dphsir import GRUNet
from asyrepro.models.edsr import EDSR
from asyrepro.models.srcnn import SRCNN

__all__ = ["EDSR", "SRCNN", "DnCNN", "GRUNet"]
