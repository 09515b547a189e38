"""Learning and quality: test-then-learn beside the baselines, loss, stability of the steps, what is published."""

from __future__ import annotations

from deploy.dashboards.panels import Page, Panel
from deploy.dashboards.promql import or_zero, quantile, rate

PAGE = Page(
    uid="headwater-learning",
    title="Headwater: learning and quality",
    panels=(
        Panel(
            title="Prequential HR@10",
            unit="percentunit",
            queries={"{{model}}": 'headwater_prequential_ratio{metric="hr@10"}'},
            about="Alerts: PrequentialDrop, ServedBelowPopular.",
        ),
        Panel(
            title="Prequential NDCG@10",
            unit="percentunit",
            queries={"{{model}}": 'headwater_prequential_ratio{metric="ndcg@10"}'},
        ),
        Panel(title="Learning loss", width=8, queries={"{{learner}}": "headwater_learning_loss"}),
        Panel(
            title="Examples learned",
            unit="eps",
            width=8,
            queries={
                "{{job}}": rate('headwater_examples_learned_total{job=~"trainer.*"}', by="job"),
                "{{learner}} leaves out: {{what}}": or_zero(rate("headwater_learning_shed_total", by="learner, what")),
            },
            about="What a trainer leaves out to catch up is replay and tests; every example is learnt.",
        ),
        Panel(
            title="Time of a snapshot",
            unit="s",
            width=8,
            queries={"{{job}} p95": or_zero(quantile(0.95, "headwater_snapshot_seconds", by="job", window="5m"))},
        ),
        Panel(
            title="Clippy: share of a step that is taken",
            unit="percentunit",
            queries={
                "{{learner}}, median": "quantile by (learner) (0.5, headwater_clipping_factor_ratio)",
                "{{learner}}, least": "min by (learner) (headwater_clipping_factor_ratio)",
            },
            about="Alert: LearningCut.",
        ),
        Panel(
            title="Stability of learning",
            queries={
                "{{learner}}, gradient norm": "headwater_gradient_norm",
                "{{learner}}, step over weights": "headwater_update_ratio",
                "{{learner}}, skipped steps": "headwater_skipped_steps",
                "{{learner}}, loss spikes": "headwater_loss_spikes",
            },
            about="Alert: LearningUnstable.",
        ),
        Panel(
            title="Versions",
            width=8,
            queries={
                "{{kind}}": "sum by (kind) (headwater_published_models_total)",
                "refused by {{gate}}": or_zero("sum by (gate) (headwater_publish_rejected_total)"),
            },
            about="Alert: ParityFailure.",
        ),
        Panel(
            title="Parity: torch against ONNX Runtime",
            unit="sci",
            width=8,
            queries={"largest difference": "max(headwater_parity_max_abs_logits)"},
        ),
        Panel(
            title="Time of a publish",
            unit="s",
            width=8,
            queries={"p95": or_zero(quantile(0.95, "headwater_publish_seconds", window="5m"))},
        ),
        Panel(
            title="Foundation model: recall@10 of what comes",
            unit="percentunit",
            queries={"{{scorer}}": "max by (scorer) (headwater_foundation_recall_ratio)"},
        ),
        Panel(
            title="Foundation model: what is published",
            queries={
                "users": "max(headwater_foundation_users)",
                "items": "max(headwater_foundation_items)",
                "versions": or_zero('sum(headwater_published_models_total{kind="foundation"})'),
                "residual": "max(headwater_foundation_alignment_residual_ratio)",
            },
        ),
        Panel(
            title="Foundation model: training",
            queries={
                "{{kind}} windows a second": or_zero(rate("headwater_foundation_windows_total", by="kind")),
                "steps behind the version": "max(headwater_foundation_version_steps)",
            },
        ),
        Panel(
            title="Foundation model: time of a refresh",
            unit="s",
            queries={"p95": or_zero(quantile(0.95, "headwater_foundation_refresh_seconds", window="30m"))},
        ),
    ),
)
