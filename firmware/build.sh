#!/usr/bin/env bash
# Assembles everything under firmware/ with the Swift toolchain's clang and ld.lld.
#
#   firmware/build.sh            writes the binaries kept beside the sources
#   firmware/build.sh --check    builds elsewhere and says whether the kept binaries are up to date
set -euo pipefail
cd "$(dirname "$0")"

toolchain=$(dirname "$(readlink -f "$(command -v swift || echo /usr/bin/clang)")")
tool() {
  if [ -x "$toolchain/$1" ]; then echo "$toolchain/$1"; else command -v "$1"; fi || {
    echo "firmware/build.sh: $1 not found; it comes with the Swift toolchain" >&2
    exit 1
  }
}
clang=$(tool clang)
linker=$(tool ld.lld)
objcopy=$(tool llvm-objcopy)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

common=(-ffreestanding -fno-stack-protector -fno-asynchronous-unwind-tables -fno-pic -fno-builtin -mno-red-zone
  -Wall -Wextra -Werror -Wno-unused-command-line-argument -nostdlibinc -fno-ident)
flags32=(--target=i386-none-elf -march=i686 -mno-sse -mno-mmx "${common[@]}")
flags64=(--target=x86_64-none-elf -mcmodel=small -mno-sse -mno-mmx "${common[@]}")

compile32() { "$clang" "${flags32[@]}" "${@:3}" -c "$1" -o "$2"; }
compile64() { "$clang" "${flags64[@]}" "${@:3}" -c "$1" -o "$2"; }

byte_sum() { od -An -v -tu1 "$1" | awk '{ for (i = 1; i <= NF; i++) s += $i } END { print s % 256 }'; }
# write_byte FILE OFFSET VALUE
write_byte() { printf "\\x$(printf %02x "$3")" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none; }

build_boot_rom() {
  local out=$work/out/boot/vmctl-boot.bin
  compile32 boot/rom.S "$work/rom.o"
  compile32 boot/stage2.S "$work/stage2.o"
  compile32 boot/loader.c "$work/loader.o" -Oz -mregparm=3
  "$linker" -m elf_i386 -T boot/boot.ld -o "$work/boot.elf" "$work/rom.o" "$work/stage2.o" "$work/loader.o"
  "$objcopy" -O binary "$work/boot.elf" "$out"
  truncate -s $((($(stat -c %s "$out") + 512) / 512 * 512)) "$out"
  # The PnP header's 32 bytes at 0x20 and the whole image each sum up to 0 modulo 256.
  dd if="$out" of="$work/pnp" bs=1 skip=32 count=32 status=none
  write_byte "$out" 41 $(((256 - $(byte_sum "$work/pnp")) % 256))
  local last=$(($(stat -c %s "$out") - 1))
  write_byte "$out" "$last" $(((256 - $(byte_sum "$out")) % 256))
}

mkdir -p "$work/out/boot" "$work/out/guests" "$work/out/workload"
build_boot_rom
if [ -f guests/build.sh ]; then . guests/build.sh; fi
if [ -f workload/build.sh ]; then . workload/build.sh; fi

if [ "${1:-}" = --check ]; then
  status=0
  while read -r file; do
    cmp -s "$work/out/$file" "$file" || { echo "firmware/$file is out of date: run firmware/build.sh" >&2; status=1; }
  done < <(cd "$work/out" && find . -type f -printf '%P\n' | sort)
  exit $status
fi
cp -r "$work/out/." .
