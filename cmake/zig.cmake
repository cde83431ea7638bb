# Cross compilation for Linux with one compiler for all targets: clang and the C libraries of the PyPI package `ziglang`.
#   cmake -DCMAKE_TOOLCHAIN_FILE=cmake/zig.cmake -DPYEDGE_ZIG=/path/to/zig -DPYEDGE_TARGET=aarch64-linux-gnu.2.17 ...
# PYEDGE_TARGET is zig's: processor-linux-musl..., or -gnu... with the oldest glibc that is to load the result.
set(CMAKE_TRY_COMPILE_PLATFORM_VARIABLES PYEDGE_ZIG PYEDGE_TARGET)
set(CMAKE_SYSTEM_NAME Linux)
string(REGEX MATCH "^[^-]+" CMAKE_SYSTEM_PROCESSOR "${PYEDGE_TARGET}")
set(PYEDGE_ZIG_FLAGS -target;${PYEDGE_TARGET})
if(CMAKE_SYSTEM_PROCESSOR STREQUAL "arm")
  # ARMv7 with VFP and without NEON: code for NEON is in its own row, behind a check.
  list(APPEND PYEDGE_ZIG_FLAGS -mcpu=generic+v7a+vfp3d16-neon)
endif()
set(CMAKE_C_COMPILER ${PYEDGE_ZIG};cc;${PYEDGE_ZIG_FLAGS})
set(CMAKE_CXX_COMPILER ${PYEDGE_ZIG};c++;${PYEDGE_ZIG_FLAGS})
set(CMAKE_C_FLAGS_INIT "-fno-sanitize=undefined") # zig's own default where nothing is optimised
set(CMAKE_CXX_FLAGS_INIT "-fno-sanitize=undefined")
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(PYEDGE_LIBM "m" CACHE STRING "")

# zig takes -mcpu for the features of a whole compilation and passes them all on, so that -march and -mfpu of a single
# source come too late. What they ask for is named feature by feature instead.
function(pyedge_translate_flags variable)
  set(out)
  foreach(flag IN LISTS ${variable})
    if(flag MATCHES "^-mfpu=(neon[^ ]*)$")
      set(features neon)
      if(flag MATCHES "vfpv4")
        # None of them brings the others along; without the first, vectors are multiplied and added by calls of fmaf.
        list(APPEND features vfp4d16sp vfp4sp vfp4d16 vfp4 fp16)
      endif()
    elseif(flag MATCHES "^-march=armv[0-9.]+-a\\+(.*)$")
      string(REPLACE "+" ";" features "${CMAKE_MATCH_1}")
    else()
      list(APPEND out ${flag})
      continue()
    endif()
    foreach(feature IN LISTS features)
      list(APPEND out "SHELL:-Xclang -target-feature -Xclang +${feature}")
    endforeach()
  endforeach()
  set(${variable} "${out}" PARENT_SCOPE)
endfunction()
