"""Tests, intervals and the rule that turns them into outcomes; scipy underneath, no model and no file in sight.

The modules say ``import scipy`` and not ``from scipy import stats``: scipy loads a subpackage when it is first used,
so that a process that only collects audits does not wait for any.

All intervals are two-sided at 95 % unless a level is given; shares are in [0, 1]; differences are first minus second.
"""

from audits.statistics.comparison import Comparison, Interval
from audits.statistics.deciding import decide_paired, decide_share, n_to_decide_paired, n_to_decide_share
from audits.statistics.judging import decide, judge, judge_within
from audits.statistics.multiplicity import holm
from audits.statistics.paired import compare_paired, mcnemar_exact, paired_interval, tango_p_value
from audits.statistics.power import n_needed_paired, n_needed_scaling, n_needed_share, n_needed_unpaired
from audits.statistics.proportions import clopper_pearson, share_p_value, wilson
from audits.statistics.ranking import Agreement, auroc, kendall_tau, rank_agreement
from audits.statistics.regression import Line, fit_line
from audits.statistics.unpaired import compare_unpaired, fisher_exact, newcombe_interval

__all__ = [
    "Agreement",
    "Comparison",
    "Interval",
    "Line",
    "auroc",
    "clopper_pearson",
    "compare_paired",
    "compare_unpaired",
    "decide",
    "decide_paired",
    "decide_share",
    "fisher_exact",
    "fit_line",
    "holm",
    "judge",
    "judge_within",
    "kendall_tau",
    "mcnemar_exact",
    "n_needed_paired",
    "n_needed_scaling",
    "n_needed_share",
    "n_needed_unpaired",
    "n_to_decide_paired",
    "n_to_decide_share",
    "newcombe_interval",
    "paired_interval",
    "rank_agreement",
    "share_p_value",
    "tango_p_value",
    "wilson",
]
