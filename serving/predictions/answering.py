"""Computes an answer from a request and the state of the models; the same state answers the same, except for ids."""

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
    """One buyer's answer; it names its own model, because a gateway may drop the parts around it."""

    product_ids: tuple[str, ...]
    scores: tuple[float, ...]
    known: bool
    popular_by: str | msgspec.UnsetType = msgspec.UNSET  # for an unknown buyer: what made these popular
    prediction_id: str
    model: str
    version: int
    digest: str
    source: str
    arm: str
    fallback: bool


class RowPrediction(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The answer to one row; the other fields are as in `Prediction`."""

    prediction: Any  # a number, a text, true or false, a list of these, or an object of these by name
    prediction_id: str
    model: str
    version: int
    digest: str
    source: str
    arm: str
    fallback: bool


class ModelBlock(msgspec.Struct, frozen=True, kw_only=True):
    """The model that answers, unless a prediction names another."""

    name: str
    version: int
    digest: str
    source: str
    arm: str
    fallback: bool
    tried: tuple[Tried, ...] = ()  # the sources before this one, and why they are not used


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """The body of an answer: one prediction for each instance, in order."""

    predictions: list[Prediction]
    model: ModelBlock


class RowsAnswered(msgspec.Struct, frozen=True, kw_only=True):
    """The body of an answer to rows: one prediction for each, in order."""

    predictions: list[RowPrediction]
    model: ModelBlock


def answer_rows(request: RowsRequest, state: State) -> RowsAnswered:
    """Returns the champion's predictions for all rows of `request`; rows name no buyer, so no challenger answers them.

    Raises: TryAgain: no model is loaded, or its process has ended. BadRequest: the rows do not fit the model; the
    message names columns and types. BadRecord: the model failed on these rows.
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
    """Returns the predictions for all buyers of `request`.

    Raises: TryAgain: no model is loaded. BadRequest: the model cannot do what the request asks.
    """
    champion = state.champion
    if champion is None:
        raise TryAgain(f"no model is loaded: {state.problem}")
    return Answered(
        predictions=[ask(champion, CHAMPION, request, buyer_id) for buyer_id in request.buyer_ids],
        model=to_block(champion, CHAMPION, state.tried),
    )


def ask(loaded: Loaded, arm: str, request: PredictRequest, buyer_id: str, *, fallback: bool = False) -> Prediction:
    """Returns one model's answer for one buyer; `fallback` says that it replaces another model's answer.

    Raises: BadRequest: the model cannot do what the request asks.
    """
    if loaded.recommender is None:
        raise BadRequest(
            f"version {loaded.version} of model {loaded.name} takes rows of columns, so it cannot recommend products"
        )
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
    """Returns the block of an answer that names the model."""
    return ModelBlock(
        name=loaded.name,
        version=loaded.version,
        digest=loaded.digest,
        source=str(loaded.source),
        arm=arm,
        fallback=fallback or loaded.fallback,
        tried=tried,
    )
