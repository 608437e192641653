// A guest in a 64 KiB ROM, to be mapped at the top of 4 GiB in place of a BIOS: the guest's image and, at the reset vector,
// the few steps to 32-bit protected mode that it needs. PAYLOAD and ENTRY come from the command line.

    .section .rom, "ax"
    .code16
payload:
    .incbin PAYLOAD
payload_end:
    .org    0xff00
start:
    cli
    inb     $0x92, %al                  // A20
    orb     $2, %al
    andb    $0xfe, %al
    outb    %al, $0x92
    lgdtl   %cs:(gdt_pointer - payload)
    movl    %cr0, %eax
    orb     $1, %al
    movl    %eax, %cr0
    ljmpl   $0x08, $(0xffff0000 + (flat - payload))
    .code32
flat:
    movw    $0x10, %ax
    movw    %ax, %ds
    movw    %ax, %es
    movw    %ax, %ss
    movl    $0xffff0000, %esi
    movl    $0x100000, %edi
    movl    $(payload_end - payload), %ecx
    cld
    rep movsb
    xorl    %eax, %eax
    xorl    %ebx, %ebx
    movl    $ENTRY, %ecx
    jmp     *%ecx
    .balign 8
gdt:
    .quad   0
    .quad   0x00cf9b000000ffff
    .quad   0x00cf93000000ffff
gdt_pointer:
    .word   . - gdt - 1
    .long   0xffff0000 + (gdt - payload)
    .org    0xfff0
    .code16
    jmp     start
    .org    0xffff
    .byte   0
