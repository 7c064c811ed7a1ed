"""From what is asked and who answers to what is sent: but for the ids, the same state answers the same."""

from typing import Any, Final

import msgspec

from serving.predictions.ids import Ids
from serving.predictions.state import Loaded, State
from switchyard.core.errors import BadRequest, TryAgain
from switchyard.core.predictions.requests import PredictRequest, RowsRequest
from switchyard.core.predictions.signature import read_rows
from switchyard.core.predictions.sources import Tried

CHAMPION: Final = "champion"
_IDS: Final = Ids()


class Prediction(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One buyer's answer, which names who gave it: what stands around it may be dropped on the way."""

    product_ids: tuple[str, ...]
    scores: tuple[float, ...]
    known: bool
    popular_by: str | msgspec.UnsetType = msgspec.UNSET  # of a buyer who is not known: what made these popular
    prediction_id: str
    model: str
    version: int
    digest: str
    source: str
    arm: str
    fallback: bool


class RowPrediction(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The answer to one row; the rest as in `Prediction`."""

    prediction: Any  # a number, a text, true or false, a list of these, or an object of these by name
    prediction_id: str
    model: str
    version: int
    digest: str
    source: str
    arm: str
    fallback: bool


class ModelBlock(msgspec.Struct, frozen=True, kw_only=True):
    """Who answers, where nothing else is said."""

    name: str
    version: int
    digest: str
    source: str
    arm: str
    fallback: bool
    tried: tuple[Tried, ...] = ()  # what was asked before this source, and why it is not the one


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """The body of an answer: one prediction for each instance, in order."""

    predictions: list[Prediction]
    model: ModelBlock


class RowsAnswered(msgspec.Struct, frozen=True, kw_only=True):
    """The body of an answer to rows: one prediction for each, in order."""

    predictions: list[RowPrediction]
    model: ModelBlock


def answer_rows(request: RowsRequest, state: State) -> RowsAnswered:
    """The predictions for all rows of `request`, of the champion: rows name no buyer who could be the challenger's.

    Raises: TryAgain: no model is loaded, or its process has ended. BadRequest: the rows are not what it takes; names
    columns and types. BadRecord: it failed on these rows.
    """
    champion = state.champion
    if champion is None or champion.rows is None:
        raise TryAgain(f"no model is loaded: {state.problem}")
    rows = read_rows(request.instances, champion.rows.signature)
    return RowsAnswered(
        predictions=[
            RowPrediction(
                prediction=value,
                prediction_id=_IDS.make(),
                model=champion.name,
                version=champion.version,
                digest=champion.digest,
                source=champion.source.setting,
                arm=CHAMPION,
                fallback=champion.fallback,
            )
            for value in champion.rows.answer(rows)
        ],
        model=to_block(champion, CHAMPION, state.tried),
    )


def answer(request: PredictRequest, state: State) -> Answered:
    """The predictions for all buyers of `request`.

    Raises: TryAgain: no model is loaded. BadRequest: the model cannot do what is asked.
    """
    champion = state.champion
    if champion is None:
        raise TryAgain(f"no model is loaded: {state.problem}")
    return Answered(
        predictions=[ask(champion, CHAMPION, request, buyer_id) for buyer_id in request.buyer_ids],
        model=to_block(champion, CHAMPION, state.tried),
    )


def ask(loaded: Loaded, arm: str, request: PredictRequest, buyer_id: str, *, fallback: bool = False) -> Prediction:
    """One buyer's answer of one model; with `fallback` it is in the place of another's.

    Raises: BadRequest: the model cannot do what is asked.
    """
    if loaded.recommender is None:
        raise BadRequest(f"version {loaded.version} of model {loaded.name} answers rows, and recommends nothing")
    found = loaded.recommender.recommend(buyer_id, request.k, only=request.only, without_bought=request.without_bought)
    return Prediction(
        product_ids=found.product_ids,
        scores=found.scores,
        known=found.known,
        popular_by=msgspec.UNSET if found.known else loaded.recommender.popularity,
        prediction_id=_IDS.make(),
        model=loaded.name,
        version=loaded.version,
        digest=loaded.digest,
        source=loaded.source.setting,
        arm=arm,
        fallback=fallback or loaded.fallback,
    )


def to_block(loaded: Loaded, arm: str, tried: tuple[Tried, ...] = (), *, fallback: bool = False) -> ModelBlock:
    """The model's own words of itself."""
    return ModelBlock(
        name=loaded.name,
        version=loaded.version,
        digest=loaded.digest,
        source=str(loaded.source),
        arm=arm,
        fallback=fallback or loaded.fallback,
        tried=tried,
    )
