# Drover's tasks. `make help` lists them; CI calls the same ones.
SHELL := /bin/bash
PY := .venv/bin/python
NODE_MODULES := tests/clients/node/node_modules/.package-lock.json

PORT ?= 11434
ENGINE ?= llamacpp
MODEL ?=
# Of make fuzz.
COUNT ?= 100000
SEED ?= 1
# Of make chaos: how long a scenario lasts that could go on for ever; the seed of its choices, else a new one.
CHAOS_SECONDS ?= 180
CHAOS_SEED ?=
# Of make test-console: where its pictures are kept.
SCREENSHOTS ?= console-screenshots
# Of make bench-streams and make bench-pool.
SECONDS ?= 600

# Of make test: at once so many processes of pytest, each with session fixtures of its own. By files where a fixture starts
# processes of both tiers. What measures short waits and crowds runs alone, since another test would take its CPU.
JOBS ?= 2
BY_FILE = -n $(JOBS) --dist loadfile
ALONE = tests/chaos/test_crowds.py tests/chaos/test_frontends_drain.py
# A unit test waits half of its time.
OFTEN_WAITING = -n $$(($(JOBS) + 1)) --dist worksteal

# SGLang's environment lives outside the checkout; making it, once, takes minutes.
SGLANG_PY = $$(scripts/setup.sh sglang)

# Needs no environment; the one of development has a Docker Compose in it.
STACK = $(if $(wildcard $(PY)),$(PY),python3) -m scripts.stack

.PHONY: help serve model up down logs ps test test-package test-clients test-console test-agents chaos attack test-sglang test-deploy test-deploy-sglang lint lint-deploy render-chart dashboard format proto proto-check fuzz bench bench-llamacpp bench-routing bench-streams bench-pool bench-smg bench-engine bench-fairness lock settings-doc metrics-doc errors-doc extras-doc clean

help: ## list the tasks
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | column -t -s "$$(printf '\t')"

serve: .venv/.serve ## a frontend with a worker host, or with one worker of MODEL or ENGINE=sglang (PORT)
	@set -e; worker='$(PY)'; \
	if [ '$(ENGINE)' = sglang ]; then \
	  worker="$(SGLANG_PY)"; [ -n '$(MODEL)' ] || "$$worker" -m scripts.model; \
	fi; \
	exec $(PY) -m scripts.serve --port '$(PORT)' --engine '$(ENGINE)' --model '$(MODEL)' --worker-python "$$worker"

up: ## build and start the stack in containers (FRONTENDS, WORKERS, GPU, TLS, PORT, BIND: docs/deploy.md)
	@$(STACK) up

down: ## stop it (VOLUMES=1: and forget its presets)
	@$(STACK) down

logs: ## follow its logs
	@$(STACK) logs

ps: ## what runs of it
	@$(STACK) ps

model: ## the default model of ENGINE=sglang, as safetensors
	@set -e; python="$(SGLANG_PY)"; exec "$$python" -m scripts.model

test: .venv/.dev ## all tests but those of the SGLang engine; fails below the coverage floor (pyproject.toml)
	$(PY) -m coverage erase
	@# Unit and contract tests carry the coverage floor, since a tracer slows down what it measures.
	$(PY) -m coverage run -m pytest $(OFTEN_WAITING) tests/unit
	$(PY) -m coverage run -m pytest $(BY_FILE) tests/contract
	$(PY) -m coverage combine --quiet
	$(PY) -m coverage report
	scripts/with_docker_registry.sh $(PY) -m pytest $(BY_FILE) tests/engines tests/system tests/deploy_k8s
	$(PY) -m pytest $(BY_FILE) $(ALONE:%=--ignore=%) tests/chaos
	$(PY) -m pytest $(ALONE)

test-package: .venv/.dev ## a wheel, built and installed in an empty environment, serves a chat
	$(PY) -m pytest -o timeout=600 --durations=5 tests/package

test-clients: .venv/.dev .venv-clients/.clients $(NODE_MODULES) ## unchanged Ollama clients against both tiers as processes
	DROVER_TEST_PYTHON=$(CURDIR)/$(PY) .venv-clients/bin/python -m pytest -W ignore --durations=10 tests/clients

test-agents: .venv/.dev ## coding agents of npm, headless, against a simulator that plays a tool loop (AGENT_RECORDS)
	@set -e; agents="$$(scripts/setup.sh agents)"; \
	DROVER_AGENTS="$$agents" $(PY) -m pytest -o timeout=300 --durations=10 -rP tests/agents

test-console: .venv/.dev .venv-clients/.clients ## the console in a headless Chromium, which a Debian gets first (SCREENSHOTS)
	DROVER_TEST_PYTHON=$(CURDIR)/$(PY) DROVER_SCREENSHOTS='$(SCREENSHOTS)' scripts/with_chromium.sh \
	  .venv-clients/bin/python -m pytest -W ignore --durations=5 tests/console

chaos: .venv/.dev ## the long chaos, as root (network namespaces), with SGLang too (CHAOS_SECONDS, CHAOS_SEED)
	@set -e; python="$(SGLANG_PY)"; "$$python" -m scripts.model; \
	DROVER_SGLANG_PYTHON="$$python" CHAOS_SECONDS='$(CHAOS_SECONDS)' CHAOS_SEED='$(CHAOS_SEED)' \
	  $(PY) -m pytest -o timeout=$$(($(CHAOS_SECONDS) + 900)) --durations=0 tests/chaos_long

attack: .venv/.dev ## hostile clients, workers and databases against both tiers; what each cost, as a table
	$(PY) -m pytest -o timeout=120 --session-timeout=1800 --tb=short tests/attack

test-sglang: .venv/.dev ## the tests of the SGLang engine, on this machine's CPU or GPU
	@set -e; python="$(SGLANG_PY)"; "$$python" -m scripts.model; \
	"$$python" -W ignore -m pytest -W ignore tests/upstream tests/unit/engine_worker/engines/sglang tests/unit/engine_worker/output tests/unit/engine_worker/prompt; \
	DROVER_SGLANG_PYTHON="$$python" $(PY) -m pytest -o timeout=600 --durations=15 tests/sglang tests/engines -k sglang

test-deploy: .venv/.dev ## images and stack, really built and run, where a Docker engine is reachable
	$(PY) -m pytest -o timeout=600 --durations=10 tests/deploy --ignore tests/deploy/test_sglang_image.py

test-deploy-sglang: .venv/.dev ## the SGLang worker's image on a base without a GPU: 11 GB, many minutes
	$(PY) -m pytest -o timeout=3600 tests/deploy/test_sglang_image.py

lint: .venv/.dev proto-check ## style, types, imports, citations, words, and drift of generated files
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	.venv/bin/lint-imports --no-cache
	$(PY) -m scripts.check_citations
	$(PY) -m scripts.check_words
	$(PY) -m scripts.settings_doc --check
	$(PY) -m scripts.metrics_doc --check
	$(PY) -m scripts.errors_doc --check
	$(PY) -m scripts.extras_doc --check
	$(PY) -m scripts.roles_doc --check
	$(PY) -m scripts.render_chart --check
	$(PY) -m scripts.grafana.dashboard --check

lint-deploy: .venv/.dev .venv-lint-deploy/.lint-deploy ## checkov and hadolint over chart and images, promtool over alerts and metrics
	scripts/lint_deploy.sh
	scripts/with_promtool.sh $(PY) -m pytest tests/promtool

dashboard: .venv/.dev ## rewrite Grafana's dashboard in deploy/observability
	$(PY) -m scripts.grafana.dashboard

render-chart: .venv/.dev ## rewrite deploy/k8s/rendered from the Helm chart
	$(PY) -m scripts.render_chart

format: .venv/.dev ## let ruff rewrite what it can
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

proto: .venv/.dev ## generate drover/v1 from protos/
	scripts/proto.sh

proto-check: .venv/.dev ## fail when drover/v1 is not what protos/ gives
	scripts/proto.sh --check

fuzz: .venv/.dev ## 100,000 mutated bodies through everything that reads them (COUNT, SEED)
	$(PY) -m tests.fuzz --count '$(COUNT)' --seed '$(SEED)'

bench-routing: .venv/.dev ## hit rate, time to first token and balance of each policy over eight simulated workers
	$(PY) -m benchmarks.routing

bench-fairness: .venv/.dev ## short chats with a client with long prompts at full load, over four simulated workers
	$(PY) -m benchmarks.fairness

bench-llamacpp: .venv/.dev ## both tiers over llama.cpp against llama-server of the same build, in turn
	$(PY) -m benchmarks.llamacpp

bench: .venv/.dev ## what the relay costs, beside an older commit and SGLang's own layer: tables, results, plots
	DROVER_SGLANG_PYTHON="$$(scripts/setup.sh sglang-python)" $(PY) -m benchmarks.bench

bench-streams: .venv/.dev ## 1,000 streams on one frontend and two workers for ten minutes (SECONDS)
	$(PY) -m benchmarks.streams --seconds '$(SECONDS)'

# Simulated models unless an engine is named.
bench-pool: POOL_ENGINE = $(if $(filter file,$(origin ENGINE)),simulator,$(ENGINE))
bench-pool: .venv/.dev ## models on demand: six models, two hosts with memory for two each, forty clients (ENGINE=llamacpp, SECONDS)
	@set -e; [ '$(POOL_ENGINE)' != llamacpp ] || { DROVER_POOL_MODELS="$$(scripts/setup.sh pool-models)"; export DROVER_POOL_MODELS; }; \
	$(PY) -m benchmarks.pool --engine '$(POOL_ENGINE)' --seconds '$(SECONDS)'

bench-smg: .venv/.dev .venv-bench/.bench ## both tiers and the gateway smg, in turn, under the same load
	DROVER_BENCH_BIN=$(CURDIR)/.venv-bench/bin $(PY) -m benchmarks.gateway

bench-engine: .venv/.dev .venv-bench/.bench ## a profile of the worker's process at 16 streams (ENGINE: llamacpp, sglang)
	@set -e; [ '$(ENGINE)' != sglang ] || { DROVER_SGLANG_PYTHON="$(SGLANG_PY)"; export DROVER_SGLANG_PYTHON; }; \
	DROVER_PY_SPY=$(CURDIR)/.venv-bench/bin/py-spy $(PY) -m benchmarks.engine_profile --engine '$(ENGINE)'

settings-doc: .venv/.dev ## rewrite the tables in docs/settings.md
	$(PY) -m scripts.settings_doc

roles-doc: .venv/.dev ## rewrite the table of routes in docs/keys.md
	$(PY) -m scripts.roles_doc

metrics-doc: .venv/.dev ## rewrite the tables in docs/metrics.md
	$(PY) -m scripts.metrics_doc

errors-doc: .venv/.dev ## rewrite the table in docs/errors.md
	$(PY) -m scripts.errors_doc

extras-doc: .venv/.dev ## rewrite the tables in docs/extras.md
	$(PY) -m scripts.extras_doc

lock: .venv/.dev ## resolve requirements/*.in anew
	scripts/lock.sh

clean: ## remove the environment and caches
	rm -rf .venv .venv-clients .venv-lint-deploy .venv-bench tests/clients/node/node_modules .pytest_cache .mypy_cache .ruff_cache .coverage*

.venv/.serve: requirements/frontend.txt requirements/worker.txt requirements/model.txt
	@scripts/setup.sh serve

.venv/.dev: requirements/dev.txt requirements/model.txt
	@scripts/setup.sh dev

.venv-clients/.clients $(NODE_MODULES) &: requirements/clients.txt tests/clients/node/package-lock.json
	@scripts/setup.sh clients

.venv-lint-deploy/.lint-deploy: requirements/lint_deploy.txt
	@scripts/setup.sh lint-deploy

.venv-bench/.bench: requirements/bench.txt
	@scripts/setup.sh bench
