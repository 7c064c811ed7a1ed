"""All that the results database keeps of one run, for a comparison."""

from datetime import datetime

import msgspec

from switchyard.core.history.publication import Digests, FullSeries, HistogramRow, Value, Versions


class KeptRun(msgspec.Struct, frozen=True, kw_only=True):
    """All that the results database keeps of one run's history, as verify compares it with the source."""

    quick_test_id: int
    mlflow_run_id: str = ""  # the row's
    gcs_artifacts_path: str = ""
    is_at_work: bool = False  # a job of the run is open
    history_text: str | None = None  # None: nothing is published
    etag: str = ""  # the history's
    digests: Digests | None = None  # None: we have published nothing
    versions: Versions = Versions()  # by which it was published
    cached_at: datetime | None = None
    histograms: list[HistogramRow] = []
    series: FullSeries | None = None
    values: list[Value] = []
    values_etag: str = ""  # of the history that they came from
    takes_nul: bool = True  # False: the column is jsonb, which has U+FFFD in place of NUL
