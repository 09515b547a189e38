"""Drift and actions: what moved, what was alarmed, and what is done about it."""

from __future__ import annotations

from deploy.dashboards.panels import Page, Panel
from deploy.dashboards.promql import or_zero


def beside_before(signals: str) -> dict[str, str]:
    """Means of some signals in the latest window, and in the one before it."""
    return {
        f"{{{{model}}}} {{{{signal}}}}{suffix}": or_zero(f'headwater_drift_{kind}_value{{signal=~"{signals}"}}')
        for kind, suffix in (("signal", ""), ("reference", ", before"))
    }


PAGE = Page(
    uid="headwater-drift",
    title="Headwater: drift and actions",
    panels=(
        Panel(
            title="Alarms",
            queries={
                "{{model}} {{signal}}": or_zero("sum by (model, signal) (headwater_drift_alarms_total)"),
                "{{model}} {{signal}}, dismissed": or_zero("sum by (model, signal) (headwater_drift_dismissed_total)"),
            },
            about="Dismissed: a detector went off, and the second window did not confirm it. Alert: Drift.",
        ),
        Panel(
            title="Actions under way",
            queries={
                "{{model}} {{kind}}": or_zero("max by (model, kind) (headwater_drift_action_active_ratio)"),
            },
            about="headwater watch --history lists them, --revert takes one back. Alert: DriftActionsPile.",
        ),
        Panel(
            title="Actions since the start",
            queries={
                "{{model}} {{kind}} {{state}}": or_zero("sum by (model, kind, state) (headwater_drift_actions_total)"),
            },
        ),
        Panel(
            title="Examples behind the windows",
            queries={"{{model}} {{signal}}": or_zero("headwater_drift_evidence_examples")},
        ),
        Panel(
            title="Loss, calibration: the latest window beside the one before",
            queries=beside_before("loss|calibration"),
        ),
        Panel(
            title="Quality against popular-7d, harm against a frozen shadow",
            queries={  # both may lie below zero, which the others may not
                "{{model}} {{signal}}": 'headwater_drift_signal_value{signal=~"quality|harm"} or on () vector(0)',
                "{{model}} {{signal}}, before": (
                    'headwater_drift_reference_value{signal=~"quality|harm"} or on () vector(0)'
                ),
            },
            about="Quality: hits of the served list minus hits of what was popular for seven days. "
            "Harm: loss of the served model minus that of one frozen earlier.",
        ),
        Panel(
            title="Place of the taken item in the served ranking, hits: the latest window beside the one before",
            queries=beside_before("ranks|hits"),
        ),
        Panel(
            title="What users do: answers to lists, places in them, surprise",
            queries=beside_before("answers|places|surprise"),
            about="Read from examples alone, so they notice a change of users first. Places and surprise in bits.",
        ),
        Panel(
            title="Features, items, surfaces: population stability index",
            queries={
                "{{model}} {{signal}}": or_zero('headwater_drift_signal_value{signal=~"features|items|surfaces"}'),
            },
            about="0.1 is a small change, 0.25 a large one.",
        ),
        Panel(
            title="Movement of the user vectors",
            queries={
                "{{model}}": or_zero('headwater_drift_signal_value{signal="movement"}'),
                "{{model}}, before": or_zero('headwater_drift_reference_value{signal="movement"}'),
            },
        ),
    ),
)
