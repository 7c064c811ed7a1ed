"""Compares the model with its baselines on the same held-out pairs: what is measured, and which of them wins.

A baseline's setting is chosen on validation. A baseline that cannot be measured is left out, with the reason. The
report depends only on the weights, the data and the seed, so a restart makes the same one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np

from switchyard.core.errors import BadSetup
from switchyard.core.metrics.evaluation import (
    MODEL,
    NDCG_K,
    Bootstrap,
    Contender,
    EvaluationReport,
    Figure,
    Group,
    Lead,
    LeftOut,
    Measured,
    ReportRun,
    judge,
)
from switchyard.core.runs.spec import TrainSpec
from trainer.data.splitting import Dataset, Pairs
from trainer.model.baselines import (
    MOST_TOGETHER,
    NEIGHBOURS,
    ItemKnn,
    OwnCounts,
    Popularity,
    Vectors,
    choose_recent_and_own,
    count_together,
)
from trainer.model.blending import Past
from trainer.model.choosing import NEW_PAIRS, K, draw_pairs
from trainer.model.ials import MOST_FACTORS, fit_all, list_settings
from trainer.model.measuring import CONFIDENCE, DRAWS, Scorer, Window, draw, open_window, rank, to_bounds, to_sums
from trainer.stopping import Stopped

MOST_SCORES: Final = 500_000_000
"""The most scores (buyers times products) that one contender's pass takes; if there are more, buyers are drawn."""
ENOUGH_BUYERS: Final = 30
"""With fewer buyers no winner is named, because percentile intervals are too narrow then."""
_CHOSEN: Final = "chosen on validation"
_DIGITS: Final = 6  # further digits differ from machine to machine


@dataclass(frozen=True)
class Contest:
    """The data and settings that every contender is measured with.

    Args:
        baselines_python: the Python of an environment that has `implicit`; empty: there is none.
        check: called between and during the measurements; an exception from it ends them.
    """

    spec: TrainSpec
    dataset: Dataset
    baselines_python: str
    check: Callable[[], None]

    @cached_property
    def past(self) -> Past:
        """What the train rows say about each buyer."""
        return Past(self.dataset, temperature=self.spec.temperature)

    @cached_property
    def window(self) -> Window:
        """The test pairs that are measured."""
        return self._open(self.dataset.test)

    @cached_property
    def choice(self) -> Window:
        """The validation pairs that baselines' settings are chosen on, the same as for the model's numbers."""
        return self._open(
            draw_pairs(self.dataset.validation, products=len(self.dataset.product_ids), seed=self.spec.seed)
        )

    @cached_property
    def groups(self) -> dict[str, Any]:
        """Which of the window's buyers are in each group; light ones have at most the median of train purchases."""
        purchases = self._count_purchases()
        heavy = purchases > np.median(purchases)
        return {name: chosen for name, chosen in (("light", ~heavy), ("heavy", heavy)) if chosen.any()}

    def measure(self, scorer: Scorer) -> tuple[dict[tuple[str, str], Any], float | None]:
        """Returns the scorer's draws by slice and metric, and its coverage."""
        ranks = rank(scorer, self.window, self.check)
        sums = to_sums(ranks, self.window, self.groups)
        catalogue = self.window.catalogue
        coverage = round(ranks.covered / catalogue, _DIGITS) if catalogue >= NDCG_K else None
        return draw(sums, buyers=len(self.window.buyers), seed=self.spec.seed), coverage

    def judge_setting(self, scorer: Scorer) -> float:
        """Returns how good a setting is on validation, by the same measure that chooses the model's own numbers.

        It is the product of two recalls, on all pairs and on new pairs ranked among new products, each with one hit and
        one pair added."""
        ranks, window = rank(scorer, self.choice, self.check), self.choice
        k = min(K, window.catalogue)
        every = (np.count_nonzero(ranks.every < k) + 1) / (len(ranks.every) + 1)
        new = int(window.is_new.sum())
        fresh = (np.count_nonzero(ranks.new[window.is_new] < k) + 1) / (new + 1)
        return float(every * (fresh if new >= NEW_PAIRS else 1))

    def describe(self) -> Measured:
        """Describes the pairs, buyers and products that were measured."""
        purchases, window = self._count_purchases(), self.window
        pairs = np.diff(window.starts)
        return Measured(
            pairs=len(window.products),
            of_pairs=len(self.dataset.test),
            new_pairs=int(window.is_new.sum()),
            buyers=len(window.buyers),
            products=window.catalogue,
            groups={
                name: Group(
                    buyers=int(chosen.sum()),
                    pairs=int(pairs[chosen].sum()),
                    least=int(purchases[chosen].min()),
                    most=int(purchases[chosen].max()),
                )
                for name, chosen in self.groups.items()
            },
        )

    def _open(self, pairs: Pairs) -> Window:
        products = len(self.dataset.product_ids)
        return open_window(pairs, self.past, products=products, seed=self.spec.seed, most_scores=MOST_SCORES)

    def _count_purchases(self) -> Any:
        counted = np.bincount(self.dataset.train.buyers, minlength=len(self.dataset.buyer_ids))
        return counted[self.window.buyers]


Found = tuple[Scorer, dict[str, Any], str]
"""A baseline, its settings, and how the settings were found."""


def _find_popularity(contest: Contest) -> Found:
    return Popularity(contest.past), {}, ""


def _find_own_counts(contest: Contest) -> Found:
    return OwnCounts(contest.past), {}, ""


def _find_recent_and_own(contest: Contest) -> Found:
    dataset = contest.dataset
    scorer, numbers = choose_recent_and_own(
        contest.past,
        dataset.validation,
        buyers=len(dataset.buyer_ids),
        products=len(dataset.product_ids),
        seed=contest.spec.seed,
        check=contest.check,
    )
    return scorer, dict(numbers), _CHOSEN


def _find_item_knn(contest: Contest) -> Found:
    if (pairs := count_together(contest.past)) > MOST_TOGETHER:
        raise BadSetup(
            f"there are {pairs:,} pairs of products that one buyer bought; at most {MOST_TOGETHER:,} are used"
        )
    buyers = len(contest.dataset.buyer_ids)
    whole = ItemKnn(contest.past, buyers=buyers, most=max(NEIGHBOURS), check=contest.check)
    best = max(map(whole.keep, NEIGHBOURS), key=contest.judge_setting)
    return best, {"neighbours": best.neighbours}, f"{_CHOSEN} among {len(NEIGHBOURS)}"


def _find_ials(contest: Contest) -> Found:
    if not contest.baselines_python:
        raise BadSetup("no environment with implicit is named. Run make implicit, then set BASELINES_PYTHON")
    settings, dataset = list_settings(), contest.dataset
    rows = len(dataset.buyer_ids) + len(dataset.product_ids)
    if (numbers := rows * max(int(one["factors"]) for one in settings)) > MOST_FACTORS:
        raise BadSetup(f"its factors would be {numbers:,} numbers; at most {MOST_FACTORS:,} are taken")
    found: tuple[float, dict[str, Any], Vectors] | None = None
    python, seed = contest.baselines_python, contest.spec.seed
    for setting, vectors in fit_all(python, contest.past, seed=seed, check=contest.check):
        value = contest.judge_setting(vectors)
        if found is None or value > found[0]:
            found = value, dict(setting), vectors
    assert found is not None
    return found[2], found[1], f"{_CHOSEN} among {len(settings)}"


BASELINES: Final[dict[str, Callable[[Contest], Found]]] = {
    "popularity": _find_popularity,
    "own_counts": _find_own_counts,
    "recent_and_own": _find_recent_and_own,
    "item_knn": _find_item_knn,
    "ials": _find_ials,
}


def make_report(contest: Contest, model: Scorer, run: ReportRun) -> EvaluationReport:
    """Makes the report. Raises: what `contest.check` raises."""
    draws, coverage = contest.measure(model)
    contenders = [Contender(name=MODEL, figures=_to_figures(draws), coverage=coverage)]
    left_out = []
    for name, find in BASELINES.items():
        contest.check()
        try:
            scorer, settings, about = find(contest)
            found, covered = contest.measure(scorer)
        except Stopped:
            raise
        except Exception as err:  # noqa: BLE001 - a baseline may fail in any way, memory too; the model is trained
            left_out.append(LeftOut(name=name, reason=str(err) or type(err).__name__))
            continue
        leads = _to_leads(draws, found, enough=len(contest.window.buyers) >= ENOUGH_BUYERS)
        figures = _to_figures(found)
        contenders.append(
            Contender(name=name, figures=figures, coverage=covered, leads=leads, settings=settings, about=about)
        )
    return EvaluationReport(
        run=run,
        measured=contest.describe(),
        bootstrap=Bootstrap(draws=DRAWS, confidence=CONFIDENCE, seed=contest.spec.seed),
        contenders=contenders,
        left_out=left_out,
    )


def _to_figures(draws: dict[tuple[str, str], Any]) -> dict[str, dict[str, Figure]]:
    figures: dict[str, dict[str, Figure]] = {}
    for (part, metric), found in draws.items():
        low, high = (round(bound, _DIGITS) for bound in to_bounds(found[1:]))
        figures.setdefault(part, {})[metric] = Figure(value=round(float(found[0]), _DIGITS), low=low, high=high)
    return figures


def _to_leads(model: dict[Any, Any], other: dict[Any, Any], *, enough: bool) -> dict[str, dict[str, Lead]]:
    leads: dict[str, dict[str, Lead]] = {}
    for part, metric in model:
        ahead = model[part, metric] - other[part, metric]
        low, high = (round(bound, _DIGITS) for bound in to_bounds(ahead[1:]))
        verdict = judge(low, high, enough=enough)
        leads.setdefault(part, {})[metric] = Lead(
            value=round(float(ahead[0]), _DIGITS), low=low, high=high, verdict=verdict
        )
    return leads
