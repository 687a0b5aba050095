"""The ways in which papers on image restoration compute PSNR and SSIM, and who uses which.

A number in a paper is comparable with another only if both were computed the same way: on the same
channels, with the same border cut, from pixels rounded alike. :data:`CONVENTIONS` lists the ways of
this field, and :func:`measure` computes them all for one pair of images. They were read from the
code that made the published numbers, or from the port that most people run:

- SRCNN, FSRCNN: the authors' ``demo_SR.m`` and ``demo_FSRCNN.m``. ``rgb2ycbcr`` of the 8-bit image,
  the border of ``scale`` px shaved, ``uint8``; a grey image is taken as it is.
- EDSR: the authors' ``demo/evaluation.m`` (limbee/NTIRE2017). Set5, Set14, B100 and Urban100 as
  above; on DIV2K RGB, with ``scale + 6`` px shaved. Its SSIM is MATLAB's ``ssim()``, which counts
  the repeated pixels outside the image too, and takes RGB for a volume.
- EDSR-PyTorch: ``calc_psnr`` in ``src/utility.py`` (sanghyun-son/EDSR-PyTorch). The difference of
  the 8-bit images times (65.738, 129.057, 25.064)/256, not rounded, ``scale`` px shaved; on DIV2K
  RGB, ``scale + 6`` px. ``set_channel`` makes three channels of a grey file.
- RCAN: ``Evaluate_PSNR_SSIM.m`` (yulunzhang/RCAN). ``rgb2ycbcr`` of ``im2double``, so not rounded;
  a grey image is taken as it is; Wang's ``ssim_index``.
- VDSR: ``compute_psnr.m`` (huangzehao/caffe-vdsr) and ``eval.py`` (twtygqyy/pytorch-vdsr).
  ``rgb2ycbcr`` of doubles, ``scale`` px shaved. The authors' own code was not at hand.
- BasicSR: ``metrics/psnr_ssim.py`` (XPixelGroup/BasicSR). ``crop_border`` px, then RGB, or with
  ``test_y_channel`` the luma, not rounded. Its files for testing EDSR have ``crop_border`` = scale
  and ``test_y_channel: false``; images are read as colour, so that grey ones have R = G = B.
  SwinIR's ``utils/util_calculate_psnr_ssim.py`` is a copy of it.
- KAIR: ``calculate_psnr`` and ``calculate_ssim`` in ``utils/utils_image.py`` (cszn/KAIR). 8 bits,
  ``border`` 0 for denoising and the scale for super-resolution; RGB and, rounded, the luma.
- DnCNN: ``Cal_PSNRSSIM.m`` (cszn/DnCNN). ``im2uint8`` of grey or RGB, no border, ``ssim_index``.
- Restormer on rain: ``Deraining/evaluate_PSNR_SSIM.m`` (swz30/Restormer). Luma of the 8-bit image,
  no border.
- pytorch/examples: ``super_resolution/dataset.py``. Pillow's YCbCr, whose Y has the full range
  (and is rounded down, which changes hundredths of a dB).
- fastMRI: ``evaluate.py`` (facebookresearch/fastMRI). scikit-image's functions with
  ``data_range=gt.max()``.
- the reproduced paper: the printed digits of its Tables 4 and 5 (``asyrepro audit``).

MATLAB's ``rgb2ycbcr`` compresses luma to 16 ... 235 and PSNR is still computed with a peak of 255:
this alone adds 20 log10(255/219) = 1.32 dB to the PSNR of the full-range luma, and of a grey image.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from skimage.color import rgb2gray

from asyrepro import metrics

OWN = "RGB"  # of a grey image: its one channel
MATLAB = "luma 16-235"
FULL = "luma 0-255"
BT709 = "grey (BT.709)"

AS_STORED = "as stored"
ROUNDED = "8 bits"
LUMA_ROUNDED = "8 bits, luma too"

NO_BORDER = "none"
SCALE = "scale"
SCALE_6 = "scale + 6"

AS_IT_IS = "as it is"
AS_RGB = "as R = G = B"
NOT_GREY = "does not apply"


@dataclass(frozen=True)
class Convention:
    """One way to prepare two images for PSNR and SSIM.

    Attributes:
        number: what tables call it.
        channels: OWN, MATLAB (``rgb2ycbcr``), FULL (BT.601 as Pillow, OpenCV and ``rgb2gray`` of
            MATLAB have it) or BT709 (``rgb2gray`` of scikit-image).
        border: pixels cut on every side: NO_BORDER, SCALE or SCALE_6.
        pixels: AS_STORED (neither clipped nor rounded), ROUNDED (clipped and rounded to 8 bits) or
            LUMA_ROUNDED (the luma computed from these is rounded again).
        grey: what becomes of a grey image: AS_IT_IS, AS_RGB (converted to luma as if it had three
            equal channels) or NOT_GREY.
        reported_by: who publishes numbers of this kind.
        peak: "1" (white) or "maximum" (of the reference).
    """

    number: int
    channels: str
    border: str
    pixels: str
    grey: str
    reported_by: str
    peak: str = "1"


CONVENTIONS = tuple(
    Convention(number, *fields)
    for number, fields in enumerate(
        (
            (OWN, NO_BORDER, AS_STORED, AS_IT_IS,
             "scikit-image's defaults (7x7); this repository's tables; the paper's Tables 4, 5"),
            (OWN, NO_BORDER, ROUNDED, AS_IT_IS,
             "denoising: DnCNN, KAIR, SwinIR; BasicSR with crop_border: 0"),
            (OWN, SCALE, ROUNDED, AS_IT_IS,
             "BasicSR's EDSR tests (test_y_channel: false); KAIR's RGB"),
            (OWN, SCALE_6, ROUNDED, AS_IT_IS, "EDSR and EDSR-PyTorch on DIV2K"),
            (MATLAB, SCALE, LUMA_ROUNDED, AS_IT_IS, "SRCNN, FSRCNN, EDSR (authors'); KAIR's Y"),
            (MATLAB, SCALE, ROUNDED, AS_IT_IS, "RCAN (authors'); VDSR (ports)"),
            (MATLAB, SCALE, ROUNDED, AS_RGB,
             "EDSR-PyTorch; SwinIR; BasicSR with test_y_channel: true"),
            (MATLAB, NO_BORDER, LUMA_ROUNDED, AS_IT_IS, "rain removal: Restormer"),
            (FULL, NO_BORDER, LUMA_ROUNDED, NOT_GREY,
             "Y of Pillow or OpenCV, rgb2gray of MATLAB: pytorch/examples"),
            (FULL, SCALE, LUMA_ROUNDED, NOT_GREY, "scripts that take OpenCV's Y for MATLAB's"),
            (BT709, NO_BORDER, AS_STORED, NOT_GREY, "rgb2gray of scikit-image"),
            (OWN, NO_BORDER, AS_STORED, AS_IT_IS,
             "fastMRI: PSNR relative to the reference's maximum (7x7)", "maximum"),
        ),
        start=1,
    )
)  # fmt: skip


class NotApplicableError(Exception):
    """A convention has no value for this pair; the message says why."""


def measure(
    reference: np.ndarray,
    output: np.ndarray,
    *,
    scale: int | None = None,
    border: int | None = None,
) -> list[dict]:
    """PSNR, SSIM, RMSE and NRMSE of one pair of images under every convention.

    Args:
        reference, output: (C, H, W), C = 1 or 3, floating point, white = 1.
        scale: of super-resolution; the border that papers cut. None: conventions that cut one do
            not apply.
        border: cut this many pixels instead of ``scale``.

    Returns:
        A row for each convention: ``number``, and either ``reason``, why it does not apply, or

        - ``border``: pixels cut on every side;
        - ``psnr`` in dB, inf for equal images;
        - ``ssim_7``, ``ssim_11``: SSIM with scikit-image's 7 x 7 uniform and with Wang's 11 x 11
          Gaussian window; NaN if what is left of the image is smaller than the window;
        - ``rmse`` in units of the peak, and ``nrmse``; see :mod:`asyrepro.metrics`.

    Raises:
        TypeError, ValueError: as in :mod:`asyrepro.metrics`.
    """
    known: dict[tuple, dict] = {}  # several conventions agree on grey images and on 8-bit files
    eight_bits = all(
        np.array_equal(image, metrics.round_8bit(image)) for image in (reference, output)
    )
    rows = []
    for convention in CONVENTIONS:
        try:
            cut = _border(convention, scale, border, reference.shape)
            channels = _channels(convention, reference)
            peak = _peak(convention, reference)
        except NotApplicableError as reason:
            rows.append({"number": convention.number, "reason": str(reason)})
            continue
        pixels = convention.pixels
        if channels == OWN and (pixels == LUMA_ROUNDED or eight_bits):
            pixels = ROUNDED
        key = (channels, pixels, cut, peak)
        if key not in known:
            pair = (prepare(image, channels, pixels, cut) / peak for image in (reference, output))
            known[key] = _scores(*pair)
        rows.append({"number": convention.number, "border": cut, **known[key]})
    return rows


def prepare(image: np.ndarray, channels: str, pixels: str, border: int) -> np.ndarray:
    """The pixels that a convention compares: (C, H, W) in [0, 1] -> (C', H - 2b, W - 2b)."""
    if pixels != AS_STORED:
        image = metrics.round_8bit(image)
    if channels != OWN:
        rgb = np.broadcast_to(image, (3, *image.shape[1:]))  # of a grey image: R = G = B
        image = _convert(rgb, channels)
        if pixels == LUMA_ROUNDED:
            image = metrics.round_8bit(image)
    _, height, width = image.shape
    return image[:, border : height - border, border : width - border]


def _convert(rgb: np.ndarray, channels: str) -> np.ndarray:
    if channels == MATLAB:
        return metrics.rgb_to_luma(rgb)
    if channels == FULL:
        return np.tensordot(metrics.GREY, rgb, axes=1)[None]
    return rgb2gray(rgb, channel_axis=0)[None]


def _border(convention: Convention, scale: int | None, border: int | None, shape: tuple) -> int:
    """Pixels to cut on every side."""
    if convention.border == NO_BORDER:
        return 0
    cut = scale if border is None else border
    if convention.border == SCALE_6:
        cut = None if scale is None else scale + 6
    if cut is None:
        raise NotApplicableError("the border depends on the scale, add scale=2, 3 or 4")
    if min(shape[1:]) <= 2 * cut:
        raise NotApplicableError("the border leaves nothing of the image")
    return cut


def _channels(convention: Convention, reference: np.ndarray) -> str:
    """The channels to convert to; for a grey image that is taken as it is, none."""
    if len(reference) == 3 or convention.grey == AS_RGB:
        return convention.channels
    if convention.grey == NOT_GREY:
        raise NotApplicableError("there is no colour to turn into grey")
    return OWN


def _peak(convention: Convention, reference: np.ndarray) -> float:
    if convention.peak == "1":
        return 1.0
    if reference.max() <= 0:
        raise NotApplicableError("the reference's maximum is not above 0")
    if reference.min() < metrics.LOWEST * reference.max():
        raise NotApplicableError("the reference has negative values, large beside its maximum")
    return float(reference.max())


def _scores(reference: np.ndarray, output: np.ndarray) -> dict[str, float]:
    smallest = min(reference.shape[1:])
    wide, gaussian = smallest >= metrics.WINDOW, smallest >= metrics.LITERATURE_WINDOW
    return {
        "psnr": metrics.psnr(reference, output),
        "ssim_7": metrics.ssim(reference, output) if wide else math.nan,
        "ssim_11": metrics.gaussian_ssim(reference, output) if gaussian else math.nan,
        "rmse": metrics.rmse(reference, output),
        "nrmse": metrics.nrmse(reference, output),
    }
