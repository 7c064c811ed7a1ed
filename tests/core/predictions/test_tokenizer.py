"""Texts to numbers, as Keras' old `Tokenizer` and `pad_sequences` made them."""

import json
import re
from typing import Any

import pytest

from switchyard.core.predictions.tokenizer import TextOptions, pad, read_tokenizer, to_numbers

WORDS = {"<oov>": 1, "a": 2, "good": 3, "film": 4, "bad": 5, "i̇": 6, "don't": 7}


def write(words: Any = WORDS, **config: Any) -> bytes:
    """As `Tokenizer.to_json` writes it."""
    said = {
        "num_words": None,
        "filters": '!"#$%&()*+,-./:;<=>?@[\\]^_`{|}~\t\n',
        "lower": True,
        "split": " ",
        "char_level": False,
        "oov_token": None,
        "document_count": 2,
        "word_counts": "{}",
        "word_docs": "{}",
        "index_docs": "{}",
        "index_word": "{}",
        "word_index": json.dumps(words),
        **config,
    }
    return json.dumps({"class_name": "Tokenizer", "config": said}).encode()


@pytest.mark.parametrize(
    ("text", "config", "numbers"),
    [
        ("A good, GOOD film!", {}, [2, 3, 3, 4]),
        ("an unknown film", {}, [4]),
        ("an unknown film", {"oov_token": "<oov>"}, [1, 1, 4]),
        ("a bad film", {"num_words": 4}, [2]),
        ("a bad film", {"num_words": 4, "oov_token": "<oov>"}, [2, 1, 1]),
        ("A Good film", {"lower": False}, [4]),
        ("a\tgood\nfilm-bad", {}, [2, 3, 4, 5]),
        ("a\u00a0good film", {}, [4]),
        ("don't İ", {}, [7, 6]),
        ("good_film", {"split": "_", "filters": " "}, [3, 4]),
        ("ab a", {"char_level": True}, [2, 2]),
        ("", {}, []),
        ("!!! ...", {"oov_token": "<oov>"}, []),
    ],
)
def test_a_text_becomes_the_numbers_of_its_words(text: str, config: dict[str, Any], numbers: list[int]) -> None:
    """Filtered, lowered, split; what is unknown or too rare is left out, or one word stands for it."""
    assert to_numbers(text, read_tokenizer(write(**config))) == numbers


@pytest.mark.parametrize(
    ("numbers", "options", "padded"),
    [
        ([1, 2], {}, [0, 0, 1, 2]),
        ([1, 2], {"padding": "post"}, [1, 2, 0, 0]),
        ([1, 2, 3, 4, 5], {}, [2, 3, 4, 5]),
        ([1, 2, 3, 4, 5], {"truncating": "post"}, [1, 2, 3, 4]),
        ([], {}, [0, 0, 0, 0]),
    ],
)
def test_a_text_is_as_long_as_the_models_input(numbers: list[int], options: Any, padded: list[int]) -> None:
    """Zeros and cuts before or after it, as the training had them."""
    assert pad(numbers, 4, TextOptions(**options)) == padded


def test_the_largest_number_is_known() -> None:
    """It must be less than the model's vocabulary."""
    assert read_tokenizer(write()).largest == 7
    assert read_tokenizer(write(num_words=4)).largest == 3


def test_json_that_was_written_as_json_once_more_is_read() -> None:
    """`json.dump(tokenizer.to_json(), file)` is often seen."""
    assert read_tokenizer(json.dumps(write().decode()).encode()) == read_tokenizer(write())


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"\x80\x04\x95", "malformed"),
        (b"[]", "Expected `object`"),
        (b'{"class_name": "Other", "config": {"word_index": "{}"}}', "Invalid enum value 'Other'"),
        (b'{"class_name": "Tokenizer", "config": {}}', "missing required field `word_index`"),
        (write({"a": True}), "Expected `int`, got `bool`"),
        (write({"a": 0}), "Expected `int` >= 1"),
        (write({"a": 1.5}), "Expected `int`, got `float`"),
        (write(oov_token="<unk>"), "must have the word of `config.oov_token`, '<unk>'"),
        (write(split=""), "it is empty"),
        (write(num_words=0), ">= 1"),
    ],
)
def test_what_is_no_tokenizer_is_refused(data: bytes, said: str) -> None:
    """A pickle, too."""
    with pytest.raises(ValueError, match=re.escape(said)):
        read_tokenizer(data)
