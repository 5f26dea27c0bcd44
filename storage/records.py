"""Small records that pass between the stages and the lake. Only the standard library, so that `lm` can import them anywhere."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reject:
    """Records set aside by a stage for one reason: a row of the table `rejects`."""

    stage: str
    """Stage that set them aside."""
    source: str
    """File, site or table they came from."""
    reason: str
    """Why, as a fixed word such as truncated_record."""
    num_rejects: int
    """How many."""
    example: str
    """One of them, as a place to look: a URL or file and offset."""
