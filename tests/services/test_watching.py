"""Watching one job: what is news, how long a silent launcher is outlasted, and that time is kept to."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

import msgspec
import pytest

from switchyard.core.errors import BadSetup, SwitchyardError, TryAgain
from switchyard.core.runs.jobs import JobOrder, JobReport, JobState, Progress
from switchyard.core.runs.missing import LOOKS, Missing
from switchyard.core.runs.pacing import ON_VERTEX, Look
from switchyard.core.runs.rows import Job
from switchyard.services.watching import PATIENCE_S, Watch, watch

NOW = datetime(2026, 1, 15, tzinfo=UTC)
JOB = "projects/1/locations/us-central1/customJobs/2"
ROW = Job(quick_test_id=1, attempt=1, key="key", request_key="r", state=JobState.RUNNING, job_name=JOB, claimed_at=NOW)


def make_report(state: JobState = JobState.RUNNING, epochs_done: int = 0) -> JobReport:
    progress = Progress(epochs_done=epochs_done, epochs_asked=10)
    return JobReport(job_name=JOB, key="key", state=state, created_at=NOW, progress=progress)


class Scripted:
    """A launcher that gives these answers, one look after another, and stays with the last answer.

    Its clock moves only by sleeping."""

    def __init__(self, *answers: JobReport | SwitchyardError | None) -> None:
        self.answers = list(answers)
        self.listed: list[JobReport] = []
        self.looks: list[float] = []
        self.now_s = 0.0

    def report(self, job_names: Sequence[str]) -> dict[str, JobReport]:
        self.looks.append(self.now_s)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, SwitchyardError):
            raise answer
        return {JOB: answer} if answer is not None else {}

    def submit(self, key: str, order: JobOrder) -> JobReport:
        raise NotImplementedError  # a wait only looks and lists

    def list(self, labels: Mapping[str, str], since: datetime, *, beside: str = "") -> list[JobReport]:
        assert beside == JOB
        assert labels == {"switchyard-key": "key"}
        assert since < NOW
        return self.listed

    def cancel(self, job_name: str) -> None:
        raise NotImplementedError  # a wait only looks and lists

    def list_old(self, labels: Mapping[str, str], before: datetime, limit: int) -> Sequence[JobReport]:
        raise NotImplementedError  # a wait only looks and lists

    def prune(self, job_names: Sequence[str]) -> int:
        raise NotImplementedError  # a wait only looks and lists

    def watch(
        self,
        seen: JobReport | None = None,
        *,
        for_s: float = 7_200,
        hold_s: float = 0,
        meanwhile: Callable[[], float] | None = None,
    ) -> JobReport | Missing:
        how = Watch(pace=ON_VERTEX, look=Look(for_s=for_s, hold_s=hold_s))
        return watch(
            self,
            ROW,
            seen,
            how,
            meanwhile=meanwhile,
            sleep=self.sleep,
            clock=lambda: self.now_s,
            chance=lambda: 0.5,
        )

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


def test_the_first_look_is_news() -> None:
    """Nothing was seen yet: answered at once, without a wait."""
    launcher = Scripted(make_report())
    assert launcher.watch() == make_report()
    assert launcher.looks == [0]


def test_a_job_that_no_look_shows_for_a_minute_is_gone() -> None:
    """Several looks, by name and by key, and a minute between the first and the last."""
    launcher = Scripted(None)
    found = launcher.watch(make_report())
    assert isinstance(found, Missing)
    assert found.looks >= LOOKS
    assert launcher.now_s >= 60


@pytest.mark.parametrize("odd", [None, BadSetup("403 denied"), BadSetup("401 no credentials")])
def test_one_odd_answer_is_no_news(odd: BadSetup | None) -> None:
    """A single 404, 401 or 403 in the middle of a wait, and again after a good answer: the job is waited for."""
    seen = make_report()
    launcher = Scripted(odd, odd, seen, odd, odd, seen, odd, make_report(JobState.SUCCEEDED))
    assert launcher.watch(seen) == make_report(JobState.SUCCEEDED)


def test_a_job_that_only_its_key_finds_is_not_missing() -> None:
    """Its name is answered by 404, and the list shows it."""
    launcher = Scripted(None)
    launcher.listed = [make_report(JobState.SUCCEEDED)]
    assert launcher.watch(make_report()) == make_report(JobState.SUCCEEDED)
    assert launcher.looks == [0]


def test_refusals_do_not_make_a_job_gone() -> None:
    """Refused looks and one that does not show the job: nothing is known yet."""
    refused = BadSetup("403 denied")
    launcher = Scripted(*[refused] * 5, None, make_report(JobState.SUCCEEDED))
    assert launcher.watch(make_report()) == make_report(JobState.SUCCEEDED)


def test_a_permission_that_stays_away_is_an_error() -> None:
    """After a minute of refusals the message says what to grant."""
    launcher = Scripted(BadSetup("403 denied"))
    with pytest.raises(BadSetup, match="denied"):
        launcher.watch(make_report())
    assert 60 <= launcher.now_s <= 120


def test_a_job_not_shown_at_the_deadline_is_no_lost_job() -> None:
    """Out of time after one odd answer: an error that may pass, never "it is gone"."""
    with pytest.raises(TryAgain, match="odd answer"):
        Scripted(None).watch(None, for_s=0)


def test_a_state_is_news_and_the_looks_grow_seldom() -> None:
    """Nothing new for twelve minutes: fewer than 40 looks, the last ones a minute apart."""
    launcher = Scripted(*[make_report()] * 40, make_report(JobState.SUCCEEDED))
    report = launcher.watch(make_report())
    assert isinstance(report, JobReport)
    assert report.state is JobState.SUCCEEDED
    gaps = [after - before for before, after in zip(launcher.looks, launcher.looks[1:], strict=False)]
    assert gaps[0] == 10
    assert gaps == sorted(gaps)
    assert gaps[-1] == pytest.approx(60)


def test_progress_is_held_back() -> None:
    """A new epoch is told once `hold_s` has passed, a new state at once."""
    launcher = Scripted(make_report(), make_report(epochs_done=1))
    assert launcher.watch(make_report(), hold_s=100) == make_report(epochs_done=1)
    assert launcher.now_s == pytest.approx(100, abs=11)


def test_the_end_of_its_time_is_kept_to() -> None:
    """After `for_s` the job is answered as it is, to the second."""
    launcher = Scripted(make_report())
    assert launcher.watch(make_report(), for_s=47) == make_report()
    assert launcher.now_s == 47


def test_a_launcher_that_is_away_is_outlasted() -> None:
    """Errors that pass are not seen by who waits, however many in all, as long as answers come between them."""
    away = [TryAgain("503")] * 20
    launcher = Scripted(*away, make_report(), *away[:8], make_report(JobState.SUCCEEDED))
    report = launcher.watch(make_report())
    assert isinstance(report, JobReport)
    assert report.state is JobState.SUCCEEDED


def test_a_launcher_that_stays_away_is_given_up() -> None:
    """Ten minutes without any answer: the error says for how long, and what becomes of the job."""
    launcher = Scripted(make_report(), TryAgain("503 backend"))
    with pytest.raises(TryAgain, match=r"has not said how \S+ is for 6\d\d s: 503 backend. The job goes on"):
        launcher.watch(make_report())
    assert PATIENCE_S <= launcher.now_s <= PATIENCE_S + 70


def test_a_silent_launcher_at_the_deadline_is_no_lost_job() -> None:
    """Out of time while nothing answers: an error, never "it does not know the job"."""
    with pytest.raises(TryAgain):
        Scripted(TryAgain("503")).watch(None, for_s=30)


def test_a_look_that_failed_is_no_news() -> None:
    """The launcher could not see how the job is: asked again, and outlasted like one that is away."""
    unseen = msgspec.structs.replace(make_report(), problem="could not read the job: Permission denied")
    launcher = Scripted(unseen, unseen, make_report(JobState.SUCCEEDED))
    assert launcher.watch(make_report()) == make_report(JobState.SUCCEEDED)
    launcher = Scripted(unseen)
    with pytest.raises(TryAgain, match="Permission denied"):
        launcher.watch(make_report())
    assert launcher.now_s >= PATIENCE_S


def test_what_is_done_meanwhile_comes_as_often_as_it_asks() -> None:
    """Between two looks of a job at work, which come no later for it; never longer than until the next look."""
    running, ended = make_report(), make_report(JobState.SUCCEEDED)
    launcher, done = Scripted(running, running, ended), list[float]()

    def meanwhile() -> float:
        done.append(launcher.now_s)
        launcher.now_s += 1.0  # it takes a while itself
        return 3.0

    assert launcher.watch(running, meanwhile=meanwhile) == ended
    assert launcher.looks == [0, 10, 20]
    assert done == [0, 4, 8, 10, 14, 18]


def test_nothing_is_done_meanwhile_where_the_job_waits() -> None:
    """It has nothing to show before it is at work."""
    queued, ended = make_report(JobState.QUEUED), make_report(JobState.SUCCEEDED)
    launcher = Scripted(queued, ended)

    def meanwhile() -> float:
        raise AssertionError

    assert launcher.watch(queued, meanwhile=meanwhile) == ended
