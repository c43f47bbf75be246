"""covidpipe: chest images in, infection.parquet out.
snakemake --cores all --configfile config/real_ct.yaml            every cohort's tables and report
snakemake --cores all --configfile config/real_ct.yaml evaluate   the networks and their test results
snakemake --cores all paper                                       both papers' tables and figures (config/paper.yaml)
"""

from snakemake.utils import min_version

min_version("9.27")


include: "workflow/rules/common.smk"
include: "workflow/rules/ingest.smk"
include: "workflow/rules/split.smk"
include: "workflow/rules/harmonize.smk"
include: "workflow/rules/wavelet.smk"
include: "workflow/rules/lung_view.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/study.smk"
include: "workflow/rules/leakage.smk"
include: "workflow/rules/leaderboard.smk"
include: "workflow/rules/paper.smk"
include: "workflow/rules/predict.smk"
include: "workflow/rules/reference.smk"
include: "workflow/rules/conformal.smk"
include: "workflow/rules/quantify.smk"
include: "workflow/rules/score.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/preflight.smk"


report: "workflow/report/workflow.rst"


onstart:
    jobs.write_config(STUDY)
    watch.start(STUDY, log, logger)


onsuccess:
    watch.end("done")


onerror:
    watch.end("failed")


rule cohort:
    default_target: True
    input:
        all_cohorts(),
        all_tables,


rule train:
    input:
        all_models(),


rule evaluate:
    input:
        all_metrics(),
        all_references(),
        all_calibrations(),
        study_page(),


rule leakage:
    input:
        rules.leakage_page.output.page,


rule demo:
    input:
        all_cohorts(),
        all_tables,
        all_metrics(),
        study_page(),
