# Part of firmware/build.sh: the programs that run inside the Linux guests, static, without a C library.

for program in memcheck compute; do
  compile32 "workload/$program.c" "$work/$program.32.o" -O2 -Iinclude
  compile64 "workload/$program.c" "$work/$program.64.o" -O2 -Iinclude
  "$linker" -m elf_i386 -static -s -e _start -o "$work/out/workload/$program-i386" "$work/$program.32.o"
  "$linker" -m elf_x86_64 -static -s -e _start -o "$work/out/workload/$program-amd64" "$work/$program.64.o"
done
