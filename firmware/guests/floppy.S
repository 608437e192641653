// A boot floppy of 1.44 MB (its first four sectors) that works on itself by INT 13h, without an end: formats a track and looks
// at it, then writes and reads the cylinders 1 to 20, pass after pass, with other words each time. Says so on debug port 0xE9;
// with a key typed it ends after its pass, with status 0. What it cannot do or does not find ends it with status 1.
//
// Word i of a track is pass * 256 + cylinder * 2 + head + i * 3.

    .set    sectors, 18
    .set    words, sectors * 256
    .set    buffer, 0x1000              // segments: what is written, and what is read, each within 64 KiB
    .set    copy, 0x1400

    .section .text, "ax"
    .code16
    .global _start
_start:
    cli
    xorw    %ax, %ax
    movw    %ax, %ds
    movw    %ax, %es
    movw    %ax, %ss
    movw    $0x7c00, %sp
    sti
    cld
    movb    %dl, drive
    movw    $0x0203, %ax                // the rest of the program
    movw    $0x7e00, %bx
    movw    $0x0002, %cx
    xorb    %dh, %dh
    int     $0x13
    jc      failed
    ljmp    $0, $work

// Says "fail" with the BIOS's status and ends.
failed:
    movb    %ah, %bl
    movw    $fail, %si
    callw   say
    movb    %bl, %al
    callw   line
    movb    $1, %al
    outb    %al, $0xf4
1:  hlt
    jmp     1b

// Writes the text at DS:SI.
say:
1:  lodsb
    testb   %al, %al
    jz      2f
    outb    %al, $0xe9
    jmp     1b
2:  retw

// Writes AL as two digits, and the end of a line.
line:
    movb    %al, %ah
    shrb    $4, %al
    callw   digit
    movb    %ah, %al
    andb    $15, %al
    callw   digit
    movb    $10, %al
    outb    %al, $0xe9
    retw
digit:
    addb    $'0', %al
    cmpb    $'9', %al
    jbe     1f
    addb    $('a' - '9' - 1), %al
1:  outb    %al, $0xe9
    retw

drive: .byte 0
pass:  .byte 0
fail:  .asciz "fail "
formatted: .asciz "formatted "
passed: .asciz "pass "
done:  .asciz "done "

    .org    510
    .word   0xaa55

work:
    // The address marks of cylinder 79, head 1.
    movw    $marks, %di
    movb    $1, %cl
1:  movw    $(1 << 8 | 79), %ax
    stosw
    movb    %cl, %al
    movb    $2, %ah
    stosw
    incb    %cl
    cmpb    $sectors, %cl
    jbe     1b
    movw    $(5 << 8 | sectors), %ax
    movw    $marks, %bx
    movw    $(79 << 8 | 1), %cx
    movb    $1, %dh
    movb    drive, %dl
    int     $0x13
    jc      failed
    movw    $(2 << 8 | sectors), %ax
    movw    $(79 << 8 | 1), %cx
    movw    $copy, %si
    callw   bios
    xorw    %di, %di
    movw    $words, %cx
    movw    $0xf6f6, %ax
    repe scasw
    jne     different
    pushw   %ds
    popw    %es
    movw    $formatted, %si
    callw   say
    movb    $79, %al
    callw   line

again:
    incb    pass
    movw    $(1 << 8), %bp              // cylinder, head
track:
    movw    $buffer, %ax
    movw    %ax, %es
    callw   seed
    xorw    %di, %di
    movw    $words, %cx
1:  stosw
    addw    $3, %ax
    loop    1b
    movw    $(3 << 8 | sectors), %ax
    movw    $buffer, %si
    callw   place
    callw   bios
    movw    $(2 << 8 | sectors), %ax
    movw    $copy, %si
    callw   place
    callw   bios
    callw   seed
    xorw    %di, %di
    movw    $words, %cx
1:  scasw
    jne     different
    addw    $3, %ax
    loop    1b
    xorw    $1, %bp
    testw   $1, %bp
    jnz     track
    addw    $(1 << 8), %bp
    cmpw    $(20 << 8), %bp
    jbe     track

    movw    $passed, %si
    callw   say
    movb    pass, %al
    callw   line
    movb    $1, %ah
    int     $0x16
    jz      again
    movw    $done, %si
    callw   say
    movb    pass, %al
    callw   line
    xorb    %al, %al
    outb    %al, $0xf4
1:  hlt
    jmp     1b

different:
    movb    $0xee, %ah
    pushw   $0
    popw    %ds
    jmp     failed

// The first word of the track at BP.
seed:
    movw    %bp, %ax
    shrw    $8, %ax
    shlb    $1, %al
    movw    %bp, %bx
    orb     %bl, %al
    movb    pass, %ah
    retw

// CX and DH for the track at BP.
place:
    movw    %bp, %cx
    movb    %cl, %dh
    movb    $1, %cl
    retw

// INT 13h with the buffer at SI:0, which ES is then.
bios:
    movw    %si, %es
    xorw    %bx, %bx
    movb    drive, %dl
    int     $0x13
    jc      1f
    retw
1:  jmp     failed

    .org    2048
marks:
