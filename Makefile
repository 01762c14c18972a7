# bytepool: `make help` lists the targets and the variables worth setting.

LUA      ?= luajit
CFLAGS   ?= -O2 -g
BUILD    ?= build
PREFIX   ?= /usr/local

LUAS     := luajit lua5.1 lua5.2 lua5.3 lua5.4
OS       := $(shell uname -s)
VERSION  := $(shell sed -n 's/^.define BP_VERSION "\(.*\)"/\1/p' core/bytepool.h)
SOMAJOR  := $(firstword $(subst ., ,$(VERSION)))

# ---- flags ------------------------------------------------------------------
# The project's own live in BP_*, so that CFLAGS and LDFLAGS on the command line only add to them.

WARNINGS   := -Wall -Wextra -Wpedantic -Wshadow -Wconversion
BP_CFLAGS  := -std=gnu11 -fPIC -fvisibility=hidden -fno-semantic-interposition -pthread $(WARNINGS)
BP_LDFLAGS := -pthread

# musl refuses initial-exec thread locals in a library that is loaded late; glibc takes small ones.
GLIBC := $(shell printf '%s\n' 'include <limits.h>' 'if defined __GLIBC__ && !defined __UCLIBC__' \
	'bp_glibc' 'endif' | sed '/^bp/!s/^/\#/' | $(CC) -E -x c - 2>/dev/null | grep -c '^bp_glibc')
ifeq ($(GLIBC),1)
BP_CFLAGS += -DBP_TLS_INITIAL_EXEC
endif

ifeq ($(OS),Darwin)
LIBFLAG   ?= -bundle -undefined dynamic_lookup
SHARED    := libbytepool.$(VERSION).dylib
SONAME    := libbytepool.$(SOMAJOR).dylib
LINKNAME  := libbytepool.dylib
SHARED_LD  = -dynamiclib -install_name $(LIBDIR)/$(SONAME)
else
LIBFLAG   ?= -shared
SHARED    := libbytepool.so.$(VERSION)
SONAME    := libbytepool.so.$(SOMAJOR)
LINKNAME  := libbytepool.so
SHARED_LD := -shared -Wl,-soname,$(SONAME)
# A host that links libbytepool.so must not capture the module's calls.
ELF_LD    := -Wl,-Bsymbolic-functions
endif
ifeq ($(OS),Linux)
BP_LIBS   := -ldl
endif

# ---- the Lua to build for ---------------------------------------------------

LUA_NAME := $(notdir $(LUA))
ifndef LUA_INCDIR
LUA_PC   := $(LUA_NAME) $(LUA_NAME:lua5%=lua-5%) $(subst .,,$(LUA_NAME))
LUA_DIRS := $(if $(findstring /,$(LUA)),$(dir $(LUA))../include) /usr/include /usr/local/include
LUA_SUBS := $(if $(findstring jit,$(LUA)),luajit-2.1 luajit-2.0) $(LUA_PC)
ifeq ($(findstring /,$(LUA)),)
LUA_INCDIR := $(shell for p in $(LUA_PC); do pkg-config --exists $$p 2>/dev/null && \
	pkg-config --cflags-only-I $$p | sed 's/^-I//; s/ .*//' && break; done)
endif
ifeq ($(LUA_INCDIR),)
LUA_INCDIR := $(patsubst %/lua.h,%,$(firstword $(wildcard \
	$(foreach d,$(LUA_DIRS),$(foreach s,$(LUA_SUBS) .,$(d)/$(s)/lua.h)))))
endif
endif
LUA_LIBS ?= $(or $(shell for p in $(LUA_PC); do pkg-config --libs $$p 2>/dev/null && break; done),\
	$(if $(findstring /,$(LUA)),-L$(dir $(LUA))../lib) -l$(if $(findstring jit,$(LUA)),luajit-5.1,$(LUA_NAME)))
# -isystem: the warnings are for our code.
LUA_CFLAGS = $(if $(LUA_INCDIR),-isystem $(LUA_INCDIR),$(error no headers found for LUA=$(LUA): set LUA_INCDIR))

# ---- files ------------------------------------------------------------------

LIB      := $(BUILD)/lib
MODDIR   := $(BUILD)/$(LUA_NAME)
MODULE   := $(MODDIR)/bytepool/core.so
CORE_OBJ := $(patsubst core/%.c,$(LIB)/obj/%.o,$(wildcard core/*.c))
LUA_OBJ  := $(patsubst lua/binding/%.c,$(MODDIR)/obj/%.o,$(wildcard lua/binding/*.c))

all: module libs ## the module for $(LUA) and the C libraries (the default)

module: $(MODULE) $(MODDIR)/bin/bytepool ## the module for LUA=luajit, lua5.1 .. lua5.4, or a path

# After `all`: a make within this one must not build the same objects beside it.
modules: all ## the module for every Lua found
	@for l in $(LUAS); do \
	  if $(MAKE) -s have-lua LUA=$$l; then $(MAKE) --no-print-directory module LUA=$$l || exit 1; \
	  else echo "no $$l here"; fi; done

libs: $(LIB)/libbytepool.a $(LIB)/$(SHARED) $(LIB)/bytepool.pc ## libbytepool.a and .so

rock: $(MODULE)

have-lua:
	@command -v $(LUA) >/dev/null && test -f '$(LUA_INCDIR)/lua.h'

print-incdir:
	@echo '$(LUA_INCDIR)'

# A changed compiler or flag rebuilds what was made with the old one.
FLAGS = $(CC) $(BP_CFLAGS) $(CFLAGS) $(CPPFLAGS) $(BP_LDFLAGS) $(LDFLAGS) $(LIBFLAG)
STAMP = @mkdir -p $(@D)/obj; echo "$(1)" | cmp -s - $@ || echo "$(1)" >$@
$(LIB)/flags: FORCE
	$(call STAMP,$(FLAGS))
$(MODDIR)/flags: FORCE
	$(call STAMP,$(FLAGS) $(LUA_CFLAGS))

COMPILE = $(CC) $(BP_CFLAGS) $(CFLAGS) $(CPPFLAGS) -Icore -MMD -MP

$(LIB)/obj/%.o: core/%.c $(LIB)/flags
	$(COMPILE) -c -o $@ $<

$(MODDIR)/obj/%.o: lua/binding/%.c $(MODDIR)/flags
	$(COMPILE) $(LUA_CFLAGS) -c -o $@ $<

$(MODULE): $(LUA_OBJ) $(CORE_OBJ) $(MODDIR)/flags
	@mkdir -p $(@D)
	$(CC) $(LIBFLAG) $(BP_LDFLAGS) $(ELF_LD) $(CFLAGS) $(LDFLAGS) -o $@ $(LUA_OBJ) $(CORE_OBJ) $(BP_LIBS)

# The command under the Lua that the module was built for.
$(MODDIR)/bin/bytepool: Makefile $(MODDIR)/flags
	@mkdir -p $(@D)
	@printf '#!/bin/sh\nexec %s "%s/lua/bin/bytepool" "$$@"\n' '$(LUA)' '$(CURDIR)' >$@; chmod 755 $@

$(LIB)/libbytepool.a: $(CORE_OBJ)
	rm -f $@
	$(AR) rcs $@ $^

$(LIB)/$(SHARED): $(CORE_OBJ)
	$(CC) $(SHARED_LD) $(BP_LDFLAGS) $(ELF_LD) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(BP_LIBS)
	ln -sf $(SHARED) $(LIB)/$(SONAME)
	ln -sf $(SONAME) $(LIB)/$(LINKNAME)

$(LIB)/bytepool.pc: core/bytepool.pc.in core/bytepool.h $(LIB)/flags FORCE
	@sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@LIBDIR@|$(LIBDIR)|' -e 's|@INCLUDEDIR@|$(INCLUDEDIR)|' \
	  -e 's|@VERSION@|$(VERSION)|' -e 's|@LIBS@|-pthread $(BP_LIBS)|' $< >$@

# ---- using it from the checkout ---------------------------------------------

env: ## shell exports for the built module: eval "$(make -s env [LUA=lua5.4])"
	@sh tests/env '$(CURDIR)' '$(BUILD)' '$(LUA)'

demo: ## installs what is missing and runs the demo over a file (FILE=path)
	@sh tests/setup demo $(LUA)
	@$(MAKE) --no-print-directory module
	@$(MAKE) --no-print-directory demo-run

demo-run:
	@eval "$$(sh tests/env '$(CURDIR)' '$(BUILD)' '$(LUA)')"; \
	  exec $(LUA) lua/examples/fanout.lua $(if $(FILE),"$(FILE)")

include tests/rules.mk

# ---- install ----------------------------------------------------------------

LIBDIR     ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
D          := $(DESTDIR)

install: libs ## header, libraries and bytepool.pc under PREFIX (DESTDIR is put in front)
	install -d '$(D)$(INCLUDEDIR)' '$(D)$(LIBDIR)/pkgconfig'
	install -m 644 core/bytepool.h '$(D)$(INCLUDEDIR)'
	install -m 644 $(LIB)/libbytepool.a '$(D)$(LIBDIR)'
	install -m 755 $(LIB)/$(SHARED) '$(D)$(LIBDIR)'
	ln -sf $(SHARED) '$(D)$(LIBDIR)/$(SONAME)'
	ln -sf $(SONAME) '$(D)$(LIBDIR)/$(LINKNAME)'
	install -m 644 $(LIB)/bytepool.pc '$(D)$(LIBDIR)/pkgconfig'

LUA_VERSION  = $(shell $(LUA) -e 'io.write((_VERSION:gsub("Lua ", "")))')
INST_LIBDIR ?= $(PREFIX)/lib/lua/$(LUA_VERSION)
INST_LUADIR ?= $(PREFIX)/share/lua/$(LUA_VERSION)
INST_BINDIR ?= $(PREFIX)/bin
LUA_INSTALL := $(patsubst lua/%,%,$(wildcard lua/bytepool/*.lua lua/bytepool/*/*.lua \
	lua/resty/*.lua lua/resty/*/*.lua))

install-lua: $(MODULE) ## module, Lua files and command for $(LUA) under PREFIX; LuaRocks uses it
	install -d '$(D)$(INST_LIBDIR)/bytepool' '$(D)$(INST_BINDIR)'
	install -m 755 $(MODULE) '$(D)$(INST_LIBDIR)/bytepool'
	for f in $(LUA_INSTALL); do \
	  install -d "$(D)$(INST_LUADIR)/$${f%/*}" && \
	  install -m 644 "lua/$$f" "$(D)$(INST_LUADIR)/$$f" || exit 1; done
	install -m 755 lua/bin/bytepool '$(D)$(INST_BINDIR)'

clean: ## removes what was built
	rm -rf build

help: ## this list
	@sed -n 's/^\([a-z][a-z-]*\):.* ## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14
	@echo 'Variables: LUA LUA_INCDIR LUA_LIBS CC CFLAGS LDFLAGS PREFIX DESTDIR BUILD FILE SECONDS'
	@echo '           BENCH_JSON BENCH_ROUNDS BENCH_QUICK'

FORCE:
.PHONY: all module modules libs rock have-lua print-incdir env demo demo-run install install-lua clean help FORCE
.DELETE_ON_ERROR:

-include $(wildcard $(LIB)/obj/*.d $(MODDIR)/obj/*.d)
