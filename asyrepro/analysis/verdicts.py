"""Do the paper's claims hold? Each claim is a filter on the comparisons and a rule.

The comparisons are those of :mod:`asyrepro.analysis.comparisons` and, by region of the image,
:mod:`asyrepro.analysis.mechanism`; the statistics are in :mod:`asyrepro.analysis.statistics`, the
rules and their thresholds in :mod:`asyrepro.paper.claims`.

Verdicts are not corrected for multiplicity; the column ``p_holm`` gives p after Holm's correction
over all comparisons of the same kind in the study.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from asyrepro.analysis import titles
from asyrepro.analysis.comparisons import KINDS, NUMBERS, comparisons
from asyrepro.analysis.pairs import kinds_of, paired, wide
from asyrepro.analysis.statistics import crossed_interval, t_interval
from asyrepro.metrics import METRICS, PRINTED
from asyrepro.paper.claims import (
    BETTER,
    CLAIMS,
    EXCLUDED,
    LEVEL,
    MINIMUM_REPETITIONS,
    MINIMUM_SEEDS,
    NEITHER,
    NO_SIZE,
    NOT_EXCLUDED,
    NOT_JUDGED,
    WORSE,
    Claim,
    judge,
    verdict,
)
from asyrepro.runs import results
from asyrepro.system.errors import DataError

WHERE = ("table", "model", "dataset", "kind", "base", "loss", "against", "metric")
COLUMNS = (*WHERE, *NUMBERS, "direction", "size", "verdict", "reason")


def verdicts(
    metrics: pd.DataFrame, paper: pd.DataFrame | None, with_power: bool = False
) -> pd.DataFrame:
    """:func:`view` of a tidy table's comparisons."""
    return view(comparisons(metrics, paper, with_power))


def view(table: pd.DataFrame) -> pd.DataFrame:
    """The comparisons on the paper's tables, without a sweep's variants.

    Args:
        table: of :func:`asyrepro.analysis.comparisons.comparisons`.

    Returns:
        One row per table, model, dataset, comparison and metric, sorted; ``reason`` also names
        what was left out.
    """
    rows = table[(table["table"] != "") & (table["variant"] == "") & table["metric"].isin(PRINTED)]
    rows = rows.assign(
        reason=["; ".join(filter(None, both)) for both in rows[["reason", "notes"]].to_numpy()],
        table=rows["table"].astype(int),
        of_base=[results.loss_rank(base) for base in rows["base"]],
        of_kind=rows["kind"].map(KINDS.index),
        of_loss=[results.loss_rank(loss) for loss in rows["loss"]],
    )
    keys = ["table", "model", "dataset", "of_base", "of_kind", "of_loss"]
    return rows.sort_values(keys, kind="stable")[list(COLUMNS)].reset_index(drop=True)


def attribution(table: pd.DataFrame) -> pd.DataFrame:
    """Does an effect come from the asymmetry or from a smaller loss scale?

    Args:
        table: what :func:`view` returned.

    Returns:
        One row per table, model, dataset, base loss and metric with asy compared with its base
        and with the normalized and shuffled controls: ``effect`` (better, worse, or none shown),
        ``source`` by a fixed rule. The asymmetry plays a part if asy differs
        from the shuffled control in the effect's direction, the scale if it differs from the
        normalized control in that direction.
    """
    where, found = ["table", "model", "dataset", "base", "metric"], []
    for keys, group in table.groupby(where, sort=False):
        base = keys[3]
        asymmetric = f"asy_{base}"
        known = dict(group.loc[group["loss"] == asymmetric, ["against", "direction"]].to_numpy())
        needed = [base, f"{asymmetric}_shuffled", f"{asymmetric}_normalized"]
        if not set(needed) <= set(known):
            continue
        effect, asymmetry, scale = (known[name] for name in needed)
        if effect in (BETTER, WORSE):
            source = {
                (True, False): "the asymmetry",
                (False, True): "the smaller loss scale",
                (True, True): "both the asymmetry and the smaller loss scale",
                (False, False): "cannot be told apart",
            }[asymmetry == effect, scale == effect]
        else:
            effect, source = f"none shown ({effect})", "nothing to attribute"
        found.append((*keys, effect, source))
    return pd.DataFrame(found, columns=[*where, "effect", "source"])


# ------------------------------------------------------------------------ the other quantities


def step_time_summary(times: pd.DataFrame) -> pd.DataFrame:
    """Step time of the losses against their base losses, from interleaved runs.

    Args:
        times: columns loss, step_ms (milliseconds a training step), repetition (runs of the
            losses that took turns share one), model if there are several, and base where a loss
            declares one (:func:`asyrepro.runs.results.bases`). Several times of one loss in one
            repetition count as their median.

    Returns:
        One row per model and loss with a base loss: model, loss, against, repetitions, base_ms and
        loss_ms (medians), ratio (geometric mean of the repetitions' ratios), lower, upper (t
        interval of their logarithms), and direction ("worse": a step takes longer), size, verdict
        and reason by the rule "time".

    Raises:
        DataError: a column is missing or a time is not positive.
    """
    missing = [name for name in ("loss", "step_ms", "repetition") if name not in times.columns]
    if missing:
        raise DataError(f"the table of step times lacks the columns {', '.join(missing)}")
    if not (times["step_ms"] > 0).all():
        raise DataError("step_ms must be a positive number of milliseconds in every row")
    times = times if "model" in times.columns else times.assign(model="")
    found = []
    for model, group in times.groupby("model", sort=True):
        median = group.groupby(["repetition", "loss"])["step_ms"].median().unstack("loss")
        for loss, base in sorted(results.bases(group).items()):
            if loss in results.BASES or base not in median.columns:
                continue
            both = median[[base, loss]].dropna()
            if not both.empty:
                about = {"model": model, "loss": loss, "against": base}
                found.append(about | _ratio(both[loss], both[base]))
    return pd.DataFrame(found, columns=_TIME_COLUMNS)


_TIME_COLUMNS = (
    *("model", "loss", "against", "repetitions", "base_ms", "loss_ms"),
    *("ratio", "lower", "upper", "direction", "size", "verdict", "reason"),
)


def _ratio(loss_ms: pd.Series, base_ms: pd.Series) -> dict:
    logarithms = np.log((loss_ms / base_ms).to_numpy())
    lower, upper = np.nan, np.nan
    direction, reason = NOT_JUDGED, f"fewer than {MINIMUM_REPETITIONS} repetitions"
    if len(logarithms) >= MINIMUM_REPETITIONS:
        lower, upper = np.exp(t_interval(logarithms))
        direction = WORSE if lower > 1 else BETTER if upper < 1 else NEITHER
        reason = {
            WORSE: "interval above 1: a step takes longer",
            BETTER: "interval below 1: a step takes less",
            NEITHER: "interval holds 1",
        }[direction]
    return {
        "repetitions": len(logarithms),
        "base_ms": base_ms.median(),
        "loss_ms": loss_ms.median(),
        "ratio": np.exp(logarithms.mean()),
        "lower": lower,
        "upper": upper,
        "direction": direction,
        "size": NO_SIZE if direction != NOT_JUDGED else NOT_JUDGED,
        "verdict": direction,
        "reason": reason,
    }


# -------------------------------------------------------------------------- verdicts of claims

_CLAIM_COLUMNS = (
    *("claim", "place", "table", "model", "dataset", "base", "quantity", "paper", "measured"),
    *("lower", "upper", "unit", "seeds", "power", "counted", "direction", "size", "verdict"),
    "reason",
)


def _change(claim: Claim, rows: pd.DataFrame) -> Iterator[dict]:
    """By the rule "change", from what :func:`view` returned."""
    kind = "claim" if claim.base else "order"
    chosen = (rows["kind"] == kind) & (rows["table"] == claim.table)
    chosen &= rows["metric"] == claim.metric
    if claim.base:
        chosen &= rows["base"] == claim.base
    unit = METRICS[claim.metric].unit
    for row in rows[chosen].to_dict("records"):
        yield row | {"paper": row["paper_change"], "measured": row["change"], "unit": unit}


def up_to(claim: Claim, metrics: pd.DataFrame) -> Iterator[dict]:
    """The abstract's "up to about X %", by the rule "up_to"; nothing without such runs.

    Args:
        claim: its ``figure`` is X, a change in the metric's better direction.
        metrics: the tidy table; if it holds the claim's table for several data sets, all count.

    Yields:
        measured, lower, upper (percent, of the image with the largest change), seeds (of the base
        loss with the fewest), and the rest of a verdict.
    """
    rows = results.of_runs(results.plain(metrics))
    changes = []  # of each base loss and image: percent, a number a seed
    for _, group in rows[rows["table"] == claim.table].groupby("dataset"):
        values, runs = wide(group, claim.metric), kinds_of(group)
        for base in results.BASES:
            first, second, _ = paired(values, runs, f"asy_{base}", base)
            percent = 100 * METRICS[claim.metric].direction * (first / second - 1)
            changes += [(base, image, percent[image].to_numpy()) for image in percent]
    changes = [change for change in changes if len(change[2])]
    if not changes:
        return
    base, image, best = max(changes, key=lambda change: change[2].mean())
    seeds = min(len(values) for *_, values in changes)
    level = 1 - (1 - LEVEL) / len(changes)
    lower, upper = t_interval(best, level)
    direction, size, reason = NOT_JUDGED, NOT_JUDGED, f"fewer than {MINIMUM_SEEDS} seeds"
    if seeds >= MINIMUM_SEEDS:
        highest = max(t_interval(values, level)[1] for *_, values in changes)
        least = claim.figure - 0.05  # half a unit of the last digit that the abstract prints
        direction = BETTER if lower > 0 else WORSE if highest < 0 else NEITHER
        size = EXCLUDED if highest < least else NOT_EXCLUDED
        reason = f"the intervals of all images reach up to {highest:.2f} %"
    yield {
        "quantity": f"{claim.quantity} (image {image}, {base})",
        **{"paper": claim.figure, "measured": best.mean(), "lower": lower, "upper": upper},
        **{"unit": "%", "seeds": seeds, "direction": direction, "size": size, "reason": reason},
    }


def _time(claim: Claim, rows: pd.DataFrame) -> Iterator[dict]:
    """By the rule "time", from :func:`step_time_summary`."""
    for row in rows[rows["loss"] == claim.loss].to_dict("records"):
        if row["model"]:
            row["quantity"] = f"{claim.quantity}, {titles.model_title(row['model'])}"
        reason = f"{row['reason']}; {row['repetitions']} repetitions"
        yield row | {"measured": row["ratio"], "unit": "ratio", "reason": reason}


def _region(claim: Claim, rows: pd.DataFrame) -> Iterator[dict]:
    """By the rule "region", from :func:`asyrepro.analysis.mechanism.regions`."""
    rows = rows[(rows["region"] == claim.region) & (rows["loss"] == claim.loss)]
    if claim.table:
        rows = rows[rows["table"] == claim.table]
    for row in rows.to_dict("records"):
        size = NOT_JUDGED if row["direction"] == NOT_JUDGED else NO_SIZE
        yield row | {"quantity": claim.quantity, "unit": "%", "size": size}


def learning(claim: Claim, histories: pd.DataFrame) -> Iterator[dict]:
    """Validation PSNR at equal steps, by the rule "learning"; a dict a table.

    Args:
        claim: about a loss and its base.
        histories: columns table, loss, seed, step and val_psnr (dB; empty between validations).
    """
    for table, group in histories.dropna(subset="val_psnr").groupby("table"):
        wide = group.pivot_table(index=["loss", "seed"], columns="step", values="val_psnr")
        first, second, _ = paired(wide, {}, claim.loss, claim.base)
        if not len(first):
            continue
        found = crossed_interval((first - second).mean(axis=1).to_numpy()[:, None])
        found = found._replace(lower=found.fixed_lower, upper=found.fixed_upper)
        direction, size, reason = judge(found, len(first))
        yield {
            **{"table": table, "measured": found.mean, "lower": found.lower, "upper": found.upper},
            **{"unit": "dB", "seeds": len(first), "direction": direction, "size": size},
            "reason": f"{reason}; {first.shape[1]} validations",
        }


JUDGES = {"change": _change, "up_to": up_to, "time": _time, "region": _region, "learning": learning}


def claim_verdicts(evidence: dict[str, pd.DataFrame | None]) -> pd.DataFrame:
    """The verdict of every claim that the study can speak to.

    Args:
        evidence: rule -> what its function in :data:`JUDGES` takes, or None without.

    Returns:
        One row per claim and table or model it could be tested on, in the order of
        :data:`asyrepro.paper.claims.CLAIMS`. ``counted``: whether it is evidence of its own.
    """
    found = []
    for claim in CLAIMS:
        if evidence.get(claim.rule) is None:
            continue
        row = {name: getattr(claim, name) for name in ("place", "table", "model", "base")}
        row |= {"claim": claim.id, "quantity": claim.quantity, "counted": claim.counted}
        for part in JUDGES[claim.rule](claim, evidence[claim.rule]):
            line = row | {name: part[name] for name in _CLAIM_COLUMNS if name in part}
            line["base"] = claim.base  # of claims about both, none
            found.append(line | {"verdict": verdict(line["direction"], line["size"])})
    table = pd.DataFrame(found, columns=_CLAIM_COLUMNS)
    return table.astype({"table": "Int64", "seeds": "Int64"})
