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
    pairs = list(zip(rows["reason"], rows["notes"], strict=True))
    rows = rows.assign(
        reason=["; ".join(filter(None, pair)) for pair in pairs],
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
        table: what :func:`verdicts` returned.

    Returns:
        One row per table, model, dataset, base loss and metric with asy compared with its base
        and with the normalized and shuffled controls: ``effect`` (better, worse, or none shown),
        ``source`` by a fixed rule. The asymmetry plays a part if asy differs
        from the shuffled control in the effect's direction, the scale if it differs from the
        normalized control in that direction.
    """
    found = []
    for keys, group in table.groupby(["table", "model", "dataset", "base", "metric"], sort=False):
        base = keys[3]
        asymmetric = f"asy_{base}"
        known = dict(group.loc[group["loss"] == asymmetric, ["against", "direction"]].to_numpy())
        needed = [base, f"{asymmetric}_shuffled", f"{asymmetric}_normalized"]
        if not set(needed) <= set(known):
            continue
        effect = known[base]
        if effect not in (BETTER, WORSE):
            effect, source = f"none shown ({effect})", "nothing to attribute"
        else:
            where, scale = (known[name] == effect for name in needed[1:])
            source = {
                (True, False): "the asymmetry",
                (False, True): "the smaller loss scale",
                (True, True): "both the asymmetry and the smaller loss scale",
                (False, False): "cannot be told apart",
            }[where, scale]
        found.append((*keys, effect, source))
    columns = ["table", "model", "dataset", "base", "metric", "effect", "source"]
    return pd.DataFrame(found, columns=columns)


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
                found.append({"model": model, "loss": loss, "against": base} | _ratio(both))
    return pd.DataFrame(found, columns=_TIME_COLUMNS)


_TIME_COLUMNS = (
    *("model", "loss", "against", "repetitions", "base_ms", "loss_ms"),
    *("ratio", "lower", "upper", "direction", "size", "verdict", "reason"),
)


def _ratio(both: pd.DataFrame) -> dict:
    ratios = np.log((both.iloc[:, 1] / both.iloc[:, 0]).to_numpy())
    count, mean, lower, upper = len(ratios), ratios.mean(), np.nan, np.nan
    direction, reason = NOT_JUDGED, f"fewer than {MINIMUM_REPETITIONS} repetitions"
    if count >= MINIMUM_REPETITIONS:
        lower, upper = np.exp(t_interval(ratios, LEVEL))
        direction = WORSE if lower > 1 else BETTER if upper < 1 else NEITHER
        reason = {
            WORSE: "interval above 1: a step takes longer",
            BETTER: "interval below 1: a step takes less",
            NEITHER: "interval holds 1",
        }[direction]
    return {
        "repetitions": count,
        "base_ms": both.iloc[:, 0].median(),
        "loss_ms": both.iloc[:, 1].median(),
        "ratio": np.exp(mean),
        "lower": lower,
        "upper": upper,
        "direction": direction,
        "size": NO_SIZE if direction != NOT_JUDGED else NOT_JUDGED,
        "verdict": direction,
        "reason": reason,
    }


def up_to(metrics: pd.DataFrame, metric: str, figure: float, table: int = 2) -> dict | None:
    """The abstract's "up to about X %", by the rule "up_to"; None without such runs.

    Args:
        metrics: the tidy table; if it holds the table for several data sets, all count.
        metric: psnr, ssim or nrmse.
        figure: X, percent; a change in the metric's better direction.
        table: whose test images to search.

    Returns:
        dict(measured, lower, upper (of the image with the largest change, percent), image,
        base, seeds (of the base loss with the fewest), direction, size, reason).
    """
    rows = results.plain(metrics)
    rows = rows[(rows["table"] == table) & rows["seed"].notna()]
    direction = METRICS[metric].direction
    changes = []
    for dataset, group in rows.groupby("dataset"):
        values, runs = wide(group, metric), kinds_of(group)
        for base in results.BASES:
            first, second, _ = paired(values, runs, f"asy_{base}", base)
            percent = 100 * direction * (first / second - 1)
            changes += [(dataset, base, name, percent[name].to_numpy()) for name in percent]
    changes = [change for change in changes if len(change[3])]
    if not changes:
        return None
    seeds = min(len(values) for *_, values in changes)
    _, base, image, best = max(changes, key=lambda change: change[3].mean())
    result = {"measured": best.mean(), "image": image, "base": base, "seeds": seeds}
    level = 1 - (1 - LEVEL) / len(changes)
    bounds = [t_interval(values, level) for *_, values in changes]
    lower, upper = t_interval(best, level)
    result |= {"lower": lower, "upper": upper, "direction": NOT_JUDGED, "size": NOT_JUDGED}
    if seeds < MINIMUM_SEEDS:
        return result | {"reason": f"fewer than {MINIMUM_SEEDS} seeds"}
    highest = max(bound[1] for bound in bounds)
    least = figure - 0.05  # half a unit of the last digit that the abstract prints
    return result | {
        "direction": BETTER if lower > 0 else WORSE if highest < 0 else NEITHER,
        "size": EXCLUDED if highest < least else NOT_EXCLUDED,
        "reason": f"the intervals of all images reach up to {highest:.2f} %",
    }


def learning(histories: pd.DataFrame, loss: str, base: str) -> Iterator[dict]:
    """Validation PSNR at equal steps, by the rule "learning"; a dict a table.

    Args:
        histories: columns table, loss, seed, step and val_psnr (dB; empty between validations).
        loss, base: the two losses.
    """
    for table, group in histories.dropna(subset="val_psnr").groupby("table"):
        wide = group.pivot_table(index=["loss", "seed"], columns="step", values="val_psnr")
        first, second, _ = paired(wide, {}, loss, base)
        if not len(first):
            continue
        found = crossed_interval((first - second).mean(axis=1).to_numpy()[:, None])
        found = found._replace(lower=found.fixed_lower, upper=found.fixed_upper)
        direction, size, reason = judge(found, len(first))
        yield {
            **{"table": table, "measured": found.mean, "lower": found.lower, "upper": found.upper},
            **{"seeds": len(first), "direction": direction, "size": size},
            "reason": f"{reason}; {first.shape[1]} validations",
        }


# -------------------------------------------------------------------------- verdicts of claims

_CLAIM_COLUMNS = (
    *("claim", "place", "table", "model", "dataset", "base", "quantity", "paper", "measured"),
    *("lower", "upper", "unit", "seeds", "power", "counted", "direction", "size", "verdict"),
    "reason",
)


def _judge_change(claim: Claim, rows: pd.DataFrame) -> Iterator[dict]:
    kind = "claim" if claim.base else "order"
    chosen = (rows["kind"] == kind) & (rows["table"] == claim.table)
    chosen &= rows["metric"] == claim.metric
    if claim.base:
        chosen &= rows["base"] == claim.base
    unit = METRICS[claim.metric].unit
    for row in rows[chosen].to_dict("records"):
        yield row | {"paper": row["paper_change"], "measured": row["change"], "unit": unit}


def _judge_up_to(claim: Claim, metrics: pd.DataFrame) -> Iterator[dict]:
    found = up_to(metrics, claim.metric, claim.figure, claim.table)
    if found:
        where = f" (image {found.pop('image')}, {found.pop('base')})"
        yield found | {"quantity": claim.quantity + where, "unit": "%", "paper": claim.figure}


def _judge_time(claim: Claim, rows: pd.DataFrame) -> Iterator[dict]:
    for row in rows[rows["loss"] == claim.loss].to_dict("records"):
        if row["model"]:
            row["quantity"] = f"{claim.quantity}, {titles.model_title(row['model'])}"
        reason = f"{row['reason']}; {row['repetitions']} repetitions"
        yield row | {"measured": row["ratio"], "unit": "ratio", "reason": reason}


def _judge_region(claim: Claim, rows: pd.DataFrame) -> Iterator[dict]:
    rows = rows[(rows["region"] == claim.region) & (rows["loss"] == claim.loss)]
    if claim.table:
        rows = rows[rows["table"] == claim.table]
    for row in rows.to_dict("records"):
        size = NOT_JUDGED if row["direction"] == NOT_JUDGED else NO_SIZE
        yield row | {"quantity": claim.quantity, "unit": "%", "size": size}


def _judge_learning(claim: Claim, histories: pd.DataFrame) -> Iterator[dict]:
    for row in learning(histories, claim.loss, claim.base):
        yield row | {"unit": "dB"}


JUDGES = {
    "change": _judge_change,
    "up_to": _judge_up_to,
    "time": _judge_time,
    "region": _judge_region,
    "learning": _judge_learning,
}


def claim_verdicts(evidence: dict[str, pd.DataFrame | None]) -> pd.DataFrame:
    """The verdict of every claim that the study can speak to.

    Args:
        evidence: rule -> what it judges, or None without: "change" (of :func:`verdicts`), "up_to"
            (the tidy table), "region" (of :func:`asyrepro.analysis.mechanism.regions`), "time" (of
            :func:`step_time_summary`), "learning" (the course of the runs, see :func:`learning`).

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
