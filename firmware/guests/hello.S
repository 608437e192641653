// The smallest guest: a 64 KiB BIOS image that stays in real mode, greets on COM1 and debug port 0xE9 and ends with status 0.

    .section .rom, "ax"
    .code16
image:
    .org    0xf000
start:
    cli
    cld
    movw    $0xf000, %ax
    movw    %ax, %ds
    movw    $(greeting - image), %si
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
3:  xorb    %al, %al
    outb    %al, $0xf4
4:  hlt
    jmp     4b
greeting:
    .asciz  "hello from real mode\n"
    .org    0xfff0
    ljmp    $0xf000, $(start - image)
    .org    0xffff
    .byte   0
