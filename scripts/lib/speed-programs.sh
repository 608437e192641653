# Sourced by scripts/benchmark-speed.

# build_speed_programs FOLDER: compiles Benchmarks/speed with the Swift toolchain's clang and linker, static and without a C
# library: FOLDER/speed64 for 64-bit code and FOLDER/speed32 for 32-bit code.
build_speed_programs() {
  local out=$1 sources toolchain clang linker width file objects target flags
  sources=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../Benchmarks/speed" && pwd)
  toolchain=$(dirname "$(readlink -f "$(command -v swift || echo /usr/bin/clang)")")
  clang=$toolchain/clang linker=$toolchain/ld.lld
  [ -x "$clang" ] || clang=clang
  [ -x "$linker" ] || linker=ld.lld
  mkdir -p "$out"
  for width in 64 32; do
    # The level of the machine's default CPU; loops stay as they are written, vector code is written as such.
    target=(--target=x86_64-linux-gnu -march=x86-64-v2 -mcmodel=small)
    [ "$width" = 64 ] || target=(--target=i386-linux-gnu -march=i686 -msse4.2 -mpopcnt -mfpmath=sse)
    objects=()
    for file in "$sources"/*.c; do
      flags=()
      [ "$width-${file##*/}" != 32-x87.c ] || flags=(-mno-sse -mfpmath=387)
      "$clang" "${target[@]}" "${flags[@]}" -std=gnu17 -O2 -fno-vectorize -fno-slp-vectorize -fno-math-errno \
        -ffp-contract=off -ffreestanding -fno-stack-protector -fno-asynchronous-unwind-tables -fno-pic -nostdlibinc \
        -Wall -Wextra -Werror -c "$file" -o "$out/$width-${file##*/}.o"
      objects+=("$out/$width-${file##*/}.o")
    done
    "$linker" -m "$([ "$width" = 64 ] && echo elf_x86_64 || echo elf_i386)" -static -s -e _start -o "$out/speed$width" "${objects[@]}"
    rm "${objects[@]}"
  done
}
