# Two commands matter: 'make run' and 'make test'. They need Go, git and make.

GO      ?= go
TOOLS   := $(CURDIR)/.tools
DATA    ?= .sluice
ENGINE ?= docker
# deploy is apart: what it links (Kubernetes, KEDA, Prometheus) is no business of the others'
# versions, and takes minutes with the race detector.
MODULES := $(filter-out deploy,$(patsubst ./%/go.mod,%,$(shell find . -name go.mod -not -path './tools/*' -not -path '*/internal/*' -not -path './e2e/tools/*' -not -path './examples/*' -not -path './.*/*')))
STAGES  := parser chunker embedder indexer costd

# The race detector links C. Without a C compiler the tests run all the same,
# and say so.
HAVE_CC := $(shell command -v $(or $(CC),cc) 2>/dev/null)
RACE    := $(if $(HAVE_CC),-race)

# Files in the cache directory of the user are shared by all checkouts.
export CGO_ENABLED ?= $(if $(HAVE_CC),1,0)

.PHONY: help run build test lint alone race deploy e2e images bench fuzz clean

help: ## Show the targets.
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: bin/sluice ## Ingest examples/ with all stages in one process, and search.
	./bin/sluice run --data $(DATA) --query "how many turns of the crank to wind the gate down by hand" examples/documents

build: bin/sluice $(STAGES:%=bin/%) ## Build every binary into bin/.

.PHONY: bin/sluice $(STAGES:%=bin/%)
bin/sluice:
	CGO_ENABLED=0 $(GO) build -trimpath -o $@ ./cmd/sluice
$(STAGES:%=bin/%): bin/%:
	CGO_ENABLED=0 $(GO) build -trimpath -o $@ ./services/$*/cmd/$*

test: lint alone race deploy e2e ## Lint, build every module alone, test with the race detector, test what deploys it, test end to end.

lint: $(TOOLS)/staticcheck $(TOOLS)/gofumpt ## Check formatting, vet and staticcheck.
	@out=$$($(TOOLS)/gofumpt -l $(MODULES) deploy examples); test -z "$$out" || { echo "run gofumpt -w on:"; echo "$$out"; exit 1; }
	@big=$$(git ls-files | while read -r f; do test ! -f "$$f" || find "$$f" -size +4096k; done); test -z "$$big" || { echo "too large to be a source:"; echo "$$big"; exit 1; }
	@set -e; for m in $(MODULES); do echo "lint $$m"; $(GO) vet ./$$m/...; (cd $$m && $(TOOLS)/staticcheck ./...); done

$(TOOLS)/staticcheck $(TOOLS)/gofumpt: tools/go.mod tools/go.sum
	@mkdir -p $(TOOLS)
	cd tools && GOWORK=off CGO_ENABLED=0 GOBIN=$(TOOLS) $(GO) install honnef.co/go/tools/cmd/staticcheck mvdan.cc/gofumpt
	@touch $(TOOLS)/staticcheck $(TOOLS)/gofumpt

alone: ## Build every module by itself, as the image builds do.
	@set -e; for m in $(MODULES); do echo "alone $$m"; (cd $$m && GOWORK=off CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false ./...); done
	cd examples/stage && GOWORK=off CGO_ENABLED=0 $(GO) vet ./... && GOWORK=off CGO_ENABLED=0 $(GO) test ./...

race: ## Test every module but e2e, with the race detector.
	@test -n "$(RACE)" || echo "no C compiler: testing without the race detector"
	$(GO) test -timeout 40m $(RACE) $(patsubst %,./%/...,$(filter-out e2e,$(MODULES)))

deploy: ## Test the manifests, alerts, dashboard and images; the first compilation takes minutes.
	cd deploy && GOWORK=off $(GO) vet ./... && GOWORK=off $(GO) test ./...

e2e: ## Test the real binaries: kills, bad input, the nats CLI.
	$(GO) test -count=1 -timeout 40m ./e2e/...

images: ## Build the images of all services (needs a container engine; ENGINE=podman).
	@set -e; for s in parser chunker embedder indexer costd sluice; do $(ENGINE) build --build-arg SERVICE=$$s -t sluice-$$s .; done

bench: ## Measure; docs/performance.md explains the figures.
	$(GO) test -run '^$$' -bench . -benchtime 1x ./bench/...

fuzz: ## Fuzz each decoder of outside bytes for a while (FUZZTIME=30s).
	@set -e; for m in $(MODULES); do for p in $$($(GO) list ./$$m/...); do \
	  for f in $$($(GO) test -list '^Fuzz' $$p 2>/dev/null | grep '^Fuzz' || true); do \
	    echo "fuzz $$p $$f"; $(GO) test -run '^$$' -fuzz "^$$f$$" -fuzztime $(or $(FUZZTIME),30s) $$p; done; done; done

clean: ## Remove what the targets above made.
	rm -rf bin .tools $(DATA)
