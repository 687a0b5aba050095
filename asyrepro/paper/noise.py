"""Which noise level Tables 4 and 5 fit, judged by what a good denoiser reaches at each."""

from __future__ import annotations

import numpy as np
import pandas as pd

from asyrepro.paper.tables import tables

SIGMAS = (15, 25, 50)

#: PSNR of the published DnCNN-S on Set12's images 03 ... 12, dB, by noise level: Table III of
#: Zhang et al., "Beyond a Gaussian Denoiser" (IEEE TIP 26(7), 2017). Their means over all twelve
#: images, the first two included, are 32.859, 30.436 and 27.178. Entered without the article at
#: hand: these digits agree with those means and, at 25, with the 30.44 dB its authors report, but
#: compare them with the article before building on a single image's figure.
PUBLISHED_DNCNN = {
    15: (33.30, 32.20, 33.09, 31.70, 31.83, 34.62, 32.64, 32.42, 32.46, 32.47),
    25: (30.87, 29.41, 30.28, 29.13, 29.43, 32.44, 30.00, 30.21, 30.10, 30.12),
    50: (27.32, 25.70, 26.78, 25.87, 26.48, 29.39, 26.22, 27.20, 27.24, 26.90),
}


def noise_images(greys: dict[int, dict[str, np.ndarray]]) -> pd.DataFrame:
    """Noise levels, image by image: what a network would have started from and could reach.

    Returns:
        One row an image and sigma (15, 25, 50): ``table``, ``no``, ``image``, ``sigma``,
        ``psnr_noisy`` and ``nrmse_noisy`` (of white Gaussian noise of that level, neither clipped
        nor rounded: -20 log10(sigma/255), and sigma/255 over the image's RMS), ``paper_psnr`` and
        ``paper_nrmse`` (the best of the four losses), ``published`` (DnCNN-S as its authors report
        it; Table 4 only) and ``nlm`` (scikit-image's non-local means on this project's test noise).
    """
    printed = tables()
    rows = []
    for table, images in greys.items():
        cells = printed[printed["table"] == table].groupby("image")
        best_psnr, best_nrmse = cells["psnr"].max(), cells["rmse"].min()
        for no, (name, pixels) in enumerate(images.items(), start=1):
            rms = float(np.sqrt((pixels**2).mean()))
            for sigma in SIGMAS:
                known = PUBLISHED_DNCNN[sigma][no - 1] if table == 4 else float("nan")
                rows.append(
                    {
                        **{"table": table, "no": no, "image": name, "sigma": sigma},
                        "psnr_noisy": -20 * np.log10(sigma / 255),
                        "nrmse_noisy": sigma / 255 / rms,
                        "paper_psnr": best_psnr[no],
                        "paper_nrmse": best_nrmse[no],
                        "published": known,
                        "nlm": non_local_means_psnr(name, pixels, sigma),
                    }
                )
    return pd.DataFrame(rows)


def non_local_means_psnr(name: str, pixels: np.ndarray, sigma: float) -> float:
    """PSNR (dB) of non-local means at a known noise level, on this project's test noise."""
    from skimage.restoration import denoise_nl_means

    from asyrepro.degradation import test_noise

    level = sigma / 255
    noisy = pixels + test_noise(name, sigma, (1, *pixels.shape)).numpy()[0].astype(np.float64)
    output = denoise_nl_means(
        noisy, patch_size=5, patch_distance=4, h=0.8 * level, sigma=level, fast_mode=True
    )
    return float(-10 * np.log10(((output - pixels) ** 2).mean()))


def with_reference(images: pd.DataFrame) -> pd.DataFrame:
    """The rows of :func:`noise_images` with ``reference``, the PSNR of a good denoiser.

    For Table 4 it is the published DnCNN-S on the same images. For Table 5 none is published image
    by image; there it is non-local means plus the mean by which the published DnCNN-S beats
    non-local means on Table 4's images at that sigma: a rough stand-in, NaN without Table 4's
    images. (Search distances of 3 to 7 pixels give the same answer.)
    """
    four = images[images["table"] == 4]
    leads = (four["published"] - four["nlm"]).groupby(four["sigma"]).mean()
    stand_in = images["nlm"] + images["sigma"].map(leads)
    return images.assign(reference=images["published"].where(images["table"] == 4, stand_in))


def noise_level(images: pd.DataFrame) -> pd.DataFrame:
    """Which sigma the denoising tables fit, from :func:`noise_images`.

    Returns:
        One row a table and sigma: ``table``, ``sigma``, ``psnr_noisy``, ``paper_psnr`` (mean),
        ``gain`` (over the noisy image), ``reference`` (mean of :func:`with_reference`'s),
        ``difference`` (reference minus paper, mean over the images), ``deviation`` (its standard
        deviation over them).
    """
    images = with_reference(images)
    images["gain"] = images["paper_psnr"] - images["psnr_noisy"]
    images["difference"] = images["reference"] - images["paper_psnr"]
    groups = images.groupby(["table", "sigma"])
    levels = groups[["psnr_noisy", "paper_psnr", "gain", "reference", "difference"]].mean()
    return levels.assign(deviation=groups["difference"].std()).reset_index()


def implied_sigma(levels: pd.DataFrame) -> dict[int, float]:
    """Sigma at which the reference would score what the paper prints, by table.

    Linear interpolation of :func:`noise_level`'s ``difference`` in log sigma.
    """
    result = {}
    for table, part in levels.dropna(subset="difference").groupby("table"):
        part = part.sort_values("difference")
        result[int(table)] = float(
            np.exp(np.interp(0, part["difference"], np.log(part["sigma"].astype(float))))
        )
    return result
