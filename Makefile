# `make` prints the targets below.

VERSION ?= 0.1.0
OUT     ?= bin

# Static binaries everywhere; besides, the mount engine sheds capabilities on every thread, which Go allows without cgo only.
export CGO_ENABLED := 0
# The Go toolchain on PATH is the one used.
export GOTOOLCHAIN ?= local
# Without the checkout's path in what is compiled, Go's build cache answers in every checkout of the machine.
export GOFLAGS ?= -mod=readonly -trimpath
# An API server of a test starts within seconds, and within a minute where much else runs.
export KUBEBUILDER_CONTROLPLANE_START_TIMEOUT ?= 2m

# Without gRPC's debug pages, whose templates keep every method of every type: a quarter of the node plugin, and
# almost half of the manager.
TAGS := grpcnotrace

GO      ?= go
MODULES := . cmd/must-gather hack/cluster hack/image hack/tools/bundle hack/tools/chart hack/tools/dashboard hack/tools/olm test
CLUSTER := $(GO) -C hack/cluster run ./cmd/cluster

.PHONY: help
help: ## list the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z0-9-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: ## start a two-node Kubernetes on this machine, install the operator and mount images in pods
	@$(GO) -C hack/cluster run ./cmd/demo up

.PHONY: demo-down
demo-down: ## stop the demo and remove everything it created
	@$(GO) -C hack/cluster run ./cmd/demo down

# The packages whose tests need neither set-up nor root, so Go's test cache may answer for them.
UNITS = $(shell $(GO) list ./api/... ./internal/... ./cmd/... ./docs/... | grep -vE '/(imagestore/(containerd|crio)|hostmount|cmd/(manager|node-plugin))$$')

.PHONY: check
check: ## formatting, vet and the unit tests that need no set-up (under a minute once they are built)
	@unformatted=$$(git ls-files '*.go' | xargs gofmt -l); [ -z "$$unformatted" ] || { echo "run gofmt -w on: $$unformatted" >&2; exit 1; }
	$(GO) vet ./...
	$(GO) test $(UNITS)

# Tests whose nodes are namespaces of this machine, the longest first, two packages at a time; most of their time is waiting. -count=1:
# Go's test cache sees neither the kernel nor the programs that a test starts. -vet=off: lint vets everything.
NODE_TESTS := e2e node images faults conformance

# Further targets, which run one after the other beside both halves, whose tests mostly wait.
BESIDE ?=

# Targets that run side by side would each compile what another is compiling, so their packages are compiled before they start.
COMPILED_BEFORE := . hack/cluster hack/image test

.PHONY: test
test: ## run every test, on a real API server, containerd, CRI-O and a real cluster
	@built=$$($(CLUSTER) build) && \
	for module in $(COMPILED_BEFORE); do $(GO) -C $$module list -test -deps -export ./... > /dev/null || exit 1; done && \
	$(MAKE) --no-print-directory --jobs=3 test-nodes test-others $(BESIDE)

.PHONY: test-nodes
test-nodes: ## the half of it that runs on nodes of containerd and CRI-O, by themselves and in whole clusters
	@built=$$($(CLUSTER) build) && eval "$$built" && set -x && \
	$(GO) -C test test -count=1 -vet=off -p 2 -timeout 40m $(NODE_TESTS:%=./%/...)

# Of this module: all, or what test-race leaves out where it runs beside it, and the packages whose tests see more without cgo.
WITHOUT_CGO := ./internal/nodeplugin/confinement ./internal/nodeplugin/hostmount
OTHERS = $(if $(filter test-race,$(BESIDE)),$(WITHOUT_CGO) $(filter-out $(shell $(GO) list $(RACE)),$(shell $(GO) list ./...)),./...)

# Tests that have targets of their own.
APART := install rules troubles

.PHONY: test-others
test-others: ## the other half: unit tests, the API server's, and hack/cluster's own
	@built=$$($(CLUSTER) build) && eval "$$built" && set -x && \
	$(GO) test -count=1 -vet=off -timeout 40m $(OTHERS) && \
	$(GO) -C hack/cluster test -count=1 -vet=off ./... && \
	$(GO) -C hack/image test -count=1 -vet=off ./... && \
	$(GO) -C cmd/must-gather test -count=1 -vet=off ./... && \
	$(GO) -C hack/tools/bundle test -count=1 -vet=off ./... && \
	$(GO) -C hack/tools/chart test -count=1 -vet=off ./... && \
	$(GO) -C test test -count=1 -vet=off -p 1 -timeout 40m $$($(GO) -C test list ./... | grep -vE '/test/($(subst $() ,|,$(NODE_TESTS) $(APART)))(/|$$)')

# hostmount's whole suite runs again in a confined process, which is a question of rights and not of goroutines.
RACE_SKIPS := ^TestTheSuiteAsANodePlugin$$
RACE ?= ./internal/nodeplugin/... ./internal/credentialprovider ./internal/simulatedfleet ./cmd/node-plugin ./controllers/nodecache

# The library of CRI-O's store would need C headers for what the programs, which are built without cgo, do not have either.
# hostmount's own tests know that capabilities stay.
.PHONY: test-race
test-race: ## run tests that need no node under the race detector (needs gcc); RACE=./controllers takes five minutes more
	@built=$$($(CLUSTER) build) && eval "$$built" && \
	CGO_ENABLED=1 GORACE=atexit_sleep_ms=0 $(GO) test -race -tags=exclude_graphdriver_btrfs,exclude_disk_quota -count=1 -vet=off -skip '$(RACE_SKIPS)' $(RACE)

# A number of inputs (10000x) or a time (20s). A time fails now and then without an input to blame, with "context deadline exceeded", until
# Go 1.27 (go.dev/issue/75804).
FUZZTIME ?= 10000x
# Ends a target that neither ends nor fails, as one does whose input runs for ever.
FUZZLIMIT ?= 15m
# Inputs are kept that reach new branches of GUIDES: of this project's packages (own), or of every library besides (all), which is what
# go test -fuzz does. All compiles a thousand packages again, and tries a tenth of the inputs in the same time.
GUIDES ?= own
INSTRUMENTED := $(if $(filter all,$(GUIDES)),-fuzz=.,-gcflags=github.com/image-csi/image-csi-operator/...=-d=libfuzzer)

# Inputs that are new are made smaller by ten tries only: Go would spend a short run on nothing else, and shows what failed anyway. CI
# tries a thousand inputs of each target. Seeds are in the tests and in testdata/fuzz/<target>, which every test run tries, too.
# A package's targets share one instrumented program; what it learns stays where go test -fuzz keeps it, too.
.PHONY: fuzz
fuzz: ## fuzz every parser of untrusted text with FUZZTIME inputs (10000x) each
	@programs=$$(mktemp -d) && trap 'rm -rf "$$programs"' EXIT && failed=0; corpus=$$($(GO) env GOCACHE)/fuzz; \
	for package in $$(grep -rl --include='*_test.go' '^func Fuzz' . | xargs -n1 dirname | sort -u); do \
		$(GO) -C $$package test -vet=off '$(INSTRUMENTED)' -c -o "$$programs/fuzz.test" . || { failed=1; continue; }; \
		for name in $$(grep -ho '^func Fuzz[A-Za-z0-9]*' $$package/*_test.go | cut -d' ' -f2 | sort); do \
			echo "$$package $$name"; \
			( cd $$package && timeout -k 10 $(FUZZLIMIT) "$$programs/fuzz.test" -test.run '^$$' -test.fuzz "^$$name\$$" -test.fuzztime $(FUZZTIME) \
				-test.fuzzminimizetime 10x -test.fuzzcachedir "$$corpus/$$($(GO) list .)" ) || failed=1; \
		done; \
	done; exit $$failed

.PHONY: test-faults
test-faults: ## kill the node plugin at every step of its work (ten minutes; `make test` kills it at a sample of the steps)
	@built=$$($(CLUSTER) build) && eval "$$built" && IMAGECSI_FAULTS=all $(GO) -C test test -count=1 -v -parallel 3 -timeout 60m ./faults

# The steps that crun 1.8 of Debian bookworm can take.
CRUN_STEPS := an_empty_driver|the_operator_has|the_containerd_pod|the_CRI-O_pod|pods_on_both|who_takes_over|a_read-only_volume

# `make test` has all of it but the kernels. The scans are verbose, because one says what it does not judge.
.PHONY: test-hardening
test-hardening: ## scan what is installed, try to get out of running node plugins, and test-kernels (half an hour; needs root)
	@built=$$($(CLUSTER) build) && eval "$$built" && set -x && \
	$(GO) -C test test -count=1 -v ./hardening && \
	$(GO) test -count=1 ./internal/privileges ./internal/operator/security ./internal/nodeplugin/confinement && \
	$(GO) -C test test -count=1 -timeout 40m -run 'Hostile|Seccomp|ReadOnlyDriver|BelievesOfTheKernel' ./node && \
	$(GO) -C test test -count=1 -timeout 40m -run TestFirstLight ./e2e && \
	IMAGECSI_OCI_RUNTIME=crun $(GO) -C test test -count=1 -v -timeout 40m -run 'TestFirstLight/($(CRUN_STEPS))' ./e2e
	@$(MAKE) --no-print-directory test-kernels

# `make test` changes the mode under volumes, and has CRI-O unpack 127 layers at most; tests of CRI-O nodes have their name.
.PHONY: test-modes
test-modes: ## run the tests of CRI-O nodes with the node plugin in mount mode Nsenter, not privileged (minutes; needs root)
	@built=$$($(CLUSTER) build) && eval "$$built" && IMAGECSI_CRIO_MODE=Nsenter IMAGECSI_LAYERS=all \
	$(GO) -C test test -count=1 -p 1 -timeout 40m -run '/^crio$$|FullDisk//^crio$$' ./node ./images ./faults ./conformance

# Not a part of CI: it makes a release and builds Helm.
.PHONY: test-install
test-install: ## install, change and remove the operator by every way of docs/install, from a release alone, and collect for support (minutes; root for a real node)
	@built=$$($(CLUSTER) build) && eval "$$built" && $(GO) -C test test -count=1 -v -timeout 25m -run 'TestEveryWayIn|TestMustGather' ./install

# Not a part of CI: it builds OLM, and makes two releases. OLM=TestOLMWithoutNodes needs no root.
OLM ?= TestOLM

.PHONY: test-olm
test-olm: ## install, upgrade and remove the operator by OLM in a cluster, as docs/install/olm.md says (minutes; needs root)
	@built=$$($(CLUSTER) build) && eval "$$built" && $(GO) -C test test -count=1 -v -timeout 40m -run '^$(OLM)$$' ./install

# Not a part of CI, whose longest part is the package that has the test.
.PHONY: test-handover
test-handover: ## hand a cluster's nodes over from a legacy driver under running pods, and back (minutes; needs root)
	@built=$$($(CLUSTER) build) && eval "$$built" && IMAGECSI_HANDOVER=1 $(GO) -C test test -count=1 -v -timeout 20m -run 'TestHandover$$' ./e2e

# Not a part of CI: TestFirstLight makes five of the troubles happen. They mostly wait, so they do it together.
.PHONY: test-troubles
test-troubles: ## make what goes wrong happen on a cluster, and cure it as kubectl imagecsi and docs say; docs/how-to; samples (minutes; root)
	@built=$$($(CLUSTER) build) && eval "$$built" && $(GO) -C test test -count=1 -v -parallel 24 -timeout 30m $(if $(RUN),-run '$(RUN)') ./troubles

# Not a part of CI: each rule is a run of the tests of the policies, with API servers of its own. RULES is a regular expression.
.PHONY: test-rules
test-rules: ## take away each rule of config/admission and want a test to fail (an hour)
	@built=$$($(CLUSTER) build) && eval "$$built" && $(GO) -C test test -count=1 -v -timeout 90m ./rules

.PHONY: verify-docs
verify-docs: ## check links, paths, words and names in docs, and that a test runs each of their commands, or a reason stands for it
	$(GO) test -count=1 ./docs/... ./internal/cli/why

.PHONY: test-outage
test-outage: ## stop the API server for five minutes during a rollout (`make test` stops it for a moment)
	@built=$$($(CLUSTER) build) && eval "$$built" && IMAGECSI_FAULTS=all $(GO) -C test test -count=1 -v -timeout 15m -run Outage ./storm

# Not a part of CI. The node plugin's tests need no API server, and the clusters of e2e have kubelets of the release that Kubernetes'
# own modules are pinned to.
APISERVERS ?= 1.31 1.33 1.35

.PHONY: test-apiservers
test-apiservers: ## run the operator's tests on API servers of the older releases APISERVERS (ten minutes each; as many to build one)
	@set -e; for release in $(APISERVERS); do \
	built=$$($(CLUSTER) build --api-server $$release); (eval "$$built"; "$$TEST_ASSET_KUBE_APISERVER" --version; export CI=true; \
	$(GO) test -count=1 -timeout 30m ./controllers ./cmd/manager; \
	$(GO) -C test test -count=1 ./admission); done

.PHONY: bench
bench: ## measure the node plugin's speed and memory against thresholds (minutes; needs root)
	@built=$$($(CLUSTER) build) && eval "$$built" && \
	$(GO) -C test test -count=1 -timeout 15m -run '^$$' -bench . -benchtime 1x ./bench

.PHONY: test-cgroupv2
test-cgroupv2: ## run cluster nodes on an emulated machine with cgroup v2 only (minutes; needs root)
	@RUN="$${RUN:-runtimes kubelets}" hack/cluster/machine/run.sh

.PHONY: test-quotas
test-quotas: ## run tests of size limits on ext4 and XFS with project quotas, on an emulated machine (minutes; needs root)
	@RUN=quotas TESTS="$${TESTS:-node=Limit faults=Limited}" hack/cluster/machine/run.sh

.PHONY: conformance
conformance: demo ## run Kubernetes' suite for storage drivers in the demo's cluster, which keeps running
	@$(GO) -C test run ./conformance/storage

.PHONY: scale
scale: ## measure the operator on an API server with NODES nodes (500,2000,5000) and HEARTBEATS (1m) (a quarter of an hour)
	@built=$$($(CLUSTER) build) && eval "$$built" && \
	$(GO) -C test run ./scale $(if $(NODES),-nodes $(NODES)) $(if $(HEARTBEATS),-heartbeats $(HEARTBEATS))

.PHONY: test-kernels
test-kernels: ## test the mount engine on Linux 5.10 to the newest, with AppArmor and SELinux, emulated (minutes)
	@$(GO) -C test run ./kernel $(KERNELS)

.PHONY: build
build: ## build the programs into OUT (bin)
	$(GO) build -trimpath -buildvcs=false -tags=$(TAGS) -ldflags="-s -w -X main.version=v$(VERSION)" -o $(OUT)/ ./cmd/...

# Not a part of CI, where a test wants of the program's packages that none needs Linux: each system's libraries are compiled anew.
DESKTOPS := linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64 windows/arm64

.PHONY: kubectl-plugin
kubectl-plugin: ## build kubectl imagecsi for Linux, macOS and Windows into OUT (bin), a directory each (minutes)
	@set -e; for desktop in $(DESKTOPS); do \
	GOOS=$${desktop%/*} GOARCH=$${desktop#*/} $(GO) build -trimpath -buildvcs=false -ldflags="-s -w -X main.version=v$(VERSION)" -o $(OUT)/$$desktop/ ./cmd/kubectl-imagecsi; done

# What the release's manifests call the image: the repository into which release-push puts it.
REPOSITORY ?= ghcr.io/image-csi/image-csi-operator

.PHONY: release
release: ## make a release in dist: the image for amd64 and arm64, inventories, kubectl imagecsi for DESKTOPS, and manifests, Helm chart and OLM bundle, which name REPOSITORY
	@$(GO) -C hack/image run . make -root $(CURDIR) -dir $(CURDIR)/dist -version $(VERSION) -repository $(REPOSITORY) -desktops '$(DESKTOPS)' $(if $(ARCHITECTURES),-architectures $(ARCHITECTURES))

.PHONY: release-push
release-push: ## push the image of the release in dist to REPOSITORY, and the chart beside it
	@$(GO) -C hack/image run . push -dir $(CURDIR)/dist -repository $(REPOSITORY)

# Not a part of CI, where hack/image's own tests make a release of small programs.
.PHONY: test-release
test-release: ## make a release from two clones, which must give the same bytes, and start its arm64 programs under emulation
	@hack/image/test-release.sh

.PHONY: generate
generate: ## write all generated files: deep copies, CRD, RBAC, API reference, dashboard, bundle, chart
	$(MAKE) -C hack/tools generate

.PHONY: verify
verify: ## fail if a generated file, go.mod or the formatting is not up to date
	@hack/verify.sh $(MODULES)

# The modules of the workspace in one run; OLM's libraries are of another time, so its module is on its own.
.PHONY: lint
lint: ## run golangci-lint on every module, go vet's checks among its own
	@lint=$$($(GO) tool -n -modfile=$(CURDIR)/hack/tools/lint/go.mod golangci-lint) && \
	GOWORK=$(CURDIR)/hack/tools/lint/workspace/go.work "$$lint" run --allow-parallel-runners $(patsubst %,./%/...,$(filter-out hack/tools/olm,$(MODULES))) && \
	cd hack/tools/olm && "$$lint" run --allow-parallel-runners ./...

.PHONY: chart
chart: ## write the Helm chart from config/
	$(MAKE) -C hack/tools chart

.PHONY: bundle
bundle: ## write the OLM bundle from config/ and validate it
	$(MAKE) -C hack/tools bundle

# Not a part of CI, which has the validators of "make bundle": it builds opm and the scorecard.
.PHONY: verify-bundle
verify-bundle: ## check the OLM bundle and its catalog by the validators, the scorecard's tests and opm (a minute; minutes to build them)
	$(GO) -C hack/tools/bundle test -count=1 -vet=off .
	$(GO) -C hack/tools/olm test -count=1 -vet=off -v .
