# The one door. `make` lists what there is; every target sets up .venv by itself the first time.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LOCK := envs/cpu.lock
STUDIES := $(filter-out config/datasets.yaml,$(wildcard config/*.yaml))
export PATH := $(CURDIR)/$(BIN):$(PATH)

# The demo's jobs are small: on two cores, two of them side by side beat one on both.
ONE_CORE := $(foreach rule,phantoms ingest harmonize wavelet train_model evaluate_model predict,$(rule)=1)

SLURM_TESTS := python -m pytest tests/slurm -m 'slurm and not full_size' -rs

.DEFAULT_GOAL := help
.PHONY: help env demo test test-slurm check check-models check-backends check-authors check-paper check-slurm paper bench bench-check fuzz fuzz-guided faults check-defenses weights docs licenses sbom vulnerabilities lock clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{sub(/:.*/, "", $$1); printf "  make %-12s %s\n", $$1, $$2}'

env: $(VENV)/ready ## build .venv from the lock (2 to 4 minutes the first time)

# Bytecode is compiled at install: TensorFlow then imports in 4 s rather than 17.
$(VENV)/ready: $(LOCK) pyproject.toml
	@echo "Setting up $(VENV) from $(LOCK) (once; about 2 GB, 2 to 4 minutes) ..."
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info[:2] < (3, 14) else f"covidpipe needs Python 3.11 to 3.13, found {sys.version.split()[0]}: set PYTHON=python3.11")'
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement $(LOCK)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@
	@echo "$(VENV) is ready."

demo: env ## everything on synthetic patients, offline: read, train, quantify, report (about 8 minutes)
	@echo "Demo: two groups of synthetic patients, four small networks, both methods. Results go to results/demo."
	@mkdir -p results/demo
	@snakemake demo --profile workflow/profiles/local --configfile config/demo.yaml --set-threads $(ONE_CORE) \
		> results/demo/snakemake.log 2>&1 \
		|| { tail -n 40 results/demo/snakemake.log; echo "The demo stopped; all of its log: results/demo/snakemake.log"; exit 1; }
	@covidpipe show --config config/demo.yaml

# A worker that dies fails its test and ends the run: replaced, the run would wait forever for the rest of its file.
test: env ## the test suite (5 to 10 minutes); real images are read where they are found
	@echo "Running the tests (real images: COVIDPIPE_DATA or ../shared/data) ..."
	@python -m pytest --numprocesses auto --max-worker-restart=0 --dist loadfile --no-loadscope-reorder \
		--durations=5

test-slurm: env ## the workflow on a real SLURM of its own, faults included (12 to 20 minutes; as root, with Debian's SLURM)
	@echo "Running the tests on SLURM (skipped, with the reason, where there is none) ..."
	@$(SLURM_TESTS) --durations=5 || { \
		echo "Once more those that failed: whether a cluster's faults meet their moment is a matter of seconds."; \
		$(SLURM_TESTS) --last-failed --last-failed-no-failures none; }

check-slurm: env ## the demo by the literal `snakemake --profile slurm`, on such a SLURM (about 20 minutes)
	@python -m pytest tests/slurm -m 'slurm and full_size' -rs

check: env ## what CI runs before the tests: ruff, snakefmt, lint, mypy, the site, dry runs of all configs
	@echo "Checking style, types and the workflow ..."
	@ruff check . && ruff format --check --quiet .
	@snakefmt --check Snakefile workflow
	@mypy
	@snakemake --lint --configfile config/demo.yaml
	@python workflow/scripts/build_site.py results/site > /dev/null
	@covidpipe config | diff - config/config.yaml || { echo "config/config.yaml is stale: covidpipe config > config/config.yaml"; exit 1; }
	@for study in $(STUDIES); do \
		echo "dry run: $$study"; \
		more=$$(case $$study in config/paper*) echo paper;; */leaderboard.yaml) echo leaderboard;; esac); \
		snakemake cohort train evaluate $$more --dry-run --quiet all --configfile $$study || exit 1; \
	done
	@echo "All checks passed."

check-models: env ## what every network owes, and ImageNet weights: the deep ones that `make test` leaves out (5 minutes)
	@python -m pytest -m full_size $(patsubst %,tests/unit/test_%.py,every_model models pretrained torchvision_nets openvino) --numprocesses auto

check-backends: env ## every network on TensorFlow, JAX and PyTorch: the same answers (installs PyTorch; 12 minutes)
	@python -c 'import torch' 2> /dev/null || python -m pip install --quiet --disable-pip-version-check --requirement envs/torch.txt
	@python -m pytest -m full_size tests/backends

check-authors: env ## Khan et al.'s released weights on their 74 test images: their score, and what it is made of (3 minutes)
	@python -m pytest -m full_size tests/unit/test_released.py -rP

fuzz: env ## damaged files of every kind: rows, crashes, hangs, memory; FUZZ="--count 100000 --seconds 3000 --resume"
	@echo "Making and reading damaged files ..."
	@python -m tests.fuzz $(FUZZ)

fuzz-guided: env ## the same, led by coverage (atheris): a minute for each kind; FUZZ="--seconds 600 --kinds dicom"
	@python -m tests.fuzz.guided $(FUZZ)

faults: env ## kills at random moments of the whole demo, each rerun compared; FAULTS="--kills 100 --seconds 3000", again and again
	@python -m tests.faults $(FAULTS)

check-defenses: env ## take each defense out of a copy, and see that its test fails without it (15 minutes)
	@python -m tests.defenses

# Without the images: which to get, where and under which licence, and all of it on synthetic patients.
check-paper: env ## `snakemake paper` from nothing on synthetic patients, with two tiny networks (5 minutes)
	@python -m pytest -m full_size tests/workflow

paper: env ## both papers' tables and figures, published beside recomputed, on two cores (under 90 minutes)
	@if covidpipe datasets --missing --config config/paper-short.yaml; then study=paper-short; \
	else study=paper-phantoms; echo "Without them: synthetic patients, labelled so (config/paper-phantoms.yaml)."; fi; \
	snakemake paper --profile workflow/profiles/local --configfile config/$$study.yaml --set-threads $(ONE_CORE) || exit 1; \
	echo "The page: results/$$study/paper/both/reproduction.md, the tables and figures beside it."

bench: env ## how fast, as ratios to plain code, measured in one run; results/bench (10 minutes on an idle machine)
	@python -m tests.benchmarks

bench-check: ## fail if a ratio that `make bench` measured is more than 20 % below the committed baseline
	@python -m tests.benchmarks.report check

# `snakemake evaluate` measures them as well: how far off, for intervals; what they find where nothing is.
weights: env ## train and measure the small networks that ship with the package, five folds, on real images (four hours)
	@echo "Training config/weights.yaml and config/real_cxr.yaml; weights go to covidpipe/weights."
	@for study in weights real_cxr; do \
		snakemake evaluate --profile workflow/profiles/local --configfile config/$$study.yaml || exit 1; \
		covidpipe ship --config config/$$study.yaml --out covidpipe/weights || exit 1; \
	done

docs: env ## the documentation as a site that opens offline, every link checked: results/site/index.html
	@python workflow/scripts/build_site.py results/site

licenses: env ## docs/licenses.md: the licences of everything that covidpipe needs
	@python workflow/scripts/supply_chain.py licenses

sbom: env ## results/sbom.json: a bill of materials (CycloneDX) of .venv
	@mkdir -p results && python -m cyclonedx_py environment $(BIN)/python --pyproject pyproject.toml --output-reproducible \
		--of JSON --output-file results/sbom.json && echo "results/sbom.json"

vulnerabilities: env ## what OSV knows against the pinned packages (needs a network, and says so; OSV_URL: a mirror)
	@python workflow/scripts/supply_chain.py vulnerabilities

lock: ## write envs/*.lock anew from pyproject.toml (needs uv)
	@command -v uv > /dev/null || { echo "make lock needs uv: python3 -m pip install uv"; exit 1; }
	@for build in cpu gpu; do \
		uv pip compile pyproject.toml --extra $$build $$([ $$build = cpu ] && echo "--extra dev") --python-version 3.11 \
			--generate-hashes --no-emit-index-url --no-emit-find-links --no-header --quiet --output-file envs/$$build.lock || exit 1; \
	done

clean: ## remove results, caches and .venv
	@echo "Removing $(VENV), caches and everything under results/ ..."
	@find results -mindepth 1 ! -name README.md ! -name .gitkeep -delete
	@rm -rf $(VENV) build .snakemake .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
