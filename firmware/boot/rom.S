// The option ROM's outside: headers SeaBIOS looks at, and the entry it boots.
//
// SeaBIOS finds the image as fw_cfg file genroms/vmctl-boot.bin, copies it below 1 MiB, calls offset 3 once, and lists the
// Bootstrap Entry Vector of the PnP header as a boot device. The vector copies the loader proper (stage2.S, loader.c) to
// RAM at 0x80000, where it can have variables, and goes on there.
//
// Plug and Play BIOS Specification 1.0A, 3.2; BIOS Boot Specification 1.01, 3.3.

    .section .rom, "ax"
    .code16
    .byte   0x55, 0xaa
    .byte   rom_blocks                  // size in units of 512 bytes
    xorw    %ax, %ax                    // offset 3: initialisation, nothing to do; AX 0: nothing attached
    lret

    .org    0x18
    .word   0                           // no PCI data structure
    .word   pnp

    .org    0x20
pnp:
    .ascii  "$PnP"
    .byte   1                           // revision
    .byte   2                           // length in units of 16 bytes
    .word   0                           // no further header
    .byte   0
    .byte   0                           // checksum, filled in by build.sh
    .long   0                           // device identifier
    .word   manufacturer
    .word   product
    .byte   0x02, 0x00, 0x00            // device type: network class is the one BIOSes boot by a vector
    .byte   0x14                        // indicators: initial program load device, shadowable
    .word   0                           // no boot connection vector
    .word   0                           // no disconnect vector
    .word   boot                        // bootstrap entry vector
    .word   0
    .word   0                           // no static resources

manufacturer:
    .asciz  "vmctl"
product:
    .asciz  "vmctl direct kernel boot"

boot:
    cli
    cld
    movw    $0x6000, %ax
    movw    %ax, %ss
    movl    $0xfff0, %esp               // linear 0x6fff0
    movw    $0x8000, %ax
    movw    %ax, %es
    movw    %cs, %ax
    movw    %ax, %ds
    movw    $stage2_rom, %si
    xorw    %di, %di
    movw    $stage2_size, %cx
    rep movsb
    xorw    %ax, %ax
    movw    $stage2_bss_size, %cx
    rep stosb
    ljmp    $0x8000, $0
