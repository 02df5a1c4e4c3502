# StateSync. `make demo` shows it, `make test` tries it; both need Go and make, and
# `make test` gcc for the race detector.

GO      ?= go
BIN     := bin
LINT    := $(GO) tool -modfile=.ci/lint/go.mod
NESTED  := bench/guard bench/peers bench/s3 deploy/check
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
LDFLAGS := -s -w -X github.com/statesync/statesync/cmd/internal/cli.version=$(VERSION)

.PHONY: help demo build test vet bench bench-peers bench-guard fleet model crash fuzz campaign deb rpm package e2e-package lint fmt clean test-nested \
	image-root check-deploy e2e-kubernetes

help: ## What there is to make
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: build ## The main job, on this machine, in under a minute
	@$(BIN)/demo $(BIN) examples/config

build: ## bin/statesyncd, bin/statesync and the examples
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN)/ ./cmd/... ./examples/...

# Tests wait for timers and other processes as long as they compute, so that more packages
# than a small machine has processors run at a time.
test: ## Everything that must hold, with the race detector
	$(GO) vet -race ./... # with what the tests are compiled with: nothing is compiled twice
	$(GO) test -race -short -vet=off -p 4 -timeout 10m ./... # go test would vet all again, and does not reuse what go vet found
	CGO_ENABLED=0 $(GO) -C bench/guard test -trimpath -vet=off ./... # as make build compiles; test-nested vets it

vet: ## The other systems: those that applications are developed on, and arm64
	GOARCH=arm64 $(GO) vet ./...
	@for target in darwin/amd64 darwin/arm64 freebsd/amd64 freebsd/arm64; do \
		echo "vet for $$target"; \
		GOOS=$${target%/*} GOARCH=$${target#*/} $(GO) vet ./client/... ./shm/... ./seqlock || exit 1; \
	done

bench: ## Our figures, beside the floor of the same run, as a table
	$(GO) run ./bench/table

bench-peers: ## Against what one would pick instead, with real servers; half an hour, or ONLY=name
	$(GO) -C bench/peers run . -out .. $(if $(ONLY),-only $(ONLY))
	$(GO) -C bench/peers run ./scaling/page

HOSTS ?= 500

fleet: build ## HOSTS (500) daemons against one Git server and one of bundles; half an hour
	$(GO) run ./bench/fleet -hosts $(HOSTS) -page docs/SCALING.md

bench-guard: ## The hot paths, beside those of the last commit; fails where one is worse
	$(GO) -C bench/guard run .

KILLS  ?= 1000
FOR    ?= 1h
SEED   ?= 0

model: ## Every state of the protocol's models, and each way to break them
	$(GO) test ./seqlock ./seqlock/model -v -count=1 -timeout 0 -args -full

crash: ## Kill the daemon KILLS times (1000) under its readers
	$(GO) test ./bench/campaign -run 'TestCrash$$' -v -count=1 -timeout 0 -args -crash.kills=$(KILLS) -campaign.seed=$(SEED)

campaign: ## All campaigns together, about FOR (1h), and a line for each promise; SEED repeats one
	$(GO) run ./bench/campaign/run -for $(FOR) -seed $(SEED)

fuzz: ## All fuzz targets, a third of FOR (1h)
	$(GO) run ./bench/campaign/run -for $(FOR) -seed $(SEED) -only fuzz

image-root: ## What the container images hold, in bin/image: see deploy/Dockerfile
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN)/image/ ./cmd/statesyncd ./cmd/statesync ./examples/app
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN)/image/statesync-prepare ./deploy/kubernetes/prepare

check-deploy: ## Manifests and chart, without a cluster
	$(GO) -C deploy/check test ./...

test-nested: ## The tests of the other modules
	@for module in $(NESTED); do echo "tests of $$module"; $(GO) -C $$module test ./... || exit 1; done

IMAGE     ?= statesync:devel
APP_IMAGE ?= statesync-example-app:devel

e2e-kubernetes: ## The manifests on KUBECONFIG's cluster, which has IMAGE and APP_IMAGE
	$(GO) test ./deploy/e2e -v -count=1 -timeout 1h -args -image $(IMAGE) -app-image $(APP_IMAGE) \
		$(if $(GIT_PUSH),-git-push $(GIT_PUSH) -git-pull $(GIT_PULL))

lint: ## golangci-lint and gofumpt
	$(LINT) golangci-lint run --allow-parallel-runners ./...
	@for module in $(NESTED); do \
		echo "lint of $$module"; \
		$(GO) -C $$module tool -modfile=$(CURDIR)/.ci/lint/go.mod golangci-lint run --allow-parallel-runners --config $(CURDIR)/.golangci.yml ./... || exit 1; \
	done

fmt: ## Format the code as lint wants it
	$(LINT) gofumpt -l -w .

deb: ## dist/*.deb for linux/amd64 and arm64
	GO='$(GO)' VERSION='$(VERSION)' deploy/package/build.sh deb

rpm: ## dist/*.rpm for both
	GO='$(GO)' VERSION='$(VERSION)' deploy/package/build.sh rpm

package: ## Both of them
	GO='$(GO)' VERSION='$(VERSION)' deploy/package/build.sh deb rpm

e2e-package: ## Install, upgrade and purge them in a bare Debian; root, minutes
	GO='$(GO)' deploy/package/reproduce.sh
	GO='$(GO)' deploy/package/e2e.sh

clean: ## Remove what was built
	rm -rf $(BIN) dist
