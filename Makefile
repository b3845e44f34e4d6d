# Corten. `make help` lists the targets.

PREFIX ?= /usr/local
SYSCONFDIR ?= /etc
TARGET := $(or $(CARGO_TARGET_DIR),target)
BIN := $(TARGET)/release
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)
PROGRAMS := cortend corten corten-monitor
# One monitor a pod: static and at a fixed address it is smallest in memory.
MONITOR_FLAGS := -C target-feature=+crt-static -C relocation-model=static -C panic=abort -C strip=symbols
CARGO ?= cargo

.DEFAULT_GOAL := build
.PHONY: help deps deps-build deps-run deps-test deps-guest build run stop test lint unit e2e guest docs bench bench-pull test-v2 test-systemd test-power-loss fuzz install install-files clean

help: ## Show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

deps: deps-test ## Install the Debian packages for everything below (those that are missing)

deps-build:
	@$(SUDO) scripts/install-packages gcc make pkg-config libseccomp-dev

deps-run: deps-build
	@$(SUDO) scripts/install-packages busybox-static

deps-test: deps-run
	@$(SUDO) scripts/install-packages docker-registry containernetworking-plugins iptables runc iproute2 nftables strace e2fsprogs xfsprogs

build: ## Build cortend, corten and corten-monitor for release
	@scripts/check-cargo
	$(CARGO) build --release --locked -p corten-node -p corten-ctl
	$(CARGO) rustc --release --locked -p corten-monitor --bin corten-monitor -- $(MONITOR_FLAGS)

run: deps-run build ## Run an example pod on a cortend of its own until Ctrl-C (WAIT=0: until `make stop`)
	@$(CARGO) build --release --locked --quiet -p corten-e2e --bin make-image
	@$(SUDO) env BIN=$(TARGET)/release WAIT=$(or $(WAIT),1) scripts/example run

stop: ## End what `make run` left running, and remove every trace of it
	@$(SUDO) env BIN=$(TARGET)/release scripts/example stop

test: deps lint unit e2e guest ## Check the format, lints, licences and documentation; run all tests, in a guest what is about its kernel

lint:
	@scripts/check-cargo
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --locked --quiet
	TARGET=$(TARGET) scripts/cargo-deny --locked check --hide-inclusion-graph licenses bans sources

unit:
	$(SUDO) env PATH="$$PATH" CARGO="$(CARGO)" scripts/test-twice --workspace --exclude corten-e2e --locked

e2e:
	$(CARGO) build --workspace --locked
	@# These wait more than they work.
	$(SUDO) env PATH="$$PATH" CARGO="$(CARGO)" RUST_TEST_THREADS=$$(($$(nproc) + 1)) scripts/test-twice -p corten-e2e --locked

guest: TARGETS = -p corten-host --lib -- cgroup::;-p corten-images --test quota;-p corten-e2e --test cgroup_v2 --test apparmor --test quota --test resources
guest: SYSTEMD_TARGETS = -p corten-e2e --test systemd
guest: test-v2 test-systemd

docs: ## Write docs/cri-coverage.md from its table, and the generated parts of docs/skew.md
	UPDATE_DOCS=1 $(CARGO) test -p corten-e2e --locked --test coverage -- --exact the_document_is_the_tables
	UPDATE_DOCS=1 $(CARGO) test -p corten-skew --locked --test document

bench: deps-run build ## Measure a pod's life, call by call (SOCKETS: other runtimes to measure in turns)
	@$(CARGO) build --release --locked --quiet -p corten-e2e
	@$(SUDO) env BIN=$(TARGET)/release scripts/bench $(SOCKETS)

bench-pull: deps-test build ## Measure pulling a large image (in turns with containerd, where it is installed; ROUNDS: how often)
	@$(CARGO) build --release --locked --quiet -p corten-e2e
	@$(SUDO) env BIN=$(TARGET)/release scripts/bench-pull $(SOCKETS)

deps-guest: deps-test
	@$(SUDO) scripts/install-packages qemu-system-x86 qemu-system-common busybox-static e2fsprogs xfsprogs binutils cpio kmod xz-utils apparmor systemd dbus

test-v2: deps-guest ## Run the tests that a kernel can fail in a guest on cgroup v2 with AppArmor (TARGETS: which, as arguments of cargo test, separated by semicolons; KERNEL: the package of another kernel)
	$(CARGO) build --workspace --locked
	$(SUDO) env PATH="$$PATH" CARGO="$(CARGO)" TARGET=$(TARGET) TARGETS="$(TARGETS)" KERNEL="$(KERNEL)" scripts/test-v2

test-power-loss: deps-guest build ## Cut the power of a guest that pulls images, and compare what is left (ROUNDS: how often; GUESTS; FILESYSTEM: ext4 or xfs)
	@$(CARGO) build --release --locked --quiet -p corten-e2e
	@$(SUDO) env BIN=$(TARGET)/release scripts/power-loss --rounds $(or $(ROUNDS),20) --guests $(or $(GUESTS),1) \
		--filesystem $(or $(FILESYSTEM),ext4)

test-systemd: deps-guest ## Run end-to-end tests in a guest with systemd as its first process and as who makes cgroups, and Corten installed as a package installs it (SYSTEMD_TARGETS: which, as TARGETS for test-v2)
	$(CARGO) build --workspace --bins --locked
	@$(SUDO) env PATH="$$PATH" CARGO="$(CARGO)" TARGET=$(TARGET) BIN=$(TARGET)/debug TARGETS="$(SYSTEMD_TARGETS)" KERNEL="$(KERNEL)" scripts/test-systemd

fuzz: ## Fuzz what reads the wire and images, a minute each (SECONDS_EACH: how long; needs cargo-fuzz and root)
	for target in spdy websocket layer manifest reference; do \
		$(SUDO) env PATH="$$PATH" fuzz/run $$target -max_total_time=$(or $(SECONDS_EACH),60) || exit; \
	done

install: build install-files ## Install to PREFIX (and DESTDIR) with a systemd unit and a default configuration

install-files:
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/lib/systemd/system $(DESTDIR)$(SYSCONFDIR)/corten
	install -m 0755 $(PROGRAMS:%=$(BIN)/%) $(DESTDIR)$(PREFIX)/bin/
	sed 's|@PREFIX@|$(PREFIX)|; s|@SYSCONFDIR@|$(SYSCONFDIR)|' packaging/corten.service \
		> $(DESTDIR)$(PREFIX)/lib/systemd/system/corten.service
	install -m 0644 packaging/corten.socket $(DESTDIR)$(PREFIX)/lib/systemd/system/corten.socket
	test -e $(DESTDIR)$(SYSCONFDIR)/corten/config.toml || \
		install -m 0644 packaging/config.toml $(DESTDIR)$(SYSCONFDIR)/corten/config.toml

clean: ## Remove what was built
	$(CARGO) clean
