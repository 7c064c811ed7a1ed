"""docs/your-data.md: its flags exist, and its split is the one that is made."""

import csv
import re
from pathlib import Path

import pytest

from switchyard.core.runs.flags import to_flag
from switchyard.core.runs.spec import TrainSpec
from tests.docs.pages import read_page
from trainer.data.reading import read_interactions
from trainer.data.splitting import split_by_time

PAGE = read_page("your-data.md")


def test_every_flag_of_the_page_exists() -> None:
    """As training names it."""
    flags = set(re.findall(r"--[a-z][a-z-]+", PAGE))
    assert len(flags) > 15
    assert flags - {to_flag(name) for name in TrainSpec.__struct_fields__} == set()


def test_columns_and_defaults_are_as_the_page_says() -> None:
    """The names that need no flag, and the two tenths."""
    spec = TrainSpec()
    for name in (spec.buyer_column, spec.product_column, spec.time_column, spec.quantity_column, spec.invoice_column):
        assert f"`{name}`" in PAGE
    assert (spec.validation_fraction, spec.test_fraction) == (0.1, 0.1)


@pytest.fixture
def ratings(tmp_path: Path) -> Path:
    """The page's example: a file of three columns."""
    path = tmp_path / "ratings.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["userId", "movieId", "timestamp"])
        writer.writerows([row % 50, (row * 7) % 40, 1_700_000_000 + row * 60] for row in range(1000))
    return path


def test_the_page_s_example_is_split_as_it_says(ratings: Path) -> None:
    """By time: 800 rows to train on, then a tenth, then the latest tenth; what is dropped is counted under its name."""
    [command] = re.findall(r"^\$ \.venv/bin/switchyard train (.*)$", PAGE, re.MULTILINE)
    flags = dict(zip(command.split()[::2], command.split()[1::2], strict=True))
    spec = TrainSpec(
        data_uri=ratings.as_uri(),
        buyer_column=flags["--buyer-column"],
        product_column=flags["--product-column"],
        time_column=flags["--time-column"],
        top_k=5,
    )
    dataset = split_by_time(read_interactions(spec), spec)
    assert (dataset.counts["rows_read"], dataset.counts["rows_used"], dataset.counts["train_rows"]) == (1000, 1000, 800)
    assert "test_rows_dropped_cold_buyer" in dataset.counts
    for name in re.findall(r"`((?:rows|test)_[a-z_]+)`", PAGE):
        assert name in dataset.counts, name
