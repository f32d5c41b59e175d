# Only Python 3.11+ and make are needed; everything else goes into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

# Each process would compile our modules anew, and a test starts hundreds of them.
export PYTHONDONTWRITEBYTECODE :=

# Of `make chaos`: how long each run loads the service, and what fixes its plan.
SECONDS ?= 120
SEED ?= $(shell date +%s)

# Of `make fuzz`: how many good and how many bad requests go to each operation. SEED fixes what is
# drawn; `make test` draws the same examples in each run.
EXAMPLES ?= 1000

# Of `make simulate`: how many schedules; the first has the seed SEED, the next the next.
SCHEDULES ?= 1000

# Of `make bench` and `make bench-peers`: how many rounds, and whether only to see it work.
ROUNDS ?= 3
QUICK ?=

# Of `make release-check`: which version is to be released; by default only what is there is checked.
VERSION ?=

# raytasks-client is made here, and is on no index in the version that is being made.
LOCK := $(BIN)/uv pip compile --quiet --universal --no-header --extra handlers --no-emit-package raytasks-client

# Of `make test`: clusters run two at a time, and wait much of their time. Beside them, with a lower
# priority, all other tests run in two processes, and the linters in one. Tests that share a service
# run one after the other. Those of LATER come after the clusters, when a browser is not kept waiting.
WITH_RAY := tests/cluster
LATER ?=
CLUSTERS := -n 2 --dist loadgroup --no-loadscope-reorder
WITHOUT_RAY = $(addprefix --ignore=,$(WITH_RAY) tests/hosts $(LATER))
SIDE_BY_SIDE := -n 2 --dist loadfile

# Of `make test`: ALL=1 runs those marked as slow, too. `make test-all` does.
ALL ?=
CHOSEN := $(if $(ALL),,-m "not slow")

# Of `make test`: COVERAGE=1 measures the tests without Ray, and fails where the core has too little.
COVERAGE ?=

# Of `make test-ray`: VERSION is a minor version, such as 2.59. The tests are those in which Ray itself
# does the work: all kinds of runners, drivers and nodes; cancels and Ray's own retries; what dies;
# Serve and the trial of handlers; Ray's token; a cluster that its user has started.
RAY_VENV = .venv-ray-$(VERSION)
RAY_TESTS ?= $(addprefix tests/cluster/test_,own_ray.py versions.py main_path.py rings.py \
  runners_killed.py stopping.py tracker_killed.py ray_token.py)

.PHONY: install demo test test-all test-with-ray test-later test-without-ray docs recording pictures coverage test-ray hosts chaos fuzz simulate mutants recovery bench bench-peers profile audit release-check lint format requirements clean help

help:
	@echo "make demo          run the service and one task of each type, on this machine"
	@echo "make test          lint, types, import rules and tests (COVERAGE=1: measured)"
	@echo "make test-all      the slow tests as well"
	@echo "make coverage      the tests without Ray, and how much of each package they cover"
	@echo "make test-ray      the tests that matter, with another minor version of Ray (VERSION=2.59)"
	@echo "make recovery      the tests that kill real processes; prints how long each recovery took"
	@echo "make hosts         a service on four hosts (network namespaces)"
	@echo "make chaos         kill what runs under load, and check that nothing was lost (SECONDS=, SEED=)"
	@echo "make simulate      schedules of the engine with faults, in virtual time (SCHEDULES=, SEED=)"
	@echo "make mutants       look for schedules that catch each known fault of the engine, and note them"
	@echo "make fuzz          random examples of all properties, and good and bad requests (EXAMPLES=, SEED=)"
	@echo "make bench         measure raytasks beside its baselines (ROUNDS=, QUICK=1)"
	@echo "make bench-peers   measure it beside other task queues (ROUNDS=, QUICK=1)"
	@echo "make profile       show where the processor time of the hot paths goes (ONLY=)"
	@echo "make docs          the site of the documents, to be read without the internet: build/site/"
	@echo "make recording     record the demo for the README: docs/demo.svg"
	@echo "make pictures      take the pictures of the page for the documents: docs/pictures/"
	@echo "make audit         check the pinned requirements for known holes (asks PyPI)"
	@echo "make release-check check that a release can be made (VERSION= for a certain one)"
	@echo "make install       set up .venv with the pinned requirements"
	@echo "make lint          ruff, mypy, import-linter, prose and names"
	@echo "make format        format the code"
	@echo "make requirements  pin the requirements anew, from pyproject.toml"
	@echo "make clean         remove .venv and what the tools leave behind"

install: $(INSTALLED)

$(INSTALLED): requirements.txt requirements-dev.txt pyproject.toml client/pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "raytasks needs Python 3.11 or newer; set PYTHON=")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable client --editable .
	@touch $@

demo: install
	$(BIN)/raytasks demo

test: LATER := $(if $(COVERAGE),,tests/web)
test: install $(VENV)/.docs
	$(BIN)/python -m tests.side_by_side \
	  clusters='env RAY_worker_niceness=0 $(MAKE) --keep-going --no-print-directory test-with-ray test-later LATER=$(LATER)' \
	  others='nice -n 5 $(MAKE) --no-print-directory docs test-without-ray LATER=$(LATER)' \
	  lint='nice -n 5 $(MAKE) --no-print-directory lint'

test-all:
	$(MAKE) test ALL=1
	$(MAKE) hosts

test-with-ray: install
	$(BIN)/pytest $(CLUSTERS) --timeout 600 --durations 25 $(CHOSEN) $(WITH_RAY)

test-later: install
	$(if $(LATER),$(BIN)/pytest $(SIDE_BY_SIDE) $(CHOSEN) $(LATER))

test-without-ray: install
ifneq ($(COVERAGE),)
	$(MAKE) --no-print-directory coverage
else
	$(BIN)/pytest $(SIDE_BY_SIDE) $(CHOSEN) $(WITHOUT_RAY)
endif

coverage: install
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest $(SIDE_BY_SIDE) -m "not untraced" $(WITHOUT_RAY)
	$(BIN)/pytest $(SIDE_BY_SIDE) -m untraced $(WITHOUT_RAY)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report
	$(BIN)/python -m tests.covered

recovery: install
	$(BIN)/pytest tests/cluster

hosts: install
	$(BIN)/pytest tests/hosts

# In an environment of its own: the pinned requirements, but for Ray.
test-ray: install
	@test -n "$(VERSION)" || { echo "say which minor version of Ray: make test-ray VERSION=2.59"; exit 2; }
	$(BIN)/uv venv --quiet --allow-existing --python $(BIN)/python $(RAY_VENV)
	grep -v '^ray==' requirements-dev.txt > $(RAY_VENV)/requirements.txt
	$(BIN)/uv pip install --quiet --python $(RAY_VENV)/bin/python -r $(RAY_VENV)/requirements.txt 'ray[serve]==$(VERSION).*'
	$(BIN)/uv pip install --quiet --python $(RAY_VENV)/bin/python --no-deps --editable client --editable .
	$(RAY_VENV)/bin/python -m pytest -W default $(RAY_TESTS)

chaos: install
	$(BIN)/python -m tests.chaos.run --database sqlite --seconds $(SECONDS) --seed $(SEED)
	$(BIN)/python -m tests.chaos.run --database postgresql --seconds $(SECONDS) --seed $(SEED)

fuzz: install
	$(BIN)/pytest -m hypothesis --hypothesis-profile=drawn --hypothesis-seed=$(SEED) --timeout 0 $(WITHOUT_RAY)
	$(BIN)/python -m tests.fuzzing --examples $(EXAMPLES) --seed $(SEED)

simulate: install
	$(BIN)/python -m tests.simulation.run --schedules $(SCHEDULES) --seed $(SEED)

mutants: install
	$(BIN)/python -m tests.simulation.mutation --note

bench: $(VENV)/.bench
	$(BIN)/python -m benchmarks --rounds $(ROUNDS) $(if $(QUICK),--quick) $(ONLY)

bench-peers: $(VENV)/.bench
	$(BIN)/python -m benchmarks.peers --rounds $(ROUNDS) $(if $(QUICK),--quick) $(ONLY)

profile: $(VENV)/.bench
	$(BIN)/python -m benchmarks.profiles $(ONLY)

$(VENV)/.bench: $(INSTALLED) requirements-bench.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-bench.txt
	@touch $@

audit: install
	$(BIN)/python -m tests.audit

# The site: strict, so that a broken link or a name without a page is an error.
docs: $(VENV)/.docs
	$(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going --nitpicky --jobs auto docs build/site
	@echo "the site is build/site/index.html"

$(VENV)/.docs: $(INSTALLED) requirements-docs.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-docs.txt
	@touch $@

# The terminal in the README: what `raytasks demo` prints.
recording: install
	$(BIN)/python -m docs.generators.recording

# The pictures of the page in the documents. They need Debian's Chromium.
pictures: install
	$(BIN)/python -m tests.web.pictures

release-check: install
	$(BIN)/python -m tests.release_check $(if $(VERSION),--version $(VERSION))

lint: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m tests.house

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

requirements: install
	$(LOCK) --upgrade pyproject.toml -o requirements.txt
	$(LOCK) --group docs -c requirements.txt pyproject.toml -o requirements-docs.txt
	$(LOCK) --group dev -c requirements.txt -c requirements-docs.txt pyproject.toml -o requirements-dev.txt
	$(LOCK) --group bench -c requirements-dev.txt pyproject.toml -o requirements-bench.txt
	for peer in benchmarks/peers/*/requirements.in; do $(BIN)/uv pip compile --quiet --universal --no-header --upgrade $$peer -o $${peer%.in}.txt; done

clean:
	rm -rf $(VENV) build docs/reference .coverage* .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache *.egg-info
