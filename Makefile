# Needs make and Python 3.11 or later, nothing else. Everything is installed into .venv, from hashes.
#
#   PYTHON=/path/to/python3   the interpreter that makes .venv (by default the first one that is new enough)
#   ARGS="..."                passed on by demo, test, mutation, bench and lock
#   WORKERS=4                 processes that share the tests, or the mutants: two for each of two cores, since many wait
#   DEPTH=10                  times as many examples for the slower property tests
#   DB=sqlite KILLS=50        for crash and takeover: which database (postgres, if not said), and how many kills
#   ARGS="--transport pull"   for crash; likewise "--stragglers carry" or "--topology relay", and "--lease 4" if this
#                             machine is busy
#   AGENTS=40 ROUNDS=10       for chaos; likewise MINUTES=3 for soak, RESTARTS=5 for restarts, SEEDS=1 for fuzz, and
#                             ATTACK=20 (seconds) for hostile

SHELL := /bin/sh
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules

VENV := .venv
BIN := $(VENV)/bin
RUNTIME := $(VENV)/.installed-runtime
DEV := $(VENV)/.installed-dev
FLOWER := build/flower
LOWEST := build/lowest
VALIDATORS := build/validators
SBOM := build/sbom
TRACKERS := build/trackers
SITE := build/docs
AXE := build/axe/node_modules/axe-core/axe.min.js
WORKERS ?= 4
DB ?= postgres
CANDIDATES := python3 python3.14 python3.13 python3.12 python3.11 python

# Locks name what anyone can download: settings of this machine's pip (mirrors, local wheels) must not leak into them.
COMPILE = env -u PIP_FIND_LINKS -u PIP_CONSTRAINT PIP_CONFIG_FILE=/dev/null CUSTOM_COMPILE_COMMAND="make lock" \
	$(BIN)/pip-compile --quiet --generate-hashes --no-strip-extras --allow-unsafe \
	--no-emit-index-url --no-emit-find-links --no-emit-trusted-host $(ARGS)

# $(call install,lock file,stamp): the pinned packages, then this project as it stands, with a line of progress. The
# bytecode is compiled on all cores. Some packages bring files that are no Python of this version.
define install
@lock=$(1); total=$$(grep -c '^[A-Za-z0-9].*==' $$lock); log=$(VENV)/install.log; \
echo "Installing $$total packages of $$lock into $(VENV) (only when the lock has changed)"; \
{ { $(BIN)/python -u -m pip install --no-compile --disable-pip-version-check --require-hashes -r $$lock \
	&& { $(BIN)/python -m compileall -qq -j 0 "$(CURDIR)/$(VENV)/lib" || true; } \
	&& $(BIN)/python -u -m pip install --disable-pip-version-check --no-index --no-deps --no-build-isolation -e sdk -e .; \
  } 2>&1 || echo '@failed'; } | tee $$log | { n=0; while IFS= read -r line; do case "$$line" in \
	Collecting*|Processing*) n=$$((n + 1)); if [ $$((n % 20)) -eq 0 ]; then echo "  $$n of $$total"; fi ;; \
	"Installing collected packages: tcsfeel"*) ;; \
	"Installing collected"*) echo "  unpacking" ;; \
	@failed) grep -v -e '^ ' -e '^Collecting' -e '^Processing' -e '^WARNING' -e '^@failed' $$log | tail -n 30; echo "Installation failed; all of pip's output is in $$log" >&2; exit 1 ;; \
  esac; done; }
@touch $(2)
endef

.PHONY: help install demo test coverage check lint types layers format bench flower mutation crash upgrade crash-mutants takeover chaos soak restarts hostile faults ssrf authz browser readers fuzz lowest validators sbom site topology trackers sdists protos released lock clean

help: ## Show this list
	@echo "make <target>, where <target> is one of"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r name text; do \
		printf '  %-13s %s\n' $$name "$$text"; done

install: $(DEV) ## Install what the other targets need

demo: $(RUNTIME) ## Run the whole system once: control plane, agents, a training to its target (ARGS="--keep")
	@$(BIN)/tcsfeel demo $(ARGS)

# Tests marked "core" run under the tracer, the others without it: on Python 3.11 each traced line costs most of another.
test: $(DEV) ## Run the tests on SQLite and Postgres, and see what the core's own reach (ARGS="tests/x.py" for a part)
ifeq ($(strip $(ARGS)),)
	@failed=; $(MAKE) --no-print-directory coverage || failed=yes; \
	set -x; $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m "not core" && test -z "$$failed"
else
	$(BIN)/python -m pytest $(ARGS)
endif

# The rooms that tests/conftest.py marks: naming them here spares the collection of all other tests.
CORE_TESTS = tests/domain tests/services $(addprefix tests/tcsfeel/,selection network aggregation wire)
coverage: $(DEV) ## Run the core's own tests on SQLite, and see that they reach 95 % of its branches
	@rm -f .coverage .coverage.*
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal --cov --cov-report= -m core $(CORE_TESTS)
	$(BIN)/python -m coverage report --fail-under=95

check: lint types layers test ## Everything that must pass before a commit: format, lint, types, layers, tests

lint: $(DEV) ## Check format and style
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(DEV) ## Check types, strictly, tests included
	$(BIN)/mypy

layers: $(DEV) ## Check that imports point one way
	$(BIN)/lint-imports

format: $(DEV) ## Rewrite the code in the house format, with the fixes that are safe
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

mutation: $(DEV) ## Change the rules of the code in thousands of places, and count what the tests miss (ARGS="app.domain.rounds*")
	@$(BIN)/python -m tests.harnesses.mutation_score --workers $(WORKERS) $(ARGS)

bench: $(DEV) $(if $(filter-out round aggregation,$(firstword $(ARGS))),,flower) ## Measure on this machine, for half an hour or more (ARGS="scale" for one, ARGS=--list for what there is)
	@$(BIN)/python -m benchmarks $(ARGS)

flower: $(FLOWER)/.installed ## Install Flower, which rounds are measured against, into a virtual environment of its own

crash: $(DEV) ## Kill, stall and confuse replicas 200 times, and compare with a run without faults (DB=sqlite KILLS=50)
	@$(BIN)/python -m tests.harnesses.crash --database $(DB) --kills $(or $(KILLS),200) $(ARGS)

upgrade: $(DEV) ## Replace servers of an earlier revision one by one while trainings run (FROM=HEAD~20 DB=sqlite KILLS=2)
	@$(BIN)/python -m tests.harnesses.upgrade --from "$(or $(FROM),HEAD)" --database $(DB) --kills $(or $(KILLS),4) $(ARGS)

crash-mutants: $(DEV) ## Break the product on purpose, and see whether crash finds out (DB=sqlite)
	@$(BIN)/python -m tests.harnesses.mutants --database $(DB) $(ARGS)

takeover: $(DEV) ## Kill the owner of a training 50 times, and time its successors (DB=sqlite KILLS=10)
	@$(BIN)/python -m tests.harnesses.takeover --database $(DB) --kills $(or $(KILLS),50) $(ARGS)

chaos: $(DEV) ## Put 100 agents behind a network that breaks for 30 of them, for 50 rounds (DB=sqlite AGENTS=40 ROUNDS=10)
	@$(BIN)/python -m tests.harnesses.chaos --database $(DB) --agents $(or $(AGENTS),100) --rounds $(or $(ROUNDS),50) $(ARGS)

soak: $(DEV) ## Run rounds for 10 minutes and fit slopes to what the server takes (DB=sqlite MINUTES=3)
	@$(BIN)/python -m tests.harnesses.soak --database $(DB) --minutes $(or $(MINUTES),10) $(ARGS)

restarts: $(DEV) ## Stop Postgres in the middle of rounds 20 times, fill the disk, and look for what got lost (RESTARTS=5)
	@$(BIN)/python -m tests.harnesses.restarts --restarts $(or $(RESTARTS),20) $(ARGS)

# On both databases, unless DB is given.
EACH_DB = --database $(if $(filter command environment,$(firstword $(origin DB))),$(DB),both)

hostile: $(DEV) ## Attack a server with hostile agents and callers, on both databases (DB=sqlite ATTACK=20)
	@$(BIN)/python -m tests.harnesses.hostile $(EACH_DB) --seconds $(or $(ATTACK),90) $(ARGS)

faults: $(DEV) ## Step clocks, fill disks, take memory, silence the database, move agents; on both databases (DB=sqlite)
	@$(BIN)/python -m tests.harnesses.troubles $(EACH_DB) $(ARGS)

authz: $(DEV) ## Call every operation as every kind of caller, and see that exactly the documented ones may (DB=sqlite)
	@$(BIN)/python -m tests.harnesses.authz $(EACH_DB) $(ARGS)

browser: $(DEV) $(if $(shell command -v npm),$(AXE)) ## Go through every view of the dashboard in a real Chromium, with a fault to find (ARGS="--pictures DIRECTORY")
	@$(BIN)/python -m tests.harnesses.browser $(if $(shell command -v npm),--axe $(AXE)) $(ARGS)

readers: $(DEV) ## Follow events with 200 readers and 5 webhooks, kill who serves them, and see what it costs (DB=sqlite KILLS=2)
	@$(BIN)/python -m tests.harnesses.readers $(EACH_DB) --kills $(or $(KILLS),6) $(ARGS)

ssrf: $(DEV) ## Register clients at forbidden addresses in every form, and see that none is connected to (DB=sqlite)
	@$(BIN)/python -m tests.harnesses.ssrf $(EACH_DB) $(ARGS)

fuzz: $(DEV) ## Call the API by its own document, as a caller of each role, with three seeds (DB=sqlite SEEDS=1)
	@$(BIN)/python -m tests.harnesses.fuzz $(EACH_DB) --seeds $(or $(SEEDS),3) $(ARGS)

# Without their dependencies, since the lock names all of them; what each of them asks for is checked afterwards.
lowest: $(LOWEST)/.installed ## Run the tests of the store and the services on SQLite with the lowest versions that are declared
	$(LOWEST)/bin/python -m pytest $(or $(strip $(ARGS)),-n $(WORKERS) --dist worksteal -m "not postgres" tests/store tests/services)

sbom: $(SBOM)/.installed ## Write what the locks of both images name as bills of materials (CycloneDX) into build/sbom
	@$(SBOM)/bin/cyclonedx-py requirements --output-reproducible --pyproject pyproject.toml --output-file build/sbom/tcsfeel.cdx.json requirements.lock
	@$(SBOM)/bin/cyclonedx-py requirements --output-reproducible --pyproject sdk/pyproject.toml --output-file build/sbom/tcsfeel-agent.cdx.json sdk/requirements.lock
	@echo "build/sbom/tcsfeel.cdx.json and build/sbom/tcsfeel-agent.cdx.json"

validators: $(VALIDATORS)/.installed ## Install what checks the files in deploy/ without an engine or a cluster

site: $(DEV) $(SITE)/.installed ## Build the documentation site into build/site; broken links fail
	@$(SITE)/bin/python scripts/site.py build/site
	@echo "Open build/site/index.html"

topology: $(DEV) ## Run the Compose file without an engine, kill a server in a round, and see the training finish
	@$(BIN)/python -m tests.harnesses.topology $(ARGS)

trackers: $(DEV) $(TRACKERS)/.installed ## Copy a training to a real MLflow server, and read there what came in
	@$(BIN)/python -m tests.harnesses.trackers

wheels: $(DEV) ## Build both distributions, install each into an empty environment, and train across the two
	@$(BIN)/python -m tests.harnesses.wheels $(ARGS)

sdists: $(DEV) ## Do the same with source distributions, before a release
	@$(BIN)/python -m tests.harnesses.wheels --sdists $(ARGS)

protos: $(DEV) ## Compile the descriptions of gRPC's messages again
	$(BIN)/python scripts/protos.py

released: $(DEV) ## Keep the shape of the REST API and the schema as this release has them (BACKUP=DIRECTORY)
	$(BIN)/python -m scripts.released $(BACKUP)

lock: $(DEV) ## Pin the dependencies again (ARGS=--upgrade for the newest)
	@mkdir -p build
	$(BIN)/python scripts/declared.py demo grpc otel > build/requirements.in
	$(BIN)/python scripts/declared.py demo dev grpc otel > build/requirements-dev.in
	$(COMPILE) --no-annotate --output-file requirements.lock build/requirements.in
	$(COMPILE) --no-annotate --output-file requirements-dev.lock build/requirements-dev.in requirements.lock
	$(BIN)/python scripts/declared.py --device bfloat16 identity zstd > build/requirements-device.in
	$(COMPILE) --no-annotate --constraint requirements.lock --output-file sdk/requirements.lock build/requirements-device.in
	cat requirements-other-pythons.lock >> requirements-dev.lock
	$(BIN)/python scripts/declared.py --lowest demo > build/requirements-lowest.in
	test -f requirements-lowest.lock || cp requirements-dev.lock requirements-lowest.lock  # versions to be preferred
	$(COMPILE) --no-annotate --output-file requirements-lowest.lock build/requirements-lowest.in
	$(COMPILE) --output-file benchmarks/flower/requirements.lock benchmarks/flower/requirements.in
	$(COMPILE) --no-annotate --output-file deploy/validators/requirements.lock deploy/validators/requirements.in
	$(COMPILE) --no-annotate --output-file tests/harnesses/trackers/requirements.lock tests/harnesses/trackers/requirements.in
	$(COMPILE) --no-annotate --output-file sbom/requirements.lock sbom/requirements.in
	$(COMPILE) --no-annotate --constraint requirements-dev.lock --output-file docs/site/requirements.lock docs/site/requirements.in

clean: ## Remove .venv, caches and build output (never data)
	rm -rf $(VENV) build dist *.egg-info sdk/build sdk/*.egg-info .coverage .coverage.* .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache mutants
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(RUNTIME): requirements.lock pyproject.toml sdk/pyproject.toml | $(BIN)/python
	$(call install,requirements.lock,$(RUNTIME))

# The development lock holds the runtime lock's pins and more.
$(DEV): requirements-dev.lock requirements.lock pyproject.toml sdk/pyproject.toml | $(BIN)/python
	$(call install,requirements-dev.lock,$(RUNTIME) $(DEV))

$(FLOWER)/.installed: benchmarks/flower/requirements.lock | $(BIN)/python
	@echo "Installing Flower into $(FLOWER) (only when its lock has changed)"
	@$(BIN)/python -m venv --clear $(FLOWER)
	@$(FLOWER)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r benchmarks/flower/requirements.lock
	@touch $@

$(VALIDATORS)/.installed: deploy/validators/requirements.lock | $(BIN)/python
	@echo "Installing the validators into $(VALIDATORS) (only when their lock has changed)"
	@$(BIN)/python -m venv --clear $(VALIDATORS)
	@$(VALIDATORS)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r deploy/validators/requirements.lock
	@touch $@

$(TRACKERS)/.installed: tests/harnesses/trackers/requirements.lock | $(BIN)/python
	@echo "Installing MLflow into $(TRACKERS) (only when its lock has changed)"
	@$(BIN)/python -m venv --clear $(TRACKERS)
	@$(TRACKERS)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r tests/harnesses/trackers/requirements.lock
	@touch $@

$(AXE): tests/harnesses/browser/axe/package-lock.json
	@echo "Installing axe-core into build/axe (only when its lock has changed)"
	@mkdir -p build/axe && cp tests/harnesses/browser/axe/package*.json build/axe
	@npm ci --prefix build/axe --ignore-scripts --no-audit --no-fund --loglevel error
	@touch $@

$(SBOM)/.installed: sbom/requirements.lock | $(BIN)/python
	@echo "Installing the generator of bills of materials into $(SBOM) (only when its lock has changed)"
	@$(BIN)/python -m venv --clear $(SBOM)
	@$(SBOM)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r sbom/requirements.lock
	@touch $@

# Its packages come first, and those of .venv after them, since the references are made from the code as it runs.
$(SITE)/.installed: docs/site/requirements.lock | $(BIN)/python
	@echo "Installing Sphinx into $(SITE) (only when its lock has changed)"
	@$(BIN)/python -m venv --clear $(SITE)
	@$(SITE)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r docs/site/requirements.lock
	@$(BIN)/python -c 'import sysconfig; print("import site; site.addsitedir(%r)" % sysconfig.get_path("purelib"))' \
		> "$$($(SITE)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/development.pth"
	@touch $@

$(LOWEST)/.packages: requirements-lowest.lock | $(BIN)/python
	@echo "Installing the lowest declared versions into $(LOWEST) (only when their lock has changed)"
	@$(BIN)/python -m venv --clear $(LOWEST)
	@$(LOWEST)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements-lowest.lock
	@touch $@

# This writes into the checkout, so that it must not run beside the tests.
$(LOWEST)/.installed: $(LOWEST)/.packages pyproject.toml sdk/pyproject.toml
	@$(LOWEST)/bin/python -m pip install --quiet --disable-pip-version-check --no-index --no-deps --no-build-isolation -e sdk -e .
	@$(LOWEST)/bin/python -m pip check
	@touch $@

$(BIN)/python:
	@found=; for python in $(if $(PYTHON),"$(PYTHON)",$(CANDIDATES)); do \
		if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then found=$$python; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
		echo "Python 3.11 or later is needed; tried: $(or $(PYTHON),$(CANDIDATES))" >&2; \
		for python in $(if $(PYTHON),"$(PYTHON)",$(CANDIDATES)); do \
			"$$python" -c 'import sys; print("  %s is %d.%d" % (sys.executable, sys.version_info[0], sys.version_info[1]))' 2>/dev/null; \
		done; \
		echo "Install one, or name it: make PYTHON=/path/to/python3" >&2; exit 1; \
	fi; \
	echo "Creating $(VENV) with $$("$$found" -c 'import sys; print("Python", sys.version.split()[0], "at", sys.executable)')"; \
	"$$found" -m venv $(VENV) || { rm -rf $(VENV); \
		echo "$$found cannot create a virtual environment (on Debian and Ubuntu: install python3-venv)" >&2; exit 1; }
