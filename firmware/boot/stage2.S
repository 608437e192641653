// The loader's 16-bit half, running from RAM at 0x8000:0000.
//
// It asks the BIOS for the memory map, calls load() of loader.c in flat 32-bit protected mode, and then starts what load()
// put into memory: Linux in real mode, a multiboot kernel in protected mode, or, with nothing to start, says why and lets
// the BIOS try its next boot device.

    .set    MAP_ENTRIES, 64
    .set    SMAP, 0x534d4150

    .section .stage2, "ax"
    .code16
stage2:
    movw    %cs, %ax
    movw    %ax, %ds
    movw    %ax, %es
    sti

    int     $0x12
    movw    %ax, lower_kib - stage2

    // INT 15h AX=E820h, kept as the multiboot memory map wants it: a size word (20), then base, length and type.
    xorl    %ebx, %ebx
    movw    $(memory_map - stage2), %di
1:  movl    $20, (%di)
    addw    $4, %di
    movl    $0xe820, %eax
    movl    $20, %ecx
    movl    $SMAP, %edx
    int     $0x15
    jc      2f
    cmpl    $SMAP, %eax
    jne     2f
    addw    $20, %di
    incw    map_count - stage2
    cmpw    $MAP_ENTRIES, map_count - stage2
    je      2f
    testl   %ebx, %ebx
    jnz     1b
2:
    movw    $0x2401, %ax                // A20 on: by the BIOS, and by port 92h for one that does not know the call
    int     $0x15
    inb     $0x92, %al
    testb   $2, %al
    jnz     3f
    orb     $2, %al
    andb    $0xfe, %al                  // bit 0 would reset the machine
    outb    %al, $0x92
3:
    cli
    lgdtl   gdt_pointer - stage2
    movl    %cr0, %eax
    orb     $1, %al
    movl    %eax, %cr0
    ljmpl   $0x08, $protected

    .code32
protected:
    movw    $0x10, %ax
    movw    %ax, %ds
    movw    %ax, %es
    movw    %ax, %fs
    movw    %ax, %gs
    movw    %ax, %ss
    movl    $0x6fff0, %esp
    call    load
    cmpl    $1, %eax
    je      start_multiboot
    ljmpl   $0x18, $(to_real - stage2)

// Multiboot Specification 0.6.96, 3.2: machine state.
start_multiboot:
    movl    multiboot_info_address, %ebx
    movl    multiboot_entry, %edx
    movl    multiboot_pieces, %ebp
    jmp     *multiboot_jump_address

// Runs from a copy above 1 MiB, without a stack: the pieces that it puts below 1 MiB may cover all that was there.
    .global multiboot_jump, multiboot_jump_end
multiboot_jump:
    cld
1:  movl    0(%ebp), %esi
    movl    4(%ebp), %edi
    movl    8(%ebp), %ecx
    movl    %ecx, %eax
    orl     12(%ebp), %eax
    jz      2f
    rep movsb
    movl    12(%ebp), %ecx
    xorl    %eax, %eax
    rep stosb
    addl    $16, %ebp
    jmp     1b
2:  xorl    %esi, %esi
    xorl    %edi, %edi
    movl    $0x2badb002, %eax
    jmp     *%edx
multiboot_jump_end:

    .code16
to_real:
    movw    $0x20, %dx
    movw    %dx, %ds
    movw    %dx, %es
    movw    %dx, %fs
    movw    %dx, %gs
    movw    %dx, %ss
    movl    %cr0, %edx
    andb    $0xfe, %dl
    movl    %edx, %cr0
    ljmp    $0x8000, $(real - stage2)
real:
    testl   %eax, %eax
    jnz     nothing_to_start

// The Linux/x86 Boot Protocol, "Running the Kernel": real mode, interrupts off, all data segments at the setup code.
    movw    $0x1000, %ax
    movw    %ax, %ds
    movw    %ax, %es
    movw    %ax, %fs
    movw    %ax, %gs
    movw    %ax, %ss
    movl    $0xe000, %esp
    ljmp    $0x1020, $0

nothing_to_start:
    movw    $0x6000, %ax
    movw    %ax, %ss
    movl    $0xfff0, %esp
    movw    %cs, %ax
    movw    %ax, %ds
    movw    %ax, %es
    sti
    movw    $(prefix - stage2), %si
    call    print
    movl    message - stage2, %eax      // linear, inside this segment
    movw    %ax, %si
    call    print
    movw    $(suffix - stage2), %si
    call    print
    int     $0x18

// Prints the string at DS:SI on the screen, COM1 and the debug port.
print:
    lodsb
    testb   %al, %al
    jz      2f
    outb    %al, $0xe9
    movb    %al, %cl
    movb    $0x0e, %ah
    movw    $7, %bx
    int     $0x10
    movb    %cl, %al
    movw    $0x100, %cx                 // a missing or stuck port must not hang the boot
    movw    $0x3fd, %dx
    movb    %al, %bl
1:  inb     %dx, %al
    testb   $0x20, %al
    loopz   1b
    movb    %bl, %al
    movw    $0x3f8, %dx
    outb    %al, %dx
    jmp     print
2:  ret

prefix:
    .asciz  "vmctl boot: "
suffix:
    .asciz  "\r\n"

    .balign 8
gdt:
    .quad   0
    .quad   0x00cf9b000000ffff          // 08: flat 32-bit code
    .quad   0x00cf93000000ffff          // 10: flat 32-bit data
    .quad   0x00009b080000ffff          // 18: 16-bit code at 0x80000
    .quad   0x000093000000ffff          // 20: 16-bit data at 0
gdt_pointer:
    .word   . - gdt - 1
    .long   gdt

    .balign 4
    .global memory_map, map_count, lower_kib, message, multiboot_entry, multiboot_info_address
    .global multiboot_pieces, multiboot_jump_address
map_count:
    .long   0
lower_kib:
    .long   0
message:
    .long   0
multiboot_entry:
    .long   0
multiboot_info_address:
    .long   0
multiboot_pieces:
    .long   0
multiboot_jump_address:
    .long   0
    .set    memory_map, stage2 + 0x8000 // 64 entries of 24 bytes, past the image and its variables (see boot.ld)
