# What make test, bench, fuzz and lint are made of; read by the Makefile.

C_TESTS  := $(patsubst tests/%.c,$(BUILD)/test/%,$(wildcard tests/check_*.c))
PROGRAMS := $(patsubst tests/%.c,$(BUILD)/%,$(wildcard tests/stress/*.c tests/limits/*.c tests/nginx/*.c))
FUZZERS  := $(BUILD)/fuzz/core $(BUILD)/fuzz/$(LUA_NAME)
BENCH    := $(patsubst tests/bench/%.c,$(BUILD)/bench/%,$(wildcard tests/bench/*.c))
C_FILES  := $(wildcard core/*.[ch] lua/binding/*.[ch] tests/*.[ch] tests/*/*.[ch] tests/*/*/*.[ch])
LUA_FILES:= $(wildcard lua/*/*.lua lua/*/*/*.lua lua/bin/* spec/*.lua spec/*/*.lua tests/*.lua tests/*/*.lua)

test: ## installs what is missing and runs every test; the last line counts them
	@sh tests/setup test
	@MAKE='$(MAKE)' bash tests/run

ctests: $(C_TESTS) $(PROGRAMS)

CHECK_FLAGS = $(shell pkg-config --cflags check 2>/dev/null)
CHECK_LIBS  = $(shell pkg-config --libs check 2>/dev/null || echo -lcheck)

# Programs that stand between the core and the system: see tests/wrap.h.
WRAPPED := malloc calloc realloc free posix_memalign aligned_alloc mmap munmap madvise mprotect \
	pthread_key_create pthread_setspecific pthread_atfork
$(patsubst %,$(BUILD)/test/check_%,fault commit warm limits): WRAP := $(WRAPPED:%=-Wl,--wrap=%)

$(BUILD)/test/%: tests/%.c $(CORE_OBJ)
	@mkdir -p $(@D)
	$(COMPILE) -MF $@.d $(CHECK_FLAGS) -o $@ $< $(CORE_OBJ) $(BP_LDFLAGS) $(LDFLAGS) $(WRAP) $(CHECK_LIBS) $(BP_LIBS)

$(PROGRAMS): $(BUILD)/%: tests/%.c $(CORE_OBJ)
	@mkdir -p $(@D)
	$(COMPILE) -MF $@.d -o $@ $< $(CORE_OBJ) $(BP_LDFLAGS) $(LDFLAGS) $(BP_LIBS)

# Programs that hold Lua states: for one Lua, beside its module, which they load.
HOSTS    := $(patsubst tests/hosts/%.c,$(MODDIR)/hosts/%,$(wildcard tests/hosts/*.c))

hosts: $(MODULE) $(HOSTS)

$(MODDIR)/hosts/%: tests/hosts/%.c $(MODDIR)/flags
	@mkdir -p $(@D)
	$(COMPILE) -MF $@.d $(LUA_CFLAGS) -o $@ $< $(BP_LDFLAGS) $(LDFLAGS) -Wl,-E $(LUA_LIBS) $(BP_LIBS)

# A fuzzer with libFuzzer, a replayer of files without it.
FUZZ_CC     ?= clang
FUZZ_FLAGS  := -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all
SECONDS     ?= 60

fuzz: ## fuzzes the C and the Lua API for SECONDS=60 each; tells how to replay what it finds
	@$(MAKE) --no-print-directory fuzzers
	@LUA='$(LUA_NAME)' BUILD='$(BUILD)' bash tests/fuzz/run $(SECONDS)

# Without the traces of comparisons: they cost half of the speed, and what an input is compared
# with are its own choices.
fuzzers:
	@$(MAKE) --no-print-directory BUILD='$(BUILD)/libfuzzer' CC='$(FUZZ_CC)' FUZZ_MAIN= \
	  CFLAGS='$(FUZZ_FLAGS) -fsanitize=fuzzer-no-link -fno-sanitize-coverage=trace-cmp' \
	  LDFLAGS='-fsanitize=fuzzer,address,undefined' replayers

replayers: $(FUZZERS)

FUZZ_MAIN ?= -DFUZZ_STANDALONE

$(BUILD)/fuzz/core: tests/fuzz/core.c $(CORE_OBJ)
	@mkdir -p $(@D)
	$(COMPILE) -MF $@.d $(FUZZ_MAIN) -o $@ $< $(CORE_OBJ) $(BP_LDFLAGS) $(LDFLAGS) $(BP_LIBS)

# -rdynamic: the FFI finds the module's functions in the program itself.
$(BUILD)/fuzz/$(LUA_NAME): tests/fuzz/lua.c $(LUA_OBJ) $(CORE_OBJ) $(MODDIR)/flags
	@mkdir -p $(@D)
	$(COMPILE) -MF $@.d $(LUA_CFLAGS) $(FUZZ_MAIN) -DFUZZ_ROOT='"$(CURDIR)"' -rdynamic -o $@ $< $(LUA_OBJ) $(CORE_OBJ) \
	  $(BP_LDFLAGS) $(LDFLAGS) $(LUA_LIBS) -lm $(BP_LIBS)

bench: ## installs what is missing and prints the bench tables (BENCH_JSON=file, BENCH_ROUNDS=9)
	@sh tests/setup bench $(LUA)
	@$(MAKE) --no-print-directory LUA=luajit all bench-programs
	@bash tests/bench/bench.sh

bench-nginx: ## worker CPU a request inside nginx, four ways to send a shared body (BENCH_ROUNDS=5)
	@sh tests/setup nginx
	@$(MAKE) --no-print-directory LUA=luajit module
	@bash tests/nginx/bench.sh

demo-nginx: ## nginx with the example config and a client (KEEP=1 leaves it running)
	@sh tests/setup nginx
	@$(MAKE) --no-print-directory LUA=luajit module
	@KEEP='$(KEEP)' bash tests/nginx/demo.sh

soak-specs: ## the specs that draw random numbers, one seed after another for SECONDS=60
	@sh tests/setup test $(LUA)
	@$(MAKE) --no-print-directory module
	@bash tests/soak.sh $(SECONDS) $(LUA_NAME)

soak-nginx: ## the long runs inside nginx: fan-out for SECONDS=60, totals under reloads and deaths
	@sh tests/setup nginx
	@$(MAKE) --no-print-directory LUA=luajit module $(BUILD)/nginx/fanout
	@bash tests/nginx/soak.sh $(SECONDS)

# alloc-static: the pool linked in. bare: a second library, without counters and recent lengths.
bench-programs: $(BENCH) $(BUILD)/bench/alloc-static $(BUILD)/bench/bench_noop.so
	@$(MAKE) --no-print-directory BUILD=$(BUILD)/bench/bare CPPFLAGS='$(CPPFLAGS) -DBP_BENCH_BARE' libs

$(BUILD)/bench/bench_noop.so: tests/bench/module/noop.c
	@mkdir -p $(@D)
	$(COMPILE) -MF $@.d $(LUA_CFLAGS) $(LIBFLAG) $(LDFLAGS) -o $@ $<

$(BUILD)/bench/alloc-static: tests/bench/alloc.c $(LIB)/libbytepool.a
	@mkdir -p $(@D)
	$(COMPILE) -MF $@.d -o $@ $< $(LIB)/libbytepool.a $(BP_LDFLAGS) $(LDFLAGS) $(BP_LIBS)

# The pool as malloc comes to a program: a shared library.
$(BUILD)/bench/%: tests/bench/%.c $(LIB)/$(SHARED)
	@mkdir -p $(@D)
	$(COMPILE) -MF $@.d -o $@ $< -L$(LIB) -lbytepool -Wl,-rpath,'$$ORIGIN/../lib' $(BP_LDFLAGS) $(LDFLAGS) $(BP_LIBS)

lint: lint-lua lint-format lint-cppcheck lint-gcc lint-clang ## style and static checks, warnings as errors

lint-lua:
	luacheck --quiet $(LUA_FILES) rockspec/*.rockspec

lint-format:
	clang-format --dry-run -Werror --ferror-limit=10 $(C_FILES)

# The library's API is called from elsewhere, hence no unusedFunction.
lint-cppcheck:
	cppcheck --quiet --std=c11 --language=c --inline-suppr --error-exitcode=1 -j 2 \
	  --enable=warning,performance,portability --suppress=missingIncludeSystem \
	  -Icore $(wildcard core/*.c lua/binding/*.c)

lint-gcc lint-clang: lint-%:
	@$(MAKE) --no-print-directory BUILD=build/lint-$* CC=$* CFLAGS='-O2 -Werror' libs modules ctests hosts replayers bench-programs

# LDoc reads what source.lua makes of the editors' annotations. All that it has to say is a fault.
DOC := $(BUILD)/doc

doc: $(MODULE) ## the reference for Lua in build/doc, by LDoc; it must be complete
	@rm -rf $(DOC) $(BUILD)/ldoc
	@mkdir -p $(BUILD)/ldoc
	$(LUA) tests/doc/source.lua . $(BUILD)/ldoc
	ldoc --quiet --fatalwarnings --testing -c tests/doc/config.ld -d $(DOC) $(BUILD)/ldoc 2>$(BUILD)/ldoc/faults || \
	  { cat $(BUILD)/ldoc/faults; exit 1; }
	@! grep . $(BUILD)/ldoc/faults
	@eval "$$(sh tests/env '$(CURDIR)' '$(BUILD)' '$(LUA)')"; $(LUA) tests/doc/check.lua $(DOC)

format: ## rewrites the C files as .clang-format wants them
	clang-format -i $(C_FILES)

.PHONY: test ctests hosts doc fuzz fuzzers replayers bench bench-nginx demo-nginx soak-specs soak-nginx bench-programs lint lint-lua lint-format lint-cppcheck \
	lint-gcc lint-clang format

-include $(wildcard $(MODDIR)/hosts/*.d $(BUILD)/test/*.d $(PROGRAMS:%=%.d) $(BUILD)/fuzz/*.d $(BUILD)/bench/*.d)
