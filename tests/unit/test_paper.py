"""The paper's numbers: every digit of Tables 2-5, and the constants hidden in them."""

from decimal import Decimal

import numpy as np
import pytest

from asyrepro import paper
from asyrepro.paper.tables import ratios

# Sums over the ten images of each printed column, added up from the text of the paper as printed:
# {table: {loss: (PSNR, SSIM, RMSE)}}.
COLUMN_SUMS = {
    2: {
        "mae": ("277.33479", "8.48036", "0.66156"),
        "mse": ("275.07071", "8.41509", "0.680050"),
        "asy_mae": ("278.13327", "8.48422", "0.65624"),
        "asy_mse": ("275.55635", "8.42467", "0.67646"),
    },
    3: {
        "mae": ("256.07042", "8.43862", "0.81480"),
        "mse": ("132.96716", "5.46878", "3.33111"),
        "asy_mae": ("274.53929", "8.57256", "0.66960"),
        "asy_mse": ("170.23450", "6.40111", "2.17529"),
    },
    4: {
        "mae": ("298.60044", "8.56529", "0.61056"),
        "mse": ("299.52049", "8.59925", "0.60413"),
        "asy_mae": ("299.78118", "8.58449", "0.60248"),
        "asy_mse": ("300.99094", "8.60863", "0.59414"),
    },
    5: {
        "mae": ("319.10066", "8.57041", "0.57501"),
        "mse": ("319.81528", "8.59292", "0.57096"),
        "asy_mae": ("320.62886", "8.59136", "0.56586"),
        "asy_mse": ("321.24072", "8.60259", "0.56158"),
    },
}
# The same numbers the other way: sums over a row's four losses and three metrics.
ROW_SUMS = {
    2: "119.002508 120.037177 101.33791 120.829135 104.36375 "
    "121.07506 119.83101 131.52039 96.84863 107.72820",
    3: "88.55611 90.81683 83.01767 89.48160 83.57799 87.10165 88.63318 92.65361 80.58686 85.25774",
    4: "126.18606 120.88656 124.89147 119.49927 120.37539 "
    "132.32983 122.32394 123.29952 122.98408 122.88590",
    5: "137.04700 135.46643 138.69848 121.51317 126.23713 "
    "135.88973 135.42271 131.16232 128.99356 126.98568",
}


def exact(values):
    """The decimal numbers behind floats read from decimal text, added without rounding."""
    return sum((Decimal(repr(float(value))) for value in values), Decimal(0))


def test_column_sums_are_those_of_the_printed_text():
    frame = paper.tables()
    for table, losses in COLUMN_SUMS.items():
        for loss, sums in losses.items():
            part = frame[(frame["table"] == table) & (frame["loss"] == loss)]
            for metric, total in zip(("psnr", "ssim", "rmse"), sums, strict=True):
                assert exact(part[metric]) == Decimal(total), (table, loss, metric)


def test_row_sums_are_those_of_the_printed_text():
    frame = paper.tables()
    for table, sums in ROW_SUMS.items():
        for image, total in enumerate(sums.split(), start=1):
            part = frame[(frame["table"] == table) & (frame["image"] == image)]
            found = exact(part[["psnr", "ssim", "rmse"]].to_numpy().ravel())
            assert found == Decimal(total), (table, image)


def test_ratios_worked_by_hand():
    # Table 2, image 1, MAE: 10^(-28.92492/20) = 0.03579...; over 0.05455 it is 0.6561
    row = ratios().iloc[0]
    assert row["rmse_eq9"] == pytest.approx(np.exp(-28.92492 / 20 * np.log(10)))
    assert row["rms"] == pytest.approx(0.65608, abs=5e-6)
    assert row["k"] * row["rms"] == pytest.approx(1)
    assert row["low"] < row["rms"] < row["high"]
    # half a unit in 0.05455's last digit is 9.2e-5 of it, and PSNR's adds 5.8e-7
    assert row["high"] / row["rms"] - 1 == pytest.approx(9.2e-5, rel=0.02)
    # image 1, MSE has six decimals, a tenth of that uncertainty
    assert ratios().iloc[1]["high"] / ratios().iloc[1]["rms"] - 1 == pytest.approx(9.5e-6, rel=0.02)


def test_constants_of_tables_2_and_3():
    known = [0.65606, 0.64496, 0.61276, 0.64908, 0.65473]
    known += [0.66703, 0.66514, 0.64869, 0.66248, 0.64231]
    assert paper.constants(2, 3)["value"].round(5).tolist() == known
    two, three = paper.constants(2), paper.constants(3)
    assert (two["value"] - three["value"]).abs().max() < 5e-5  # the same ten images


def test_known_images():
    known = paper.known_images()
    assert set(known) == {4, 5}
    assert known[4] == tuple(f"{number:02d}" for number in range(3, 13))
    assert known[5][0] == "227092" and len(set(known[5])) == 10
