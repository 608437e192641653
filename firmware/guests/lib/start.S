// Entry of the bare-metal guests: multiboot header, descriptor tables, interrupt stubs, for 32 and 64 bit.
//
// A multiboot loader enters at `entry` with EAX 2BADB002h; rom.S, which carries the same image in a BIOS-sized ROM, with EAX 0.
// Both come in flat 32-bit protected mode without paging.

    .section .multiboot, "a"
    .balign 4
multiboot:
    .long   0x1badb002
    .long   3                           // page-aligned modules, memory information
    .long   -(0x1badb002 + 3)

    .text
    .code32
    .global entry
entry:
    cli
    cld
    movl    $stack_top, %esp
    movl    %eax, %esi
    movl    %ebx, %edx
    movl    $bss_start, %edi
    movl    $bss_end, %ecx
    subl    %edi, %ecx
    xorl    %eax, %eax
    rep stosb
    movl    %esi, boot_magic
    movl    %edx, boot_info
    lgdt    gdt_pointer
    xorl    %eax, %eax
    lldt    %ax                         // a reset leaves the LDT's limit at FFFFh

#ifdef __x86_64__
    // Identity mapping of the first 4 GiB with 2 MiB pages.
    movl    $(page_directory_pointers + 7), page_map
    movl    $page_directories, %edi
    movl    $0x87, %eax
1:  movl    %eax, (%edi)
    addl    $0x200000, %eax
    addl    $8, %edi
    cmpl    $(page_directories + 4 * 4096), %edi
    jne     1b
    movl    $page_directory_pointers, %edi
    movl    $(page_directories + 7), %eax
2:  movl    %eax, (%edi)
    addl    $4096, %eax
    addl    $8, %edi
    cmpl    $(page_directory_pointers + 32), %edi
    jne     2b
    movl    $0x20, %eax                 // CR4.PAE
    movl    %eax, %cr4
    movl    $page_map, %eax
    movl    %eax, %cr3
    movl    $0xc0000080, %ecx           // EFER: LME
    rdmsr
    orl     $0x100, %eax
    wrmsr
    movl    %cr0, %eax
    orl     $0x80000001, %eax
    movl    %eax, %cr0
    ljmpl   $0x08, $long_mode
    .code64
long_mode:
    movw    $0x10, %ax
    movw    %ax, %ds
    movw    %ax, %es
    movw    %ax, %fs
    movw    %ax, %gs
    movw    %ax, %ss
    movq    $stack_top, %rsp
    movl    $tss, %eax                  // the TSS descriptor's base
    movw    %ax, gdt + 0x28 + 2
    shrl    $16, %eax
    movb    %al, gdt + 0x28 + 4
    movb    %ah, gdt + 0x28 + 7
    movq    $stack_top, tss + 4         // RSP0
    movw    $0x28, %ax
    ltr     %ax
    call    guest_start
#else
    ljmpl   $0x08, $flat
flat:
    movw    $0x10, %ax
    movw    %ax, %ds
    movw    %ax, %es
    movw    %ax, %fs
    movw    %ax, %gs
    movw    %ax, %ss
    movl    $tss, %eax
    movw    %ax, gdt + 0x28 + 2
    shrl    $16, %eax
    movb    %al, gdt + 0x28 + 4
    movb    %ah, gdt + 0x28 + 7
    movl    $stack_top, tss + 4         // ESP0, SS0
    movl    $0x10, tss + 8
    movl    $104, tss + 100             // no I/O permission map
    shll    $16, tss + 100
    movw    $0x28, %ax
    ltr     %ax
    call    guest_start
#endif
3:  hlt
    jmp     3b

// One stub a vector: pushes an error code where the CPU does not, and the vector.
    .altmacro
    .macro stub vector
    .balign 16
#ifdef __x86_64__
    .if !((\vector == 8) | ((\vector >= 10) & (\vector <= 14)) | (\vector == 17) | (\vector == 21))
    pushq   $0
    .endif
    pushq   $\vector
#else
    .if !((\vector == 8) | ((\vector >= 10) & (\vector <= 14)) | (\vector == 17) | (\vector == 21))
    pushl   $0
    .endif
    pushl   $\vector
#endif
    jmp     common_stub
    .endm

    .balign 16
    .global interrupt_stubs
interrupt_stubs:
    .set    n, 0
    .rept   256
    stub    %n
    .set    n, n + 1
    .endr

common_stub:
#ifdef __x86_64__
    pushq   %rax
    pushq   %rcx
    pushq   %rdx
    pushq   %rbx
    pushq   %rbp
    pushq   %rsi
    pushq   %rdi
    pushq   %r8
    pushq   %r9
    pushq   %r10
    pushq   %r11
    pushq   %r12
    pushq   %r13
    pushq   %r14
    pushq   %r15
    cld
    movq    %rsp, %rdi
    movq    %rsp, %rbx
    andq    $-16, %rsp
    call    guest_interrupt
    movq    %rbx, %rsp
    popq    %r15
    popq    %r14
    popq    %r13
    popq    %r12
    popq    %r11
    popq    %r10
    popq    %r9
    popq    %r8
    popq    %rdi
    popq    %rsi
    popq    %rbp
    popq    %rbx
    popq    %rdx
    popq    %rcx
    popq    %rax
    addq    $16, %rsp
    iretq
#else
    pushl   %eax
    pushl   %ecx
    pushl   %edx
    pushl   %ebx
    pushl   %ebp
    pushl   %esi
    pushl   %edi
    movw    %ds, %ax
    pushl   %eax
    movw    $0x10, %ax
    movw    %ax, %ds
    movw    %ax, %es
    cld
    movl    %esp, %eax
    pushl   %eax
    call    guest_interrupt
    addl    $4, %esp
    popl    %eax
    movw    %ax, %ds
    movw    %ax, %es
    popl    %edi
    popl    %esi
    popl    %ebp
    popl    %ebx
    popl    %edx
    popl    %ecx
    popl    %eax
    addl    $8, %esp
    iretl
#endif

    .data
    .balign 16
    .global gdt
gdt:
    .quad   0
#ifdef __x86_64__
    .quad   0x00af9b000000ffff          // 08: 64-bit code
#else
    .quad   0x00cf9b000000ffff          // 08: 32-bit code
#endif
    .quad   0x00cf93000000ffff          // 10: data
#ifdef __x86_64__
    .quad   0x00cff3000000ffff          // 18: user data (SYSRET wants data, then code)
    .quad   0x00affb000000ffff          // 20: user 64-bit code
#else
    .quad   0x00cffb000000ffff          // 18: user code
    .quad   0x00cff3000000ffff          // 20: user data
#endif
    .quad   0x0000890000000067          // 28: TSS
    .quad   0
    .quad   0                           // 38 and on: for the guests' own use
    .quad   0
    .quad   0
    .quad   0
gdt_pointer:
    .word   . - gdt - 1
    .long   gdt
    .long   0

    .global boot_magic, boot_info
    .balign 4
boot_magic:
    .long   0
boot_info:
    .long   0

    .bss
    .balign 4096
#ifdef __x86_64__
    .global page_map, page_directory_pointers, page_directories
page_map:
    .skip   4096
page_directory_pointers:
    .skip   4096
page_directories:
    .skip   4 * 4096
#endif
    .global tss
tss:
    .skip   256
    .balign 16
    .skip   16384
    .global stack_top
stack_top:
