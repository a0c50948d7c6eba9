# `make help` lists the targets. Only Go is needed, except where a line says more.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

GO           ?= go
TEST_TIMEOUT ?= 40m
PROTOCOL     ?= classic# of the groups in chaos, soak, exactly-once and kafka-test: classic or consumer
MODE         ?= at-least-once# of the apps in chaos and soak: at-least-once or exactly-once
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
kafka-test: ## All tests; fails where real Kafka brokers cannot be started (Java 17, Maven); PROTOCOL=consumer: in groups of KIP-848
	ACKMARK_PROTOCOL=$(PROTOCOL) ACKMARK_REQUIRE_KAFKA=1 $(GO) test -count=1 -timeout $(TEST_TIMEOUT) ./...

.PHONY: demo
demo: ## The two failures and their end, in 25 seconds on an embedded broker
	$(GO) run ./cmd/ackmark demo

.PHONY: recording
recording: ## The picture of the demo in README: runs it, and writes docs/img/demo.svg (Linux)
	$(GO) -C tools run ./recording -o ../docs/img/demo.svg -prompt 'ackmark demo' -- $(GO) -C .. run ./cmd/ackmark demo --seed 7

.PHONY: bench
bench: ## Ratios to the bare franz-go loop, in two minutes (ARGS="--brokers host:9092 --pairs 16")
	$(GO) run ./cmd/ackmark bench $(ARGS)

.PHONY: exactly-plot
exactly-plot: ## Exactly-once against at-least-once, by the commit interval, as docs/img/exactly-once.svg (ARGS="--brokers host:9092")
	mkdir -p tmp
	$(GO) run ./cmd/ackmark bench --only exactly-once,latency --commit-every 100ms,20ms,50ms,250ms,500ms --json $(ARGS) >tmp/exactly-once.json
	$(GO) -C tools run ./benchplot -o ../docs/img/exactly-once.svg ../tmp/exactly-once.json

.PHONY: scale
scale: ## 1 to 50 sessions of a sidecar and 6 to 1,000 partitions, as a table and as docs/img/scale.svg (ten minutes on a quiet machine; ARGS="--pairs 8", NOTE="load 1")
	mkdir -p tmp
	$(GO) run ./cmd/ackmark bench --only scale --json $(ARGS) >tmp/scale.json
	$(GO) -C tools run ./benchplot -o ../docs/img/scale.svg -note "$(NOTE)" ../tmp/scale.json
	$(GO) run ./cmd/ackmark bench --from tmp/scale.json

.PHONY: processes-kafka
processes-kafka: ## A pod of 50 processes on one real broker, whose CPU time counts (five minutes; ARGS="--pairs 8"); needs Java 17 and Maven
	ACKMARK_BENCH="--only processes --processes 50 --pairs 4 $(ARGS)" ACKMARK_REQUIRE_KAFKA=1 $(GO) test -count=1 -timeout 30m -v ./internal/proof/e2e -run 'TestBenchOnKafka$$'

.PHONY: session-kafka
session-kafka: ## Exactly-once of 10 processes on one real broker, against a GroupTransactSession in each (a quarter of an hour; ARGS="--pairs 8"); needs Java 17 and Maven
	ACKMARK_BENCH="--only session --records 2000000 $(ARGS)" ACKMARK_REQUIRE_KAFKA=1 $(GO) test -count=1 -timeout 60m -v ./internal/proof/e2e -run 'TestBenchOnKafka$$'

.PHONY: chaos
chaos: ## Every fault of docs/faults.md, done to real processes: on an embedded broker and, with Java 17 and Maven, on three real ones (twelve minutes); PROTOCOL=consumer: in groups of KIP-848; MODE=exactly-once: in transactions of the sidecar
	$(GO) run ./cmd/ackmark chaos --embedded --protocol $(PROTOCOL) $(if $(filter exactly-once,$(MODE)),--exactly-once) $(ARGS)
	ACKMARK_PROTOCOL=$(PROTOCOL) ACKMARK_MODE=$(MODE) ACKMARK_CHAOS=all $(GO) test -count=1 -timeout 30m -v ./internal/proof/e2e -run 'TestChaos$$'

.PHONY: incidents
incidents: ## Whole pods killed under 40,000 inputs, on three real brokers, with a table (ten minutes); needs Java 17 and Maven
	ACKMARK_INCIDENTS=1 ACKMARK_REQUIRE_KAFKA=1 $(GO) test -count=1 -timeout 30m -v ./internal/proof/e2e -run 'TestIncidents$$|TestDeathsThatOverlap$$'

.PHONY: exactly-once
exactly-once: ## What can go wrong with transactions through the sidecar, by signals and killed brokers, with a table (ROWS=4,7; six to nine minutes; TWINS=1: most rows at-least-once, too, and no stall longer than there by more than a transaction takes: ten to eighteen); needs Java 17 and Maven; PROTOCOL=consumer: in groups of KIP-848
	ACKMARK_PROTOCOL=$(PROTOCOL) ACKMARK_EXACTLY_ONCE=$${ROWS:-all} ACKMARK_TWINS=$(TWINS) ACKMARK_REQUIRE_KAFKA=1 $(GO) test -count=1 -timeout 30m -v ./internal/proof/e2e -run 'TestExactlyOnceFailures$$|TestExactlyOnceRollingOver$$'

.PHONY: takeover
takeover: ## How long partitions stand still after a SIGKILL at a session timeout of 45 s: KILLS (50) in each group protocol, on three real brokers (six minutes); needs Java 17 and Maven
	ACKMARK_TAKEOVER_KILLS=$${KILLS:-50} ACKMARK_REQUIRE_KAFKA=1 $(GO) test -count=1 -timeout 30m -v ./internal/proof/e2e -run 'TestTakeover$$|TestTakeoverInTheConsumerProtocol$$'

.PHONY: rollout
rollout: ## The figures of docs/rollout.md: EMITTERS processes (100) of RATE records a second (20) move to one sidecar and back (six minutes); needs Java 17 and Maven
	ACKMARK_ROLLOUT=$${EMITTERS:-100} ACKMARK_ROLLOUT_RATE=$${RATE:-20} ACKMARK_REQUIRE_KAFKA=1 $(GO) test -count=1 -timeout 20m -v ./internal/proof/e2e -run 'TestRolloutFigures$$'

.PHONY: brokers
brokers: ## Which promise holds on which Kafka: VERSIONS (4.4.0,4.3.1,4.2.0,3.9.1,2.8.2) from Maven, one after the other; needs Java 17 and Maven
	KAFKATEST_VERSIONS=$${VERSIONS:-4.4.0,4.3.1,4.2.0,3.9.1,2.8.2} ACKMARK_REQUIRE_KAFKA=1 $(GO) test -count=1 -timeout 3h -v ./internal/proof/e2e -run 'TestBrokers$$'

.PHONY: soak
soak: ## Random faults on three real brokers for SOAK (30m), more than 3,000,000 inputs; needs Java 17 and Maven; PROTOCOL=consumer: in a group of KIP-848; MODE=exactly-once: in transactions of the sidecar; ACKMARK_PROFILES=DIR: with heap profiles
	ACKMARK_PROTOCOL=$(PROTOCOL) ACKMARK_MODE=$(MODE) ACKMARK_SOAK=$${SOAK:-30m} ACKMARK_REQUIRE_KAFKA=1 $(GO) test -count=1 -timeout 3h -v ./internal/proof/e2e -run 'TestChaos$$'

.PHONY: seeds
seeds: ## Random schedules in simulation, SEEDS of them (2000): kills, stops, cuts, rebalances, resets, half of them in each group protocol; as many of pods that are exactly-once, and of refusals
	ACKMARK_SEEDS=$${SEEDS:-2000} $(GO) test -count=1 -timeout 1h ./internal/proof/lab -run '^TestSchedules$$'
	ACKMARK_SEEDS=$${SEEDS:-2000} $(GO) test -count=1 -timeout 2h ./internal/proof/lab -run '^TestSchedulesExactlyOnce$$'
	ACKMARK_SEEDS=$${SEEDS:-2000} $(GO) test -count=1 -timeout 1h ./internal/outlet -run '^TestStress$$'

.PHONY: peers
peers: ## The same job by Ackmark and by what one would take instead, as docs/peers.md (a quarter of an hour on a quiet machine); needs Java 17, Maven and a C compiler
	$(GO) -C bench/peers run . -page ../../docs/peers.md -svg ../../docs/img/peers.svg -json ../../tmp/peers.json $(ARGS)

.PHONY: microbench
microbench: ## Go benchmarks ten times, through benchstat (save the output and give benchstat two of them)
	$(GO) test -run '^$$' -bench . -benchmem -count 10 ./internal/... | $(GO) tool -modfile=tools/go.mod benchstat /dev/stdin

.PHONY: perf-guard
perf-guard: ## Allocations, requests and messages of a fixed job, within 5 % of a committed file (seconds; no time is measured)
	ACKMARK_PERF_GUARD=compare $(GO) test -count=1 -timeout 5m -v ./internal/proof/perfguard

.PHONY: mutants
mutants: ## Plant the bugs that the proof must catch, one by one: ends with "N of N caught"
	$(GO) test -count=1 -timeout 20m ./internal/proof/mutants -run TestMutants -v

.PHONY: mutants-often
mutants-often: ## Each planted bug five times (an hour): names the tests that catch theirs by luck (TIMES=5)
	ACKMARK_MUTANT_TIMES=$(or $(TIMES),5) $(GO) test -count=1 -timeout 180m ./internal/proof/mutants -run TestMutants -v

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

.PHONY: operate
operate: ## What runs it in production, in one go (ten minutes), and a table of it; needs Java 17, Maven, prometheus and chromium
	bash .ci/operate

.PHONY: image
image: ## The container image, without a container engine, as an OCI layout in dist/image; prints its digest (VERSION=1.2.3)
	$(GO) -C tools/image run . -version $${VERSION:-0.0.0-dev}

.PHONY: release-files
release-files: ## Man pages and shell completion for the archives, into tmp/release
	rm -rf tmp/release && mkdir -p tmp/release/completion
	$(GO) build -buildvcs=false -o tmp/release/ackmark ./cmd/ackmark
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) tmp/release/ackmark man tmp/release/man
	tmp/release/ackmark completion bash >tmp/release/completion/ackmark.bash
	tmp/release/ackmark completion zsh >tmp/release/completion/_ackmark
	tmp/release/ackmark completion fish >tmp/release/completion/ackmark.fish
	tmp/release/ackmark completion powershell >tmp/release/completion/ackmark.ps1
	rm tmp/release/ackmark

.PHONY: dist
dist: ## What .goreleaser.yaml builds, without goreleaser: programs for six systems, bills of materials, checksums, in dist/release
	$(GO) -C tools/release run .

.PHONY: man
man: ## The man pages of all commands, into dist/man
	$(GO) run ./cmd/ackmark man dist/man

.PHONY: deploy
deploy: ## Write the Kustomize base from the Helm chart
	$(GO) -C tools/deploycheck run ./render

.PHONY: deploycheck
deploycheck: ## deploy/ by the code that will read it: Helm, Kustomize, the API types of Kubernetes (builds them once: minutes)
	$(GO) -C tools/deploycheck vet ./...
	$(GO) -C tools/deploycheck test ./...
