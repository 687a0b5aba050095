"""Reproduction of Zhu et al., "Asymmetric Loss Based on Image Properties for Deep Learning-Based
Image Restoration" (CMC 77(3), 2023, doi 10.32604/cmc.2023.045878).

To use in code of your own:

    asyrepro.losses         AsymmetricLoss, the paper's loss, and asymmetric_weight, its mask
    asyrepro.metrics        PSNR, SSIM, RMSE, NRMSE as in the paper's tables, and the literature's
    asyrepro.conventions    the same under every convention that papers use
    asyrepro.models         SRCNN, EDSR, DnCNN and GRUNet (of DPHSIR)
    asyrepro.degradation    bicubic resampling as MATLAB's, and white Gaussian noise

To run, as python -m asyrepro.NAME (--help says how):

    reproduce   a whole study: data, trainings, tables, figures, verdicts (make reproduce)
    train       one training, or a sweep over settings
    evaluate    trained weights on a test set
    restore     denoise or enlarge pictures of your own
    compare     PSNR and SSIM of two images or folders under every convention
    report      a study's tables, figures and verdicts again
    verify      check a study against its weights and hashes
    audit       what the paper's numbers show about themselves
    identify    look for a table's test images in a folder
    get_data    fetch data sets
"""

__version__ = "0.1.0"


def __getattr__(name: str):
    if name not in ("AsymmetricLoss", "asymmetric_weight"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from asyrepro import losses  # not before it is wanted: it needs PyTorch

    return getattr(losses, name)
