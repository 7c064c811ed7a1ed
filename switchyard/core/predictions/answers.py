"""What a model answers for one buyer, before anyone says which model it was."""

import msgspec


class Recommendation(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Products, best first, each with its score."""

    product_ids: tuple[str, ...]
    scores: tuple[float, ...]  # finite; never increasing
    known: bool  # False: the model has not seen this buyer, and the products are popular ones
