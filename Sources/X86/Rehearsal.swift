import CHost
import GuestMemory

/// What a process does for the first time takes long: the instruction table is built, pages of its own code come in. A CPU
/// that is to go on where another stopped has its guest waiting for that, unless it was done before.
public enum Rehearsal {
  /// Runs a small program of a bit of everything in a CPU of its own, which is thrown away. Some tens of milliseconds the
  /// first time; safe on any thread.
  /// - Returns: how the program ended, `halted`; nil when it could not begin.
  @discardableResult
  public static func run(profile: CPUProfile, accelerator: Accelerator) -> RunExit? {
    guard let memory = try? PhysicalMemory(size: 2 << 20) else { return nil }
    let cpu = CPU(index: 0, profile: profile, memory: memory, environment: CPUEnvironment())
    cpu.accelerator = accelerator
    cpu.codeMemory = 4 << 20
    memory.ram.advanced(by: Int(start)).copyMemory(from: program, byteCount: program.count)
    do throws(GuestFault) {
      try cpu.enterFlatMode(memory)
      cpu.s.pointee.rip = start
      cpu.slots[Reg.rsp] = start
      return cpu.run(budget: 1 << 20)
    } catch {
      return nil
    }
  }

  fileprivate static let start: UInt64 = 0x1000

  /// Some 400 turns of arithmetic, memory, a call, a locked operation, bits, SSE; then MOVS, STOS and HLT:
  ///
  ///       mov ecx, 400
  ///     1: push rcx; mov [7000h], rcx; add rax, [7000h]; lea rdx, [rax + rcx * 2 + 8]; imul rdx, rcx; shl rdx, 3
  ///       sar rdx, cl; xor ebx, edx; movzx esi, bl; cmp rdx, rbx; cmovb rdi, rax; jb 2f; sub rax, 1
  ///     2: call 3f; lock xadd [6000h], eax; bt rax, 5; adc rax, 0; movd xmm0, eax; cvtsi2sd xmm1, ecx; mulsd xmm1, xmm1
  ///       paddd xmm0, xmm1; movdqu [6100h], xmm0; pop rcx; dec ecx; jnz 1b
  ///       mov edi, 8000h; mov esi, 7000h; mov ecx, 256; rep movsb; xor eax, eax; mov ecx, 64; rep stosq; hlt
  ///     3: test eax, eax; setz r8b; mov r9, r8; xor edx, edx; div ecx; ret
  private static let program: [UInt8] = [
    0xb9, 0x90, 0x01, 0x00, 0x00, 0x51, 0x48, 0x89, 0x0d, 0x00, 0x60, 0x00, 0x00, 0x48, 0x03, 0x05, 0x00, 0x60,
    0x00, 0x00, 0x48, 0x8d, 0x54, 0x48, 0x08, 0x48, 0x0f, 0xaf, 0xd1, 0x48, 0xc1, 0xe2, 0x03, 0x48, 0xd3, 0xfa,
    0x31, 0xd3, 0x0f, 0xb6, 0xf3, 0x48, 0x39, 0xda, 0x48, 0x0f, 0x42, 0xf8, 0x72, 0x04, 0x48, 0x83, 0xe8, 0x01,
    0xe8, 0x4a, 0x00, 0x00, 0x00, 0xf0, 0x0f, 0xc1, 0x05, 0x00, 0x50, 0x00, 0x00, 0x48, 0x0f, 0xba, 0xe0, 0x05,
    0x48, 0x83, 0xd0, 0x00, 0x66, 0x0f, 0x6e, 0xc0, 0xf2, 0x0f, 0x2a, 0xc9, 0xf2, 0x0f, 0x59, 0xc9, 0x66, 0x0f,
    0xfe, 0xc1, 0xf3, 0x0f, 0x7f, 0x05, 0x00, 0x51, 0x00, 0x00, 0x59, 0xff, 0xc9, 0x75, 0x9c, 0xbf, 0x00, 0x80,
    0x00, 0x00, 0xbe, 0x00, 0x70, 0x00, 0x00, 0xb9, 0x00, 0x01, 0x00, 0x00, 0xf3, 0xa4, 0x31, 0xc0, 0xb9, 0x40,
    0x00, 0x00, 0x00, 0xf3, 0x48, 0xab, 0xf4, 0x85, 0xc0, 0x41, 0x0f, 0x94, 0xc0, 0x4d, 0x89, 0xc1, 0x31, 0xd2,
    0xf7, 0xf1, 0xc3,
  ]
}

extension CPU {
  /// 64-bit code at level 0 with the first 2 MiB mapped as they are.
  fileprivate func enterFlatMode(_ memory: PhysicalMemory) throws(GuestFault) {
    func put(_ address: Int, _ value: UInt64) {
      memory.ram.storeBytes(of: value, toByteOffset: address, as: UInt64.self)
    }
    put(0x2000, 0x3007)
    put(0x3000, 0x4007)
    put(0x4000, 0x87)
    // A code and a data segment, flat and accessed.
    put(0x5008, 0x00af_9b00_0000_ffff)
    put(0x5010, 0x00cf_9300_0000_ffff)
    s.pointee.gdtr = vm_table(base: 0x5000, limit: 0x17, reserved: 0)
    try writeCR0(CR0.pe | CR0.ne)
    try writeCR4(CR4.pae | CR4.osfxsr | CR4.osxmmexcpt)
    try writeCR3(0x2000)
    try writeMSR(MSR.efer, EFER.lme)
    try writeCR0(CR0.pe | CR0.ne | CR0.mp | CR0.pg)
    try farJump(0x08, Rehearsal.start, next: 0)
    for segment in [Seg.ss, Seg.ds, Seg.es] { try loadSegment(segment, selector: 0x10) }
  }
}
