import CHost
import CNativeOracle
import Foundation
import GuestMemory

@testable import X86

/// A CPU set up like a user process of the host, so that the same code can run on both: the same 64 KiB at the same
/// linear address, CPL 3, flat segments, 64-bit or compatibility mode. Every exception ends in a HLT of its own.
final class NativeOracleMachine {
  static let window: UInt64 = 0x1000_0000
  static let windowSize = 0x10000
  static let dataOffset = 0x8000
  static let windowPhysical: UInt64 = 0x20_0000
  /// The kernel's half, where linear addresses begin to stand for physical ones.
  private static let kernel: UInt64 = 0xffff_8000_0000_0000
  private static let kernelStack: UInt64 = 0x9000
  private static let handlers: UInt64 = 0xA000

  let memory: PhysicalMemory
  let cpu: CPU

  /// The window as the host process sees it, mapped once.
  /// Held from when the host's window is filled to when it has been compared: suites run side by side.
  static let hostWindowLock = NSRecursiveLock()
  nonisolated(unsafe) static let hostWindow: UnsafeMutableRawPointer? =
    oracle_map(window, windowSize, dataOffset) == 0 ? UnsafeMutableRawPointer(bitPattern: UInt(window)) : nil

  init() throws {
    memory = try PhysicalMemory(size: 8 << 20)
    cpu = CPU(index: 0, profile: CPUProfile.named("x86-64-v2")!, memory: memory, environment: CPUEnvironment())
    TestAccelerator.requireProof(of: cpu)
    buildTables()
  }

  private func buildTables() {
    // Page tables: the first 2 MiB of the kernel's half, the window for the user.
    memory.write(0x1000, UInt64(0x2007))
    memory.write(0x2000, UInt64(0x3007))
    memory.write(0x1800, UInt64(0xB003))
    memory.write(0xB000, UInt64(0xC003))
    memory.write(0xC000, UInt64(0x0083))
    memory.write(0x3000 + (Self.window >> 21) * 8, UInt64(0x4007))
    for page in 0..<UInt64(Self.windowSize / 4096) {
      // Data is not to be run.
      let rights: UInt64 = page < UInt64(Self.dataOffset / 4096) ? 0x67 : 0x67 | 1 << 63
      memory.write(0x4000 + page * 8, (Self.windowPhysical + page << 12) | rights)
    }
    // The GDT as Linux lays it out, so that selectors mean the same on both sides.
    let descriptors: [UInt16: UInt64] = [
      0x08: 0x00CF_9B00_0000_FFFF, 0x10: 0x00AF_9B00_0000_FFFF, 0x18: 0x00CF_9300_0000_FFFF,
      0x20: 0x00CF_FB00_0000_FFFF, 0x28: 0x00CF_F300_0000_FFFF, 0x30: 0x00AF_FB00_0000_FFFF,
      0x40: 0x0000_8B00_7000_0067, 0x78: 0x0040_F500_0000_0000,
    ]
    for (selector, value) in descriptors { memory.write(0x5000 + UInt64(selector), value) }
    // IDT: vector v goes to a HLT at handlers + 16 v. INT3 and INTO are open to user code.
    for vector in 0..<UInt64(32) {
      let target = Self.handlers + vector * 16
      let attributes: UInt64 = vector == 3 || vector == 4 ? 0xEE00 : 0x8E00
      let low: UInt64 = (target & 0xffff) | 0x10 << 16 | attributes << 32 | (target >> 16 & 0xffff) << 48
      memory.write(0x6000 + vector * 16, low)
      memory.write(0x6000 + vector * 16 + 8, Self.kernel >> 32)
      memory.write(target, UInt8(0xF4))
    }
    memory.write(0x7004, Self.kernel + Self.kernelStack)  // RSP0 of the TSS
    memory.write(0x7066, UInt16(0xffff))  // and no I/O permission bitmap
  }

  /// Runs from `state` to the first exception and leaves what is there then in `state`, in the oracle's own terms.
  ///
  /// - Parameter again: the CPU keeps what it has decoded, translated and found in the page tables.
  /// - Returns: false when no exception came.
  func run(_ state: inout oracle_state, compat: Bool, budget: Int = 100_000, again: Bool = false) -> Bool {
    let s = cpu.s
    if again {
      s.pointee.activity = UInt32(VM_ACTIVE)
    } else {
      cpu.reset()
    }
    s.pointee.cr0 = 0x8005_0033
    s.pointee.cr4 = 0x6B0
    s.pointee.efer = 0xD01
    s.pointee.cr3 = 0x1000
    s.pointee.gdtr = vm_table(base: Self.kernel + 0x5000, limit: 0x7f, reserved: 0)
    s.pointee.idtr = vm_table(base: Self.kernel + 0x6000, limit: 0x1ff, reserved: 0)
    setSegment(VM_TR, vm_segment(base: Self.kernel + 0x7000, limit: 0x67, selector: 0x40, attributes: 0x8B))
    setSegment(VM_LDTR, vm_segment(base: 0, limit: 0, selector: 0, attributes: 0x82))
    let null = vm_segment(base: 0, limit: 0, selector: 0, attributes: 0)
    let data = vm_segment(base: 0, limit: .max, selector: UInt16(ORACLE_DATA), attributes: 0xC0F3)
    for index in [VM_FS, VM_GS] { setSegment(index, null) }
    for index in [VM_ES, VM_DS] { setSegment(index, compat ? data : null) }
    setSegment(VM_SS, data)
    let code32 = vm_segment(base: 0, limit: .max, selector: UInt16(ORACLE_CODE32), attributes: 0xC0FB)
    let code64 = vm_segment(base: 0, limit: .max, selector: UInt16(ORACLE_CODE64), attributes: 0xA0FB)
    setSegment(VM_CS, compat ? code32 : code64)
    load(state)
    s.pointee.rip = state.rip
    s.pointee.eflags = 0x202 | state.flags & 0x40500
    cpu.setFlags(state.flags & 0x8D5, mask: 0x8D5)
    if !again { cpu.flushAllTranslations() }
    cpu.updateMode()
    cpu.updateDebugPending()
    guard cpu.run(budget: budget) == .halted else { return false }
    store(into: &state)
    return true
  }

  private func setSegment(_ index: some BinaryInteger, _ value: vm_segment) {
    withUnsafeMutableBytes(of: &cpu.s.pointee.segments) { $0.bindMemory(to: vm_segment.self)[Int(index)] = value }
  }
  private func setSegment(_ index: some RawRepresentable<UInt32>, _ value: vm_segment) {
    setSegment(index.rawValue, value)
  }

  private static func copy(
    _ from: UnsafeRawBufferPointer, _ range: Range<Int>, to: UnsafeMutableRawBufferPointer, _ at: Int
  ) {
    UnsafeMutableRawBufferPointer(rebasing: to[at..<at + range.count])
      .copyMemory(from: UnsafeRawBufferPointer(rebasing: from[range]))
  }

  private func load(_ state: oracle_state) {
    let s = cpu.s
    withUnsafeBytes(of: state.gpr) { gpr in
      withUnsafeMutableBytes(of: &s.pointee.gpr) { Self.copy(gpr, 0..<128, to: $0, 0) }
    }
    withUnsafeBytes(of: state.fxsave) { image in
      withUnsafeMutableBytes(of: &s.pointee.xmm) { Self.copy(image, 160..<416, to: $0, 0) }
      s.pointee.mxcsr = image.load(fromByteOffset: 24, as: UInt32.self)
      s.pointee.fpu_control = image.load(as: UInt16.self)
      s.pointee.fpu_status = image.load(fromByteOffset: 2, as: UInt16.self)
      s.pointee.fpu_empty = ~image[4]
      let top = Int(s.pointee.fpu_status >> 11 & 7)
      withUnsafeMutableBytes(of: &s.pointee.fpr) { registers in
        for index in 0..<8 {
          Self.copy(image, 32 + index * 16..<42 + index * 16, to: registers, ((top + index) & 7) * 16)
        }
      }
    }
  }

  private func store(into state: inout oracle_state) {
    let s = cpu.s
    withUnsafeMutableBytes(of: &state.gpr) { gpr in
      withUnsafeBytes(of: s.pointee.gpr) { Self.copy($0, 0..<128, to: gpr, 0) }
    }
    // The frame that the exception pushed: error code or not, RIP, CS, RFLAGS, RSP, SS.
    let vector = (s.pointee.rip &- 1 &- Self.kernel &- Self.handlers) / 16
    let hasError = [8, 10, 11, 12, 13, 14, 17].contains(vector)
    let pushed = s.pointee.gpr.4 &- Self.kernel
    let frame = pushed &+ (hasError ? 8 : 0)
    state.error = hasError ? memory.read(pushed, as: UInt32.self) : 0
    state.rip = memory.read(frame, as: UInt64.self)
    state.cs = memory.read(frame + 8, as: UInt16.self)
    state.ss = memory.read(frame + 32, as: UInt16.self)
    state.ds = s.pointee.segments.3.selector
    state.es = s.pointee.segments.0.selector
    state.flags = memory.read(frame + 16, as: UInt64.self)
    let stackPointer = memory.read(frame + 24, as: UInt64.self)
    withUnsafeMutableBytes(of: &state.gpr) { $0.storeBytes(of: stackPointer, toByteOffset: 32, as: UInt64.self) }
    state.vector = UInt32(truncatingIfNeeded: vector)
    state.fault_address = s.pointee.cr2
    withUnsafeMutableBytes(of: &state.fxsave) { image in
      image.storeBytes(of: s.pointee.fpu_control, as: UInt16.self)
      image.storeBytes(of: s.pointee.fpu_status, toByteOffset: 2, as: UInt16.self)
      image[4] = ~s.pointee.fpu_empty
      image.storeBytes(of: s.pointee.mxcsr, toByteOffset: 24, as: UInt32.self)
      let top = Int(s.pointee.fpu_status >> 11 & 7)
      withUnsafeBytes(of: s.pointee.fpr) { registers in
        for index in 0..<8 {
          let from = ((top + index) & 7) * 16
          Self.copy(registers, from..<from + 10, to: image, 32 + index * 16)
        }
      }
      withUnsafeBytes(of: s.pointee.xmm) { Self.copy($0, 0..<256, to: image, 160) }
    }
  }

  /// Fills the window on both sides with the same bytes.
  func fillWindow(_ bytes: [UInt8]) {
    bytes.withUnsafeBytes { source in
      Self.hostWindow!.copyMemory(from: source.baseAddress!, byteCount: source.count)
      memory.write(Self.windowPhysical, from: source)
    }
    cpu.flushCode()
  }

  /// What a page of code is on both sides.
  enum PageKind: CaseIterable {
    case executable, notExecutable, absent
  }

  /// Makes a page of the window's code what `kind` says; the CPU hears of it by INVLPG, as it would from a kernel.
  ///
  /// - Parameter physical: what the guest's page table says, if it is to be another page than the window's.
  func setPage(_ page: Int, _ kind: PageKind, physical: UInt64? = nil) {
    let protection =
      switch kind {
      case .executable: PROT_READ | PROT_WRITE | PROT_EXEC
      case .notExecutable: PROT_READ | PROT_WRITE
      case .absent: PROT_NONE
      }
    mprotect(Self.hostWindow! + page * 4096, 4096, protection)
    let rights: UInt64 =
      switch kind {
      case .executable: 0x67
      case .notExecutable: 0x67 | 1 << 63
      case .absent: 0
      }
    let frame = physical ?? Self.windowPhysical + UInt64(page) << 12
    memory.write(0x4000 + UInt64(page) * 8, frame | rights)
    cpu.flushPage(Self.window + UInt64(page) << 12)
  }

  /// The guest's window after a run.
  var guestWindow: UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(start: memory.ram + Int(Self.windowPhysical), count: Self.windowSize)
  }
}
