"""The settings group ``drift``."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field, field_validator

ActionKind = Literal["learning_rate", "replay", "refresh_teacher", "hold", "roll_back"]
SIGNALS = (
    *("loss", "calibration", "hits", "ranks", "quality", "harm", "movement"),
    *("answers", "places", "surprise", "features", "items", "surfaces"),
)
DEFAULT_ACTIONS: dict[str, list[ActionKind]] = {
    "loss": ["learning_rate", "refresh_teacher"],
    "hits": ["learning_rate", "refresh_teacher"],
    "ranks": ["learning_rate", "refresh_teacher"],
    "quality": ["learning_rate", "refresh_teacher"],
    "calibration": ["learning_rate"],
    "answers": ["learning_rate", "refresh_teacher"],
    "places": ["learning_rate", "refresh_teacher"],
    "surprise": ["learning_rate", "refresh_teacher"],
    "items": ["refresh_teacher"],
    "harm": ["hold", "replay"],
}


class Drift(BaseModel):
    """The drift monitor of a trainer; numbers of examples are of tested ones where they belong to a signal."""

    mode: Literal["act", "dry-run", "off"] = Field("dry-run", description="dry-run says what it would have done")
    detector: Literal["cusum", "adwin", "page-hinkley", "kswin"] = "cusum"
    delta: float = Field(1e-4, gt=0, lt=1, description="a detector's chance of a false proposal at each of its steps")
    alpha: float = Field(1e-6, gt=0, lt=1, description="1 / mean examples between false alarms of harm")
    test_every: int = Field(2, ge=1, description="micro-batches; all of them while a signal is suspicious")
    warm_up_examples: int = Field(
        1_500, ge=50, description="tested examples before a signal is judged: a new model changes by itself"
    )
    confirm_examples: int = Field(64, ge=32, description="fresh tested examples that must agree with a proposal")
    least_effect: float = Field(0.15, ge=0, description="least difference, in standard deviations of a value")
    least_t: float = Field(5.0, ge=0, description="least Welch's t over means of blocks")
    reference_examples: int = Field(2_000, ge=100, description="before the newest window, for distributions")
    window_examples: int = Field(500, ge=50, description="of the newest window, for features")
    names_window_examples: int = Field(250, ge=50, description="of the newest window, for items and surfaces")
    least_psi: float = Field(0.2, gt=0)
    shadow_examples: int = Field(10_000, ge=100, description="learned examples until the frozen copy is replaced")
    actions: dict[str, list[ActionKind]] = Field(DEFAULT_ACTIONS, description="signal -> what is done about it")
    for_examples: int = Field(3_000, ge=1, description="learned examples that an action lasts")
    cooldown_examples: int = Field(6_000, ge=0, description="from an action's beginning to the next of its kind")
    learning_rate_factor: float = Field(2.0, gt=1, le=10)
    replay_share: float = Field(0.5, gt=0, le=1)

    @field_validator("actions")
    @classmethod
    def _check_actions(cls, given: dict[str, list[ActionKind]]) -> dict[str, list[ActionKind]]:
        unknown = sorted(set(given) - set(SIGNALS))
        if unknown:
            raise ValueError(f"drift.actions: no signal is called {', '.join(unknown)}; there are {', '.join(SIGNALS)}")
        return given
