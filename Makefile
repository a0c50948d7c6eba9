# `make help` lists the targets. Only Go is needed, except where a line says more.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

GO           ?= go
TEST_TIMEOUT ?= 15m
BUF          ?= npx --yes @bufbuild/buf@1.75.0
PROTO        := sidecar/sidecarpb
LINT         := $(GO) tool -modfile=tools/golangci-lint/go.mod golangci-lint

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: test
test: ## All tests; those on real Kafka brokers skip, and say so, without Java 17 and Maven
	$(GO) test -timeout $(TEST_TIMEOUT) ./...

.PHONY: test-race
test-race: ## The in-memory packages under the race detector (no real brokers, no processes)
	$(GO) test -race -short -timeout $(TEST_TIMEOUT) $$(bash .ci/in-memory-packages)

.PHONY: kafka-test
kafka-test: ## All tests; fails where real Kafka brokers cannot be started (Java 17, Maven)
	ACKMARK_REQUIRE_KAFKA=1 $(GO) test -timeout 25m ./...

.PHONY: demo
demo: ## The two failures and their end, in 25 seconds on an embedded broker
	$(GO) run ./cmd/ackmark demo

.PHONY: recording
recording: ## The picture of the demo in README: runs it, and writes docs/img/demo.svg (Linux)
	$(GO) -C tools run ./recording -o ../docs/img/demo.svg -prompt 'ackmark demo' -- $(GO) -C .. run ./cmd/ackmark demo --seed 7

.PHONY: bench
bench: ## Ratios to the bare franz-go loop, in two minutes (ARGS="--brokers host:9092 --pairs 16")
	$(GO) run ./cmd/ackmark bench $(ARGS)

.PHONY: chaos
chaos: ## Every fault of docs/faults.md, done to real processes: on an embedded broker and, with Java 17 and Maven, on three real ones (twelve minutes)
	$(GO) run ./cmd/ackmark chaos --embedded $(ARGS)
	ACKMARK_CHAOS=all $(GO) test -count=1 -timeout 30m -v ./internal/proof/e2e -run 'TestChaos$$'

.PHONY: soak
soak: ## Random faults on three real brokers for SOAK (30m), more than 3,000,000 inputs; needs Java 17 and Maven
	ACKMARK_SOAK=$${SOAK:-30m} ACKMARK_REQUIRE_KAFKA=1 $(GO) test -count=1 -timeout 3h -v ./internal/proof/e2e -run 'TestChaos$$'

.PHONY: seeds
seeds: ## Random schedules in simulation, SEEDS of them (2000): kills, stops, cuts, rebalances, resets; and as many of refusals
	ACKMARK_SEEDS=$${SEEDS:-2000} $(GO) test -count=1 -timeout 1h ./internal/proof/lab -run '^TestSchedules$$'
	ACKMARK_SEEDS=$${SEEDS:-2000} $(GO) test -count=1 -timeout 1h ./internal/outlet -run '^TestStress$$'

.PHONY: microbench
microbench: ## Go benchmarks ten times, through benchstat (save the output and give benchstat two of them)
	$(GO) test -run '^$$' -bench . -benchmem -count 10 ./internal/... | $(GO) tool -modfile=tools/go.mod benchstat /dev/stdin

.PHONY: mutants
mutants: ## Plant the bugs that the proof must catch, one by one: ends with "N of N caught"
	$(GO) test -count=1 -timeout 10m ./internal/proof/mutants -run TestMutants -v

.PHONY: fuzz
fuzz: ## Fuzz every target for FUZZTIME each (30s)
	for target in $$(grep -rlE --include='*_test.go' '^func Fuzz[A-Za-z0-9_]*' . | sort); do \
	  for name in $$(grep -oE '^func Fuzz[A-Za-z0-9_]*' $$target | cut -d' ' -f2); do \
	    $(GO) test -run '^$$' -fuzz "^$$name\$$" -fuzztime $${FUZZTIME:-30s} ./$$(dirname $$target); \
	  done; \
	done

.PHONY: cover
cover: ## Coverage of all packages by all tests, as cover.out and a total
	$(GO) test -short -timeout $(TEST_TIMEOUT) -coverpkg=./... -coverprofile=cover.out ./...
	$(GO) tool cover -func=cover.out | tail -n 1

.PHONY: lint
lint: ## gofmt, go vet and golangci-lint (builds the pinned golangci-lint once: some minutes)
	test -z "$$(gofmt -l $$(git ls-files -co --exclude-standard '*.go') | tee /dev/stderr)"
	$(GO) vet ./...
	$(LINT) run

.PHONY: proto
proto: ## Generate the wire contract's Go code, with nothing but Go
	$(GO) -C tools run ./protogen ../$(PROTO)

.PHONY: proto-lint
proto-lint: ## Lint the .proto files (npx)
	$(BUF) lint $(PROTO)

.PHONY: proto-breaking
proto-breaking: ## Compare the wire contract with every version since the last release, or with AGAINST
	$(GO) -C tools run ./protobreaking $(if $(AGAINST),-against $(AGAINST)) ../$(PROTO)
