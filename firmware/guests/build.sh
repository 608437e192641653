# Part of firmware/build.sh: every guest, as NAME.elf (multiboot) and NAME.rom (64 KiB, in place of a BIOS).

rom_image() {
  "$linker" -m elf_i386 -T guests/lib/rom.ld -e 0 -o "$work/rom.elf" "$1"
  "$objcopy" -O binary "$work/rom.elf" "$2"
}

# build_guest NAME BITS SOURCES...
build_guest() {
  local name=$1 bits=$2 source objects=() entry
  shift 2
  for source in guests/lib/start.S guests/lib/guest.c guests/lib/ide.c guests/lib/net.c "$@"; do
    "compile$bits" "$source" "$work/$name.$(basename "$source").o" -Os -ffunction-sections -fdata-sections -Iinclude -Iguests/lib "-DBITS=$bits"
    objects+=("$work/$name.$(basename "$source").o")
  done
  case $bits in
    32) "$linker" -m elf_i386 -T guests/lib/guest.ld --gc-sections -z noexecstack -o "$work/$name.linked" "${objects[@]}" ;;
    64) "$linker" -m elf_x86_64 -T guests/lib/guest.ld --gc-sections -z noexecstack -o "$work/$name.linked" "${objects[@]}" ;;
  esac
  # A 64-bit guest is entered in 32-bit mode, so its file is a 32-bit ELF too, as multiboot demands.
  "$objcopy" -S -O elf32-i386 "$work/$name.linked" "$work/out/guests/$name.elf"
  "$objcopy" -O binary "$work/$name.linked" "$work/$name.flat"
  entry=$(od -An -tu4 -j 24 -N 4 "$work/out/guests/$name.elf" | tr -d ' ')
  compile32 guests/lib/rom.S "$work/$name.rom.o" "-DPAYLOAD=\"$work/$name.flat\"" "-DENTRY=$entry"
  rom_image "$work/$name.rom.o" "$work/out/guests/$name.rom"
}

compile32 guests/hello.S "$work/hello.o"
rom_image "$work/hello.o" "$work/out/guests/hello.rom"

for guest in guests/*.c; do
  guest=$(basename "$guest" .c)
  # The first comment line of a guest says for which modes it is built.
  for bits in $(sed -n '1s/^.*(\([0-9 ]*\) bit).*$/\1/p' "guests/$guest.c"); do
    build_guest "$guest$bits" "$bits" "guests/$guest.c"
  done
done

# Multiboot kernels of other shapes, for the boot ROM alone.
compile32 guests/low.S "$work/low.o"
"$linker" -m elf_i386 -z noexecstack --image-base=0x7000 -Ttext=0x8000 -Tdata=0x9000 -Tbss=0xa000 -s -o "$work/out/guests/low.elf" "$work/low.o"
"$linker" -m elf_i386 -z noexecstack --image-base=0xff000 -Ttext=0x100000 -s -o "$work/out/guests/high.elf" "$work/low.o"

# A boot floppy's first sectors.
compile32 guests/floppy.S "$work/floppy.o"
"$linker" -m elf_i386 -z noexecstack --image-base=0x7000 -Ttext=0x7c00 -s -o "$work/floppy.linked" "$work/floppy.o"
"$objcopy" -O binary -j .text "$work/floppy.linked" "$work/out/guests/floppy.bin"
