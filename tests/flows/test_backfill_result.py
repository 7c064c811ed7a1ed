"""What a backfill that failed says of itself."""

from flows.answers.backfill import BackfillFailed, BackfillResult


def make_result(failed: dict[int, str]) -> BackfillResult:
    return BackfillResult(
        dry_run=False,
        rows=1_000,
        completed=1_000,
        with_mlflow_run=1_000,
        already_published=0,
        legacy=0,
        adopted=0,
        to_do=1_000,
        failed=failed,
    )


def test_what_is_said_of_many_runs_is_said_once() -> None:
    """An MLflow that is away is no reason for a page of the same sentence."""
    failed = {7: "run 7 is lost"} | dict.fromkeys(range(100, 130), "MLflow is away")
    said = str(BackfillFailed(make_result(failed)))
    assert said.startswith(
        "31 of 1000 runs could not be published: quick test 7: run 7 is lost; quick tests 100, 101, "
    )
    assert "119 and 10 more: MLflow is away. Run the same command again" in said
    assert said.count("MLflow is away") == 1


def test_no_more_than_twenty_errors_are_listed() -> None:
    """The ledger has them all."""
    said = str(BackfillFailed(make_result({id_: f"error {id_}" for id_ in range(1, 26)})))
    assert "quick test 20: error 20; and 5 more, see the ledger" in said
    assert "error 21" not in said
