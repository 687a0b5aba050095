"""Reproduction of Zhu et al., "Asymmetric Loss Based on Image Properties for Deep Learning-Based
Image Restoration" (CMC 77(3), 2023, doi 10.32604/cmc.2023.045878).

To use in code of your own:

    asyrepro.losses         AsymmetricLoss, the paper's loss, and asymmetric_weight, its mask
    asyrepro.metrics        PSNR, SSIM, RMSE, NRMSE as in the paper's tables, and the literature's
    asyrepro.conventions    the same under every convention that papers use
    asyrepro.models         SRCNN, EDSR, DnCNN and GRUNet (of DPHSIR)
    asyrepro.degradation    bicubic resampling as MATLAB's, and white Gaussian noise

To run: asyrepro COMMAND name=value ..., or python -m asyrepro; asyrepro --help lists the commands.
"""

from typing import TYPE_CHECKING

__version__ = "0.1.0"
__all__ = ["AsymmetricLoss", "asymmetric_weight"]

if TYPE_CHECKING:
    from asyrepro.losses import AsymmetricLoss, asymmetric_weight
else:

    def __getattr__(name: str):
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from asyrepro import losses  # not before it is wanted: it needs PyTorch

        return getattr(losses, name)
