"""Every word of the report, by language. Code elsewhere names a text by its key and fills in numbers.

`{...}` marks what is filled in; `**` marks what is set in bold. Another language is another mapping with the same keys; a test
compares the keys. The cost is that a sentence stands apart from the condition under which it is said.
"""

from collections.abc import Mapping

from lm.report.texts_zh import CHINESE

ENGLISH: Mapping[str, str] = {
    "html_lang": "en",
    "kicker": "dataladder report",
    "made": "made {made_at} from lake snapshot {snapshot}",
    "made_without_snapshot": "made {made_at}",
    "sql": "SQL behind this",
    "nothing": "Nothing here yet.",
    "all_rows": "Showing the first {shown} of {total}; the SQL gives all.",
    # metrics
    "unit_loss_nats_per_token": "nats per token",
    "unit_bits_per_byte": "bits per byte",
    "metric_loss_nats_per_token": "validation loss",
    "metric_bits_per_byte": "validation bits per byte",
    # the story
    "story_no_runs": "No model has been trained yet, so there is no curve to speak of.",
    "story_fell": "From {first} to {last} training tokens, the {metric} of the {size} model fell from {high} to **{low} {unit}**.",
    "story_rose": "From {first} to {last} training tokens, the {metric} of the {size} model did **not** fall: it went from "
    "{high} to {low} {unit}.",
    "story_one_rung": "Only one amount of data has been trained so far, so nothing can be said about how loss falls with data.",
    "story_no_forecast": "No forecast has been registered.",
    "story_forecast_open": "The law forecasts **{predicted}** at {tokens} tokens for the {size} model, with a {level} interval from "
    "**{low} to {high}**. That rung has not been measured yet.",
    "story_forecast_inside": "Before the {tokens}-token rung was trained, the law had forecast **{predicted}** for it, with a {level} "
    "interval from **{low} to {high}**. The outcome, {seeds}, is **{outcome}**: inside the interval, {miss} "
    "{direction} the forecast.",
    "story_forecast_outside": "Before the {tokens}-token rung was trained, the law had forecast **{predicted}** for it, with a {level} "
    "interval from **{low} to {high}**. The outcome, {seeds}, is **{outcome}**: **outside the interval**, "
    "{miss} {direction} the forecast. The form or its interval was wrong here, and what it says about still "
    "larger amounts should not be trusted without another rung.",
    "story_late": "This forecast was registered after its rung was trained, so it counts as a fit and not as a prediction.",
    "story_other": "For the {size} model the forecast was {predicted} [{low}, {high}] and the outcome {outcome}, {verdict}.",
    "story_other_open": "For the {size} model it is {predicted} [{low}, {high}], not measured yet.",
    "story_record": "Of {scored} forecasts scored on this ladder, {inside} fell inside their interval.",
    "story_next_clear": "If the law holds, doubling the data once more lowers the {size} model's loss by {gain}, to {next}; that "
    "is more than the interval leaves open.",
    "story_next_unclear": "If the law holds, doubling the data once more lowers the {size} model's loss by {gain}, to {next}; the "
    "interval [{low}, {high}] still includes no gain at all.",
    "story_sure_points": "The law behind the forecast rests on {points} losses at {rungs}, {seeds}.",
    "story_sure_by_form_error": "Most of its interval comes from how far fits without the largest rungs missed them.",
    "story_sure_by_form_error_unseen": "With too few rungs to hide one, its interval spans the whole gain the law predicts.",
    "story_sure_by_seed_noise": "Most of its interval comes from the scatter between seeds.",
    "story_sure_by_sampling": "Most of its interval comes from the small number of points.",
    "story_open_constants": "The data does **not** fix {constants}: forecasts near the data do not need {them}, but a statement about "
    "the loss at unlimited data would.",
    "story_fixed_constants": "The data fixes all constants of the law.",
    "story_excluded": "{excluded} were left out of the fit, with reasons below.",
    "story_warning": "Warning: {warning}.",
    "story_data": "{captures} captured pages gave {documents} documents, {texts} of them distinct.",
    "story_recipe": "The recipe {recipe} keeps {share} of the distinct texts; the largest rung uses {used} of {available} "
    "tokens available.",
    "story_alarm": "{alarms} of its rules removed nothing or everything, and deserve a look.",
    "one_seed": "one seed only",
    "many_seeds": "{seeds} seeds each",
    "seed_outcome_one": "one run",
    "seed_outcome_many": "the mean of {seeds} seeds",
    "above": "above",
    "below": "below",
    "inside": "inside the interval",
    "outside": "outside the interval",
    "it": "it",
    "them": "them",
    "points_one": "One point",
    "points_many": "{points} points",
    "rungs_count": "{rungs} amounts of data",
    # tiles
    "tile_texts": "distinct texts",
    "tile_tokens": "tokens available",
    "tile_runs": "runs",
    "tile_loss": "{unit} at {tokens} tokens",
    "tile_forecast": "forecast [{low}, {high}]",
    # sections
    "curve_title": "Loss against data",
    "curve_lead": "Each point is one checkpoint at the end of its decay. Lines are the laws behind the forecasts, which saw only the rungs "
    "before it; bands are {level} intervals for {seeds}. The hollow diamond with its bar is the forecast, the cross the measured mean.",
    "axis_tokens": "training tokens",
    "legend_size": "model size",
    "forecasts_title": "Forecasts and their outcomes",
    "forecasts_lead": "A forecast is a row that is written before its rung is trained and never replaced.",
    "laws_title": "Laws",
    "laws_lead": "Huber loss on the log loss, many starts; intervals are 90% bootstrap intervals over runs. A struck "
    "constant is one that the data does not fix.",
    "funnel_title": "From pages to training data",
    "funnel_lead": "What each step keeps. Token counts exist from the point where texts are tokenized.",
    "funnel_captures": "captured pages",
    "funnel_documents": "documents with text",
    "funnel_texts": "distinct texts",
    "funnel_recipe": "kept by {recipe}",
    "funnel_ladder": "largest rung ({recipe})",
    "rules_title": "What each rule removes",
    "rules_lead": "A text counts under the first rule it fails, so the bars of one recipe add up to what it removes. Tokens "
    "are estimated from bytes.",
    "rules_none": "removes nothing",
    "alarm_removes_nothing": "removes nothing",
    "alarm_removes_everything": "removes everything",
    "duplicates_title": "Duplicates",
    "duplicates_lead": "{documents} documents hold {texts} distinct texts; {repeated} texts occur more than once. Among distinct "
    "texts, {pairs} pairs are near-duplicates, verified on their shingles; {near} texts have at least one. A pair that several presets "
    "compared counts once, with its greatest similarity.",
    "losses_title": "What sources lose as duplicates",
    "losses_lead": "Documents that pass a recipe's rules and go for its policy on duplicates, by crawl and host. An alarm says that a "
    "source loses more than the recipe allows.",
    "alarm_source": "loses too much",
    "alarm_not_measured": "value never measured",
    "source_crawl": "crawl",
    "source_host": "host",
    "contamination_title": "Evaluation sets in the data",
    "contamination_lead": "Items of which a document holds at least half, and those of which anything was found. Precision and recall "
    "are those of each scan on copies and look-alikes that it planted itself.",
    "languages_title": "Languages",
    "hosts_title": "Hosts",
    "domains_title": "Loss by host and language",
    "domains_lead": "Bits per byte on held-out text, mean over seeds, at the largest rung, for the largest model.",
    "tasks_title": "Evaluation sets",
    "tasks_lead": "Scored by likelihood, mean over seeds, for the largest model. ~clean is without the items that the training data holds; "
    "the error is that of one run over its items.",
    "task_accuracy": "accuracy",
    "task_accuracy_normalized": "accuracy per byte",
    "task_answer_bits_per_byte": "bits per byte of the answer",
    "runs_title": "Runs",
    "runs_lead": "One row per trunk: a run at constant learning rate with a decayed branch at every rung. Parameters count embeddings.",
    "rungs_title": "Rungs",
    "rungs_lead": "Nested amounts of data: each rung contains the smaller ones.",
    "rejects_title": "Set aside",
    "rejects_lead": "Records that did not become rows, counted under a reason. Nothing is dropped silently.",
    "stages_title": "Stages",
    "stages_lead": "What the lake holds from each stage, and the seconds of work behind it.",
    # columns
    "col_step": "step",
    "col_documents": "documents",
    "col_of_previous": "of texts",
    "col_bytes": "size",
    "col_tokens": "tokens",
    "col_recipe": "recipe",
    "col_rule": "rule",
    "col_failing": "texts failing",
    "col_removed": "removed first by it",
    "col_share": "share",
    "col_est_tokens": "tokens ≈",
    "col_alarm": "alarm",
    "col_stage": "stage",
    "col_reason": "reason",
    "col_rejects": "records",
    "col_example": "for example",
    "col_language": "language",
    "col_host": "host",
    "col_source": "source",
    "col_lost": "lost",
    "col_touched": "touched",
    "col_known": "contaminated",
    "col_precision": "precision",
    "col_recall": "recall",
    "col_part": "part",
    "col_evaluation_set": "set",
    "col_scored": "items",
    "col_largest": "at the largest rung",
    "col_stderr": "standard error",
    "col_model": "model",
    "col_params": "parameters",
    "col_non_embedding": "without embeddings",
    "col_seed": "seed",
    "col_trained": "tokens trained",
    "col_flops": "FLOPs",
    "col_speed": "tokens/s",
    "col_mfu": "MFU",
    "col_waiting": "waiting for data",
    "col_memory": "memory",
    "col_seconds": "time",
    "col_device": "device",
    "col_rung": "rung",
    "col_available": "available",
    "col_bpb": "bits per byte",
    "col_first": "at the smallest rung",
    "col_items": "held-out documents",
    "col_outputs": "outputs",
    "col_rows": "rows",
    "col_finished": "last finished (UTC)",
    "col_form": "law",
    "col_points": "points",
    "col_upto": "fitted up to",
    "col_metric": "metric",
    "col_predicted": "forecast",
    "col_interval": "interval",
    "col_outcome": "outcome",
    "col_verdict": "verdict",
    "col_registered": "registered (UTC)",
    "col_rung_trained": "rung trained (UTC)",
    "col_final": "final loss",
    "verdict_inside": "inside",
    "verdict_outside": "outside",
    "verdict_open": "open",
    "verdict_late": "registered late",
    "joint": "all sizes",
    "law_named": "{form}, {size}, up to {tokens} tokens",
    "note": "{which}: {found}.",
    "semicolon": "; ",
    "not_fixed": "not fixed: {names} ({reason})",
    "excluded": "{number} left out: {reason}",
    "reason_not_finite": "not a finite number",
    "reason_not_positive": "not positive",
    "reason_duplicate": "same run twice",
    "reason_conflicting_values": "one run with two different losses",
    "reason_highest_loss": "among the highest losses, as asked",
    "form_data_only": "E + B/Dᵇ",
    "form_chinchilla": "E + A/Nᵃ + B/Dᵇ",
    "axis_pairs": "near-duplicate pairs",
    "axis_jaccard": "Jaccard similarity of the two texts",
    "axis_removed": "texts removed first by this rule",
    "axis_documents": "documents",
    "tip_observed": "measured",
    "tip_fitted": "law",
    "tip_interval": "interval",
    "tip_forecast": "forecast",
    "tip_outcome": "outcome",
    # the opening page
    "head_answer": "The answer",
    "head_sure": "How sure",
    "head_change": "What would change it",
    "head_data": "The data",
    "language": "language",
    # decisions
    "recipes_title": "Which recipe",
    "recipes_lead": "Each recipe against the reported one, at the target named above. The multiplier says how many tokens of the first one "
    "token of the second is worth; its interval counts the fit and the form's own error, which recipes share in part. Beside it stands the "
    "recipe that leads at the largest amount measured for both.",
    "ranking_title": "Order of recipes",
    "next_runs_title": "What to run next",
    "next_runs_lead": "In this order; each row counts those before it. What is left is the expected width of the interval, or the expected "
    "probability of deciding rightly.",
    "allocation_title": "Size or data",
    "allocation_lead": "Loss against model size at four budgets. The dashed line is the frontier through the best sizes; the bar at each "
    "point is the interval of the best size. Budgets are counted as 6 x parameters x tokens.",
    "repetition_title": "Repeating data",
    "repetition_lead": "Loss of the largest model when the unique tokens there are are seen more than once. "
    "Right of the dashed line a repeated token is worth less than half a new one.",
    "half_worth": "half worth",
    "residuals_title": "Residuals",
    "residuals_lead": "Measured loss against the newest law, run by run. A bend that all sizes share is the form's error.",
    "profiles_title": "What the data fixes",
    "profiles_lead": "Each constant is held at a value and all others are fitted again. Where the line stays flat, the runs cannot tell; "
    "the shaded range would be kept by a 90% likelihood ratio.",
    "record_title": "Record of forecasts",
    "record_lead": "Where each outcome fell, in units of its interval: 0 is the forecast, -1 and 1 are the ends.",
    "record_count": "{inside} of {scored} outcomes fell inside their {level} interval.",
    "changed_title": "What changed",
    "changed_lead": "{what}",
    "pair": "1 {b} in {a}",
    "beats": "{a} beats {b}",
    "tie": "{a} and {b}: tie",
    "no_crossing": "none in sight",
    "budget": "{flops} FLOPs",
    "forecast_of": "{size} at {tokens} tokens",
    "axis_multiplier": "tokens that one token is worth",
    "axis_size": "parameters",
    "axis_loss": "loss",
    "axis_epochs": "epochs over the unique tokens",
    "axis_residual": "measured against law",
    "axis_worse": "objective above best",
    "axis_record": "outcome, in half-widths of its interval",
    "col_probability": "probability",
    "col_multiplier": "one token is worth",
    "col_gain": "loss gained",
    "col_crossing": "they swap at",
    "col_single_budget": "ahead at one amount",
    "col_place": "place",
    "col_loss": "loss",
    "col_best": "best with",
    "col_order": "order",
    "col_width_left": "interval left",
    "col_right": "right with",
    "col_size_factor": "size",
    "col_extra_loss": "higher loss",
    "col_wasted": "budget wasted",
    "col_question": "question",
    "col_subject": "about",
    "col_before": "was",
    "col_now": "is",
    "foot": "Every figure is a query over the lake. Nothing on this page was loaded from a network.",
}

LANGUAGES: Mapping[str, Mapping[str, str]] = {"en": ENGLISH, "zh": CHINESE}


class Texts:
    """The words of one language: `texts("axis_tokens")`, `texts("made_without_snapshot", made_at=...)`."""

    def __init__(self, language: str = "en") -> None:
        if language not in LANGUAGES:
            raise ValueError(f"a report's language must be one of {', '.join(LANGUAGES)}; came {language!r}")
        self.language = language
        self._texts = LANGUAGES[language]

    def __call__(self, key: str, **values: str) -> str:
        return self._texts[key].format(**values)

    def maybe(self, prefix: str, word: str) -> str:
        """The text for a word from the data, or the word itself if there is none."""
        return self._texts.get(f"{prefix}_{word}", word)
