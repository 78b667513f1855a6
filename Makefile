# One command per intention. `make` lists them.
#
# Everything runs in a virtual environment that is made on first use and again when pyproject.toml changes.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Processes that run tests; each file's tests run in one of them, in order.
JOBS ?= 2
# Tests start hundreds of processes: they keep what they have compiled, whatever is set outside.
export PYTHONDONTWRITEBYTECODE :=
RUN_STAMP := $(VENV)/.installed-run
TEST_STAMP := $(VENV)/.installed-test
BENCH_STAMP := $(VENV)/.installed-bench

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help tools venv native demo run test check golden deploy bench micro fuzz docs clean

help: ## list what can be made
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

venv: $(TEST_STAMP) ## make the virtual environment, with what tests need

native: $(TEST_STAMP) ## build HTTP/2 on libnghttp2 into the virtual environment; make clean removes it
	PYNGRESS_NGHTTP2=1 $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .

demo: $(RUN_STAMP) ## two echo backends and Pyngress in front of them, until Ctrl-C
	@exec $(BIN)/python examples/demo.py

run: $(RUN_STAMP) ## pyngress run, with ARGS="--manifests DIR --http-port 8080 --https-port 8443"
	@exec $(BIN)/pyngress run $(ARGS)

test: check ## everything that CI asks for: check, then all tests
	$(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadfile

check: $(TEST_STAMP) ## style, types and import rules, without running anything
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

golden: $(TEST_STAMP) ## rewrite the golden cases with what comes out now; then read the diff
	$(BIN)/python -m tests.golden.update
	$(BIN)/python -m tests.helm.update

deploy: $(TEST_STAMP) ## rewrite deploy/ and the golden renderings from the chart
	$(BIN)/python -m tests.helm.update

bench: $(BENCH_STAMP) ## CPU per request against other proxies, with ARGS="…"
	$(BIN)/python -m benchmarks.load $(ARGS)

micro: $(TEST_STAMP) ## time single functions
	$(BIN)/python -m benchmarks.micro.match
	$(BIN)/python -m benchmarks.micro.exchange
	$(BIN)/python -m benchmarks.micro.http2

fuzz: $(TEST_STAMP) ## ever new inputs for all parsers, with ARGS="exchange --runs 1000000"; led by coverage where atheris installs
	-$(BIN)/python -m pip install --quiet --disable-pip-version-check atheris
	$(BIN)/python -m tests.fuzz $(ARGS)

docs: $(RUN_STAMP) ## rewrite the reference pages from the tables in code
	$(BIN)/python -m ingress.cli.reference > docs/options.md
	$(BIN)/python -m ingress.admin.reference > docs/metrics.md
	$(BIN)/python -m ingress.annotations > docs/annotations.md
	$(BIN)/python -m ingress.cli.crd_reference > docs/crds.md

clean: ## remove the virtual environment and every cache
	rm -rf $(VENV) build proxy/http2/native.*.so .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .fuzz *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

tools:
	@PYTHON="$(PYTHON)" sh ./.ci/tools

$(RUN_STAMP): pyproject.toml | tools
	@echo "Installing into $(VENV): once, about a minute."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(TEST_STAMP): pyproject.toml tests/tools.txt tests/sslyze.txt | tools
	@echo "Installing into $(VENV), with what tests need: once, about a minute."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement tests/tools.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade --target $(VENV)/sslyze \
		--only-binary nassl,cryptography,pydantic-core,cffi --requirement tests/sslyze.txt \
		|| echo "No sslyze for this machine: the tests that scan TLS with it are skipped."
	@touch $(RUN_STAMP) $@

$(BENCH_STAMP): benchmarks/load/requirements.txt $(RUN_STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@
