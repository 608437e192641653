// A multiboot kernel below 1 MiB, where small teaching kernels lie: says that it runs, and what is in the zeros behind its
// file, on COM1 and debug port 0xE9, and ends with status 0. Linked at 8000h (low.elf), and at 100000h with the file's
// headers in the first segment, as a linker without a script has it (high.elf): that segment begins below 1 MiB.

    .section .text, "ax"
    .code32
    .balign 4
multiboot:
    .long   0x1badb002
    .long   0
    .long   -0x1badb002
    .global _start
_start:
    cmpl    $0x2badb002, %eax
    jne     4f
    cmpl    $0, zeros
    jne     4f
    movl    $greeting, %esi
1:  lodsb
    testb   %al, %al
    jz      3f
    outb    %al, $0xe9
    movb    %al, %bl
    movw    $0x3fd, %dx
2:  inb     %dx, %al
    testb   $0x20, %al
    jz      2b
    movb    %bl, %al
    movw    $0x3f8, %dx
    outb    %al, %dx
    jmp     1b
3:  xorl    %eax, %eax
    outb    %al, $0xf4
4:  hlt
    jmp     4b

    .data
greeting:
    .asciz  "hello from where the kernel belongs\n"
    .bss
    .skip   0x80000                     // covers the loader itself
zeros:
    .long   0
