# Every target installs what it needs through scripts/setup.sh (as root on Debian; otherwise it says what to install).
SHELL := /bin/bash
GO ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
COMMIT ?= $(shell git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X github.com/hansomcloud/hansom/internal/buildinfo.version=$(VERSION) -X github.com/hansomcloud/hansom/internal/buildinfo.commit=$(COMMIT)
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2

# The longest packages go first, and three at a time: much of what they do is waiting.
TEST := $(GO) test -race -p 3 -parallel 3 -timeout 35m ./test/e2e ./internal/cli ./...

.PHONY: run build test check bench soak cover

run: build ## Start Hansom with the sample app of examples/hello
	@scripts/setup.sh run
	bin/hansom dev examples/hello

build: ## Build bin/hansom, one static binary
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/hansom ./cmd/hansom

test: ## Every test, under the race detector
	@scripts/setup.sh test
	$(TEST)

check: ## What must be green before a commit is pushed
	@scripts/setup.sh test
	@test -z "$$(gofmt -l $$(git ls-files -co --exclude-standard '*.go'))" || { gofmt -l $$(git ls-files -co --exclude-standard '*.go'); echo "run gofmt -w on these"; exit 1; }
	$(GO) mod tidy -diff
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...
	GOOS=linux GOARCH=arm64 CGO_ENABLED=0 $(GO) build -o /dev/null ./cmd/hansom
	GOOS=darwin GOARCH=arm64 CGO_ENABLED=0 $(GO) build -o /dev/null ./cmd/hansom
	scripts/build-init.sh --check
	scripts/build-java.sh --check
	$(TEST)

bench: build ## Measure against the peers and rewrite docs/benchmarks.md; ARGS="-only p1,noisy -out /tmp/b.md" for less
	@scripts/setup.sh bench
	$(GO) run ./test/bench -hansom bin/hansom $(ARGS)

DURATION ?= 10m
soak: build ## Mixed load for DURATION; fails when memory, descriptors, mounts or cgroups grow
	@scripts/setup.sh run
	$(GO) run ./test/soak -hansom bin/hansom -duration $(DURATION) $(ARGS)

cover: ## Coverage by package
	@scripts/setup.sh test
	$(GO) test -coverprofile=cover.out ./... && $(GO) tool cover -func=cover.out | tail -1
