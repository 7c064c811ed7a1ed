"""What the sweep takes: all that its trials share, and what they differ in."""

from typing import Annotated, ClassVar, Literal

import msgspec
from msgspec import Meta

from flows.parameters import RunParameters, TrainParameters
from switchyard.core.errors import BadRequest
from switchyard.core.runs.spec import TrainSpec
from switchyard.core.sweeps.plan import SweepPlan, check_comparable, choose_direction, count_trials, to_base
from switchyard.core.sweeps.space import Params, list_grid, parse_space

TRIALS = 20
"""How many trials, if no number is given and the method has no end of its own."""


class SweepParameters(RunParameters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Train many runs that differ in some parameters, and find the best.

    Takes the flags of train as well: all trials share them. After an interruption the same command with the same --name
    goes on.
    """

    GROUPS: ClassVar[dict[str, tuple[str, ...]]] = {
        "the sweep": ("name", "search", "method", "trials", "at_once", "metric", "prune", "sweep_seed", "experiment"),
        **{
            f"all trials: {title}": tuple(name for name in names if name in RunParameters.__struct_fields__)
            for title, names in TrainParameters.GROUPS.items()
        },
    }

    name: Annotated[
        str,
        Meta(max_length=150, description="the sweep's name: the same name goes on; its trials are named after it"),
    ] = ""
    search: Annotated[
        tuple[str, ...],
        Meta(
            description="a parameter of train and its values: learning_rate=0.1..3:log (a range), "
            "batch_size=128..512:64 (a range with a step), embedding_dim=32,64,128 (a list); or JSON of the same",
            extra={"placeholder": "PARAMETER=VALUES"},
        ),
    ]
    method: Annotated[
        Literal["grid", "random", "tpe"],
        Meta(description="grid: every combination; random; tpe: some random trials, then near the best"),
    ] = "tpe"
    trials: Annotated[
        int, Meta(ge=0, le=10_000, description=f"how many runs; 0: every combination of a grid, {TRIALS} of others")
    ] = 0
    at_once: Annotated[int, Meta(ge=1, le=64, description="train at most N runs at the same time")] = 1
    metric: Annotated[
        str, Meta(min_length=1, max_length=200, description="the series that ranks the trials, by its best epoch")
    ] = "val_recall_at_10"
    prune: Annotated[
        bool,
        Meta(description="cancel a trial if its metric is worse than the median of completed ones at the same epoch"),
    ] = True
    sweep_seed: Annotated[int, Meta(ge=0, le=2**31 - 1, description="draws the parameters of trials")] = 7
    experiment: Annotated[
        str, Meta(max_length=200, description="the experiment of all its runs; empty: the sweep's name")
    ] = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        try:
            count_trials(self.to_plan(), self.trials, TRIALS)
        except BadRequest as err:
            raise ValueError(str(err)) from err

    def to_spec(self) -> TrainSpec:
        """Returns what all trials share; a parameter that is searched has its shared value."""
        return msgspec.convert({name: getattr(self, name) for name in TrainSpec.__struct_fields__}, TrainSpec)

    def to_plan(self) -> SweepPlan:
        """Returns the plan. Raises: BadRequest: what is wrong with the search or the metric."""
        space = parse_space(self.search, self.to_spec())
        check_comparable(self.metric, space)
        plan = SweepPlan(
            base=to_base(self.to_spec(), space),
            space=space,
            method=self.method,
            seed=self.sweep_seed,
            metric=self.metric,
            direction=choose_direction(self.metric, self.directions),
        )
        if self.method == "grid":
            list_grid(space)
        return plan

    def to_train(self, name: str, number: int, params: Params, request_key: str) -> TrainParameters:
        """Returns the training of trial `number` of the sweep `name`: it is submitted, and not waited for.

        Raises: msgspec.ValidationError: these params do not go together.
        """
        shared = {field: getattr(self, field) for field in RunParameters.__struct_fields__}
        return msgspec.convert(
            {
                **msgspec.to_builtins(shared),
                **params,
                "name": f"{name} trial {number}",
                "experiment": self.experiment or name,
                "request_key": request_key,
                "wait": False,
            },
            TrainParameters,
        )
