# The modules: the core compiled once with and once without threads, the kernels once more for each instruction set.
# Called by build.sh, which knows EMCC.
EMCC ?= emcc
OUT ?= wasm/dist
WORK ?= build/wasm
SHELL := /bin/sh

LAYERS := base quant kernels format text model model/arch run bind
SOURCES := $(filter-out csrc/kernels/isa.c csrc/quant/encode_%.c csrc/run/quantize.c csrc/run/session_file.c,\
  $(foreach layer,$(LAYERS),$(wildcard csrc/$(layer)/*.c)))
# What is compiled anew for each instruction set: who knows which kernels there are, and the kernels.
BY_ISA := csrc/kernels/dispatch.c csrc/base/cpu.c
COMMON := $(filter-out $(BY_ISA),$(SOURCES))

# What every engine with SIMD has beside it makes code smaller: conversions without traps, sign extension, memory.copy.
CFLAGS := -std=c11 -Icsrc -ffp-contract=off -fno-math-errno -fvisibility=hidden -Wall -Wextra -Werror \
  -mnontrapping-fptoint -msign-ext -mbulk-memory -ffunction-sections -fdata-sections -DPE_NO_QUANTIZE -MMD -MP
SMALL := -Oz
FAST := -Os -fno-tree-vectorize
FLAGS_wasm128 := -msimd128
FLAGS_wasmrelaxed := -msimd128 -mrelaxed-simd
THREADS_single :=
THREADS_threads := -pthread

# Those that the core has: a build without a part of it goes without its functions, and the library says so.
FUNCTIONS := $(shell for name in `cat wasm/exports.txt`; do \
  ! grep -qw $$name csrc/pyedge.h csrc/bind/wasm.c || echo $$name; done)
EXPORTS := $(shell printf '_%s,' $(FUNCTIONS))_malloc,_free,_realloc
LINK := -Oz -sEXPORTED_FUNCTIONS=$(EXPORTS) -sEXPORTED_RUNTIME_METHODS=wasmMemory \
  -sALLOW_MEMORY_GROWTH=1 -sMEMORY_GROWTH_LINEAR_STEP=8MB -sMAXIMUM_MEMORY=4GB -sINITIAL_MEMORY=4MB -sSTACK_SIZE=512KB -sFILESYSTEM=0 \
  -sMALLOC=emmalloc -sMODULARIZE=1 -sEXPORT_ES6=1 -sEXPORT_NAME=createModule -sENVIRONMENT=web,worker,node \
  -sWASM_BIGINT=1 -sSUPPORT_LONGJMP=0 -sSTRICT=1 -sABORTING_MALLOC=0 \
  -sINCOMING_MODULE_JS_API=locateFile,instantiateWasm,wasmBinary,print,printErr,mainScriptUrlOrBlob \
  -Wl,--gc-sections
LINK_single :=
LINK_threads := -pthread -sPTHREAD_POOL_SIZE=Module.poolSize -sDEFAULT_PTHREAD_STACK_SIZE=256KB

MODULES := $(foreach isa,wasm128 wasmrelaxed,$(isa)-single $(isa)-threads)
.PHONY: all
all: $(foreach isa,wasm128 wasmrelaxed,$(OUT)/pyedge-$(isa).mjs $(OUT)/pyedge-$(isa)-threads.mjs)

define common_rules
$(WORK)/$(1)/%.o: csrc/%.c wasm/module.mk
	@mkdir -p $$(@D)
	@$(EMCC) $(CFLAGS) $(SMALL) -msimd128 $(THREADS_$(1)) -c $$< -o $$@
endef
$(foreach mode,single threads,$(eval $(call common_rules,$(mode))))

# $(1) instruction set, $(2) mode, $(3) name of the module
define module_rules
$(WORK)/$(1)-$(2)/%.o: csrc/%.c wasm/module.mk
	@mkdir -p $$(@D)
	@$(EMCC) $(CFLAGS) $(if $(findstring isa,$(4)),$(FAST),$(SMALL)) $(FLAGS_$(1)) $(THREADS_$(2)) -c $$< -o $$@
$(WORK)/$(1)-$(2)/kernels/isa.o: csrc/kernels/isa.c wasm/module.mk
	@mkdir -p $$(@D)
	@$(EMCC) $(CFLAGS) $(FAST) $(FLAGS_$(1)) $(THREADS_$(2)) -DPE_ISA=$(1) '-DPE_ISA_HEADER="kernels/simd/$(1).h"' \
	  -c $$< -o $$@
$(OUT)/$(3).mjs: $(patsubst csrc/%.c,$(WORK)/$(2)/%.o,$(COMMON)) \
  $(patsubst csrc/%.c,$(WORK)/$(1)-$(2)/%.o,$(BY_ISA) csrc/kernels/isa.c) wasm/exports.txt wasm/module.mk
	@mkdir -p $$(@D)
	@echo "$(3)"
	@$(EMCC) $(LINK) $(FLAGS_$(1)) $(LINK_$(2)) $$(filter %.o,$$^) -o $$@
endef
$(foreach isa,wasm128 wasmrelaxed,$(eval $(call module_rules,$(isa),single,pyedge-$(isa))))
$(foreach isa,wasm128 wasmrelaxed,$(eval $(call module_rules,$(isa),threads,pyedge-$(isa)-threads)))

# tests/c/check_kernels.c for Node: the kernels of both instruction sets as the modules have them, and plain C to hold
# them to.
CHECK := $(WORK)/check
$(CHECK)/scalar.o: csrc/kernels/isa.c wasm/module.mk
	@mkdir -p $(@D)
	@$(EMCC) $(CFLAGS) -O2 -DPE_ISA=scalar '-DPE_ISA_HEADER="kernels/simd/scalar.h"' -c $< -o $@
$(CHECK)/%.o: csrc/%.c wasm/module.mk
	@mkdir -p $(@D)
	@$(EMCC) $(CFLAGS) $(SMALL) $(FLAGS_wasmrelaxed) -DPE_ALL_ROWS -c $< -o $@
$(CHECK)/check_kernels.o: tests/c/check_kernels.c wasm/module.mk
	@mkdir -p $(@D)
	@$(EMCC) $(CFLAGS) -O2 -c $< -o $@
$(CHECK)/check_kernels.js: $(CHECK)/check_kernels.o $(CHECK)/scalar.o $(patsubst csrc/%.c,$(CHECK)/%.o,$(BY_ISA)) \
  $(WORK)/wasm128-single/kernels/isa.o $(WORK)/wasmrelaxed-single/kernels/isa.o \
  $(patsubst csrc/%.c,$(WORK)/single/%.o,$(filter csrc/base/% csrc/quant/% csrc/kernels/%,$(COMMON)))
	@$(EMCC) -O1 -sALLOW_MEMORY_GROWTH=1 -sSTACK_SIZE=1MB -sENVIRONMENT=node -sEXIT_RUNTIME=1 $(FLAGS_wasmrelaxed) $^ -o $@
.PHONY: check
check: $(CHECK)/check_kernels.js

-include $(shell find $(WORK) -name '*.d' 2>/dev/null)
