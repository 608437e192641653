import CHost
import Foundation
import GuestMemory

@testable import X86

/// A CPU in long mode whose user half has paging structures that a program may change while it runs.
///
/// Linear addresses are those of `NativeOracleMachine`: code, jump tables and the stack stay mapped; data pages, the 2 MiB
/// boundary behind them and an alias that falls on the same TLB slots are as the program wants them. Each vector leads to
/// a HLT, so that the test can look at everything, and then to an IRET. INT 80H changes a paging-structure entry and drops
/// translations as the next record of a ring says.
final class PagedMachine {
  static let window = NativeOracleMachine.window
  /// Two pages of code, then one of the targets of indirect jumps.
  static let codeBytes: UInt64 = 0x2000
  static let jumpTable = window + 0x3000
  /// Pages of the window that programs map as they like.
  static let dataPages: [Int] = [8, 9, 10, 13, 14, 15, 16]
  /// Where a table's pages end and the next table's, or a 2 MiB page, begin.
  static let boundary = window + 0x20_0000
  /// The window again, a whole data TLB further on.
  static let alias = window + UInt64(VM_TLB_SIZE) << 12

  static let kernel: UInt64 = 0xffff_8000_0000_0000
  private static let userDirectory: UInt64 = 0x5000
  private static let userTable: UInt64 = 0x6000
  private static let handlers: UInt64 = 0xb000
  private static let ring: UInt64 = 0xc000
  static let ringRecords = 64
  static let interruptVector = 32
  private static let frames: UInt64 = 0x10_0000

  let memory: PhysicalMemory
  let cpu: CPU
  private let environment = PagedEnvironment()

  /// The widest profile, and what the CPU has but no profile offers: RDPID (leaf 7, bit 22 of ECX).
  private static let profile: CPUProfile = {
    var leaf = CPUProfile.x86_64_v2_extended.query(7, 0)
    leaf.ecx |= 1 << 22
    return CPUProfile.x86_64_v2_extended.setting(leaf)
  }()

  init(_ accelerator: Accelerator) throws {
    memory = try PhysicalMemory(size: 8 << 20)
    MappedDevice.map(memory)
    cpu = CPU(index: 0, profile: Self.profile, memory: memory, environment: environment)
    cpu.accelerator = accelerator
    cpu.translationThreshold = 0
    TestAccelerator.requireProof(of: cpu)
    environment.cpu = cpu
  }

  // MARK: Paging structures

  /// Physical address of the entry for a page of the window (0 to 511), or of the 2 MiB behind it (512 and on).
  static func tableEntry(_ page: Int) -> UInt64 { userTable + UInt64(page) * 8 }
  /// Physical address of the directory's entry for the 2 MiB behind the window.
  static var directoryEntry: UInt64 { userDirectory + (boundary >> 21 & 0x1ff) * 8 }
  /// Where that leads: the second table, or a large page.
  static let secondTable = userTable + 0x1000
  static let largeFrame: UInt64 = 0x20_0000
  /// Of a device, whose reads depend on those before, and which asks for interrupts.
  static let deviceFrame: UInt64 = 0xf000_0000
  /// The frame that has code as the second page may be, too.
  static let otherCode = 28
  static func frame(_ number: Int) -> UInt64 { frames + UInt64(number) << 12 }

  /// A record of the ring that INT 80H walks.
  struct Change {
    /// Physical address of an entry, or 0; and what to write there.
    var entry: UInt64
    var value: UInt64
    /// 0: CR3 is loaded; 1: all translations are dropped, global ones too; else the page INVLPG is of, and its alias.
    var drop: UInt64
    var alias: UInt64 = 0
  }

  /// Everything but the program's own choices.
  private func buildTables() {
    memory.ram.initializeMemory(as: UInt8.self, repeating: 0, count: 0x10_0000)
    memory.write(0x1000 + 8 * 256, UInt64(0x2003))
    memory.write(0x2000, UInt64(0x3003))
    for page in 0..<4 { memory.write(0x3000 + UInt64(page) * 8, UInt64(page) << 21 | 0x183) }
    memory.write(0x1000, UInt64(0x4007))
    memory.write(0x4000, Self.userDirectory | 7)
    memory.write(Self.userDirectory + (Self.window >> 21) * 8, Self.userTable | 7)
    memory.write(Self.userDirectory + (Self.alias >> 21) * 8, Self.userTable | 7)
    for page in [0, 1, 2, 3, 4, 5, 6, 7, 11, 12] { memory.write(Self.tableEntry(page), Self.frame(page) | 0x67) }
    let descriptors: [UInt64: UInt64] = [
      0x08: 0x00CF_9B00_0000_FFFF, 0x10: 0x00AF_9B00_0000_FFFF, 0x18: 0x00CF_9300_0000_FFFF,
      0x20: 0x00CF_FB00_0000_FFFF, 0x28: 0x00CF_F300_0000_FFFF, 0x30: 0x00AF_FB00_0000_FFFF,
    ]
    for (selector, value) in descriptors { memory.write(0x8000 + selector, value) }
    for vector in 0...Self.interruptVector {
      let target = Self.handlers + UInt64(vector) * 16
      setGate(vector == Self.interruptVector ? 0x40 : vector, target, open: vector == 3 || vector == 4)
      let skipsError: [UInt8] = Self.hasErrorCode(vector) ? [0x48, 0x83, 0xc4, 8] : []
      write([0xf4] + skipsError + [0x48, 0xcf], at: target)
    }
    let service = Self.handlers + 0x800
    setGate(0x80, service, open: true)
    write(Self.serviceCode, at: service)
    memory.write(0xa004, Self.kernel + 0xf000)
    memory.write(0xa024, Self.kernel + 0xf000)
    memory.write(0xa066, UInt16(0xffff))
  }

  /// An interrupt gate with a stack of its own, so that no fault depends on where RSP points.
  private func setGate(_ vector: Int, _ target: UInt64, open: Bool) {
    let attributes: UInt64 = open ? 0xee01 : 0x8e01
    memory.write(0x9000 + UInt64(vector) * 16, target & 0xffff | 0x10 << 16 | attributes << 32)
    memory.write(0x9000 + UInt64(vector) * 16 + 8, Self.kernel >> 32)
  }

  private static func hasErrorCode(_ vector: Int) -> Bool { [8, 10, 11, 12, 13, 14, 17].contains(vector) }

  /// push rax, rbx, rcx; the record's address to RBX, its offset advanced; MOV to the entry; INVLPG twice, CR3, or CR4.PGE
  /// off and on; pop; IRETQ.
  private static let serviceCode: [UInt8] = [
    0x50, 0x53, 0x51, 0x48, 0xbb, 0x00, 0xc0, 0x00, 0x00, 0x00, 0x80, 0xff, 0xff, 0x48, 0x8b, 0x83, 0x00, 0x08, 0x00,
    0x00, 0x48, 0x8d, 0x48, 0x20, 0x81, 0xe1, 0xff, 0x07, 0x00, 0x00, 0x48, 0x89, 0x8b, 0x00, 0x08, 0x00, 0x00, 0x48,
    0x01, 0xc3, 0x48, 0x8b, 0x03, 0x48, 0x85, 0xc0, 0x74, 0x07, 0x48, 0x8b, 0x4b, 0x08, 0x48, 0x89, 0x08, 0x48, 0x8b,
    0x43, 0x10, 0x48, 0x83, 0xf8, 0x01, 0x72, 0x0e, 0x74, 0x14, 0x0f, 0x01, 0x38, 0x48, 0x8b, 0x43, 0x18, 0x0f, 0x01,
    0x38, 0xeb, 0x1d, 0x0f, 0x20, 0xd8, 0x0f, 0x22, 0xd8, 0xeb, 0x15, 0x0f, 0x20, 0xe0, 0x48, 0x35, 0x80, 0x00, 0x00,
    0x00, 0x0f, 0x22, 0xe0, 0x48, 0x35, 0x80, 0x00, 0x00, 0x00, 0x0f, 0x22, 0xe0, 0x59, 0x5b, 0x58, 0x48, 0xcf,
  ]

  private func write(_ bytes: [UInt8], at physical: UInt64) {
    bytes.withUnsafeBytes { memory.write(physical, from: $0) }
  }

  // MARK: Running

  /// The state a program begins in.
  func begin(_ program: PagedProgram, _ image: PagedImage) {
    buildTables()
    write(image.code, at: Self.frames)
    for (index, target) in image.jumpTargets.enumerated() {
      let place = Self.frame(3) + UInt64(index * (program.compat ? 4 : 8))
      if program.compat { memory.write(place, UInt32(target)) } else { memory.write(place, target) }
    }
    write(image.otherPage, at: Self.frame(Self.otherCode))
    for number in 4..<Self.otherCode where number != 11 && number != 12 { write(program.data, at: Self.frame(number)) }
    write(program.data, at: Self.largeFrame)
    for number in [11, 12] {
      for slot in 0..<512 {
        let target = image.labels[(slot * 7 + number) % image.labels.count]
        memory.write(Self.frame(number) + UInt64(slot) * 8, program.compat ? target << 32 | target : target)
      }
    }
    for (address, value) in program.entries { memory.write(address, value) }
    for index in 0..<Self.ringRecords {
      let change = program.changes[index % program.changes.count]
      let place = Self.ring + UInt64(index) * 32
      memory.write(place, change.entry == 0 ? 0 : Self.kernel + change.entry)
      memory.write(place + 8, change.value)
      memory.write(place + 16, change.drop)
      memory.write(place + 24, change.alias)
    }

    cpu.reset()
    let s = cpu.s
    s.pointee.cr0 = program.protects ? 0x8005_0033 : 0x8004_0033
    s.pointee.cr4 = 0x1_06b0 | (program.smap ? 1 << 21 : 0)
    s.pointee.efer = 0xd01
    s.pointee.cr3 = 0x1000
    s.pointee.gdtr = vm_table(base: Self.kernel + 0x8000, limit: 0x7f, reserved: 0)
    s.pointee.idtr = vm_table(base: Self.kernel + 0x9000, limit: 0xfff, reserved: 0)
    cpu.segmentRegister(7).pointee = vm_segment(
      base: Self.kernel + 0xa000, limit: 0x67, selector: 0x40, attributes: 0x8b)
    cpu.segmentRegister(6).pointee = vm_segment(base: 0, limit: 0, selector: 0, attributes: 0x82)
    let user = program.user
    let data = vm_segment(base: 0, limit: .max, selector: user ? 0x2b : 0x18, attributes: user ? 0xc0f3 : 0xc093)
    for index in [0, 2, 3, 4, 5] { cpu.segmentRegister(index).pointee = data }
    let selectors: (UInt16, UInt16) = user ? (0x23, 0x33) : (0x08, 0x10)
    let attributes: UInt16 = (program.compat ? 0xc09b : 0xa09b) | (user ? 0x60 : 0)
    cpu.segmentRegister(1).pointee = vm_segment(
      base: 0, limit: .max, selector: program.compat ? selectors.0 : selectors.1, attributes: attributes)
    for index in 0..<16 { s.slots[index] = program.registers[index] }
    withUnsafeMutableBytes(of: &s.pointee.xmm) { bytes in
      for index in 0..<32 {
        bytes.storeBytes(
          of: program.registers[index & 15] &* 0x9e37_79b9_7f4a_7c15, toByteOffset: index * 8, as: UInt64.self)
      }
    }
    // With exceptions masked emitted code need not leave in the middle of a block, where a pending interrupt is taken.
    s.pointee.mxcsr = 0x1f80
    s.pointee.kernel_gs_base = Self.window + 0x8000
    s.pointee.fpu_control = 0x37f
    s.pointee.fpu_empty = 0xff
    s.pointee.rip = image.labels[0]
    // IOPL 3: OUT asks for an interrupt.
    s.pointee.eflags = 0x3202
    cpu.setFlags(program.flags & 0x8d5, mask: 0x8d5)
    cpu.flushAllTranslations()
    cpu.flushCode()
    cpu.updateMode()
    cpu.updateDebugPending()
    environment.requests = false
    environment.accesses = 0
    environment.patience = program.patience
    cpu.translationThreshold = program.threshold
    cpu.withdraw(UInt32(VM_PENDING_INTERRUPT))
  }

  enum Stop: Equatable {
    case exception(Int)
    case budget
    case other(RunExit)
  }

  func run(budget: Int) -> Stop {
    let exit = cpu.run(budget: budget)
    if exit == .budget { return .budget }
    let slot = (cpu.s.pointee.rip &- 1 &- Self.kernel &- Self.handlers) / 16
    guard exit == .halted, slot <= UInt64(Self.interruptVector) else { return .other(exit) }
    return .exception(Int(slot))
  }

  func interrupt() { environment.request() }

  /// After a HLT in the handler of `vector`: goes on behind the instruction that has faulted, or at a label when that is
  /// no code.
  func goOn(after vector: Int, labels: [UInt64]) {
    let pushed = cpu.s.slots[4] &- Self.kernel
    let frame = pushed &+ (Self.hasErrorCode(vector) ? 8 : 0)
    if vector != Self.interruptVector && vector != 3 && vector != 4 {
      let rip = memory.read(frame, as: UInt64.self)
      var next = labels[Int(cpu.s.pointee.instructions % UInt64(labels.count))]
      let isFetch = vector == 14 && memory.read(pushed, as: UInt64.self) & 16 != 0
      if !isFetch && rip >= Self.window && rip < Self.window + Self.codeBytes - 16 {
        let offset = rip - Self.window
        let bytes = (0..<15).map { memory.read(Self.frames + offset + UInt64($0), as: UInt8.self) }
        let bits =
          memory.read(frame + 8, as: UInt16.self) & 0x38 == 0x08 || memory.read(frame + 8, as: UInt16.self) == 0x23
        next = rip + UInt64(Disassembler.instruction(bytes, bits: bits ? 32 : 64, address: rip).length)
      }
      memory.write(frame, next)
    }
    cpu.s.pointee.activity = UInt32(VM_ACTIVE)
  }

  /// Has some accesses of the block at RIP look in the data TLB, as if they had found too many pages, and others checked
  /// by themselves where they do not lie in one, as if that had been often.
  func scatter(_ salt: Int) {
    let rip = cpu.s.pointee.rip
    let entry = cpu.s.pointee.fetch_tlb + (Int(truncatingIfNeeded: rip >> 12) & (Int(VM_FETCH_SIZE) - 1))
    guard let translator = cpu.translator, entry.pointee.tag == rip & ~0xfff, let page = entry.pointee.page,
      let block = page.assumingMemoryBound(to: CodePage.self).findTranslated(
        Int(rip & 0xfff), cpu.s.pointee.mode),
      block.pointee.code != 0
    else { return }
    for index in 0..<Int(block.pointee.count) where (index ^ salt) % 3 == 0 {
      block.ops[index].prefixes |= UInt8(VM_PREFIX_SCATTERED)
    }
    if salt % 2 == 0 { block.pointee.careful = 1 }
    translator.drop(block)
  }

  // MARK: Looking

  /// What an exception has pushed, as text.
  func frame(_ stop: Stop) -> String {
    guard case .exception(let vector) = stop else { return "RIP \(String(cpu.s.pointee.rip, radix: 16))" }
    var place = cpu.s.slots[4] &- Self.kernel
    var error = ""
    if Self.hasErrorCode(vector) {
      error = ", error \(String(memory.read(place, as: UInt64.self), radix: 16))"
      place += 8
    }
    let rip = String(memory.read(place, as: UInt64.self), radix: 16)
    return "from \(rip)\(error), CR2 \(String(cpu.s.pointee.cr2, radix: 16)), count \(cpu.s.pointee.instructions)"
  }

  /// Everything that a guest can see, in the order of `names`.
  var values: [UInt64] {
    let s = cpu.s
    var list = [UInt64]()
    list.reserveCapacity(Self.names.count)
    for index in 0..<16 { list.append(s.slots[index]) }
    list += [
      s.pointee.rip, cpu.flagsImage(), s.pointee.cr2, s.pointee.cr3, UInt64(s.pointee.cpl), s.pointee.instructions,
      UInt64(s.pointee.mxcsr), s.pointee.cr4, s.pointee.segments.4.base, s.pointee.segments.5.base,
      s.pointee.kernel_gs_base, UInt64(environment.accesses),
    ]
    withUnsafeBytes(of: s.pointee.xmm) { bytes in
      for index in 0..<32 { list.append(bytes.load(fromByteOffset: index * 8, as: UInt64.self)) }
    }
    return list
  }

  private static let names =
    (0..<16).map { "r\($0)" } + [
      "rip", "rflags", "cr2", "cr3", "cpl", "count", "mxcsr", "cr4", "fs", "gs", "kernel gs", "device accesses",
    ] + (0..<32).map { "xmm+\($0 * 8)" }

  /// What programs may write: tables, the kernel's stack, frames.
  static let compared: [Range<Int>] = [0x1000..<0x10000, 0x10_0000..<0x12_0000, 0x20_0000..<0x20_1000]

  /// Whether the program has written over its own code.
  func codeIsChanged(_ image: PagedImage) -> Bool {
    func differs(_ code: ArraySlice<UInt8>, _ frame: UInt64) -> Bool {
      code.withUnsafeBytes { memcmp(memory.ram + Int(frame), $0.baseAddress!, $0.count) != 0 }
    }
    return differs(image.code[...], Self.frame(0))
      || !image.otherPage.isEmpty && differs(image.otherPage[...], Self.frame(Self.otherCode))
  }

  /// After an exception: whether the arithmetic flags, and those that it has pushed, are all that differs.
  func differsInFlagsAlone(_ other: PagedMachine) -> Bool {
    let arithmetic: UInt64 = 0x8d5
    let flags = cpu.flagsImage() & arithmetic
    let place = cpu.s.slots[4] &- Self.kernel
    let pushed = (0..<4).map { place &+ $0 * 8 }.filter { address in
      guard address < UInt64(memory.size) - 8 else { return false }
      return (memory.read(address, as: UInt64.self) ^ other.memory.read(address, as: UInt64.self)) & ~arithmetic == 0
    }
    let kept = pushed.map { memory.read($0, as: UInt64.self) }
    defer {
      cpu.setFlags(flags, mask: arithmetic)
      for (address, value) in zip(pushed, kept) { memory.write(address, value) }
    }
    cpu.setFlags(other.cpu.flagsImage() & arithmetic, mask: arithmetic)
    for address in pushed { memory.write(address, other.memory.read(address, as: UInt64.self)) }
    return difference(other) == nil
  }

  func difference(_ other: PagedMachine) -> String? {
    var found: [String] = []
    func hex(_ value: some BinaryInteger) -> String { String(value, radix: 16) }
    let (own, others) = (values, other.values)
    if own != others {
      for (index, name) in Self.names.enumerated() where own[index] != others[index] {
        found.append("\(name): \(hex(own[index])), \(hex(others[index]))")
      }
    }
    for range in Self.compared
    where memcmp(memory.ram + range.lowerBound, other.memory.ram + range.lowerBound, range.count) != 0 {
      for offset in range {
        let mine = memory.ram.load(fromByteOffset: offset, as: UInt8.self)
        let theirs = other.memory.ram.load(fromByteOffset: offset, as: UInt8.self)
        if mine != theirs {
          found.append("memory \(hex(offset)): \(hex(mine)), \(hex(theirs))")
          break
        }
      }
    }
    return found.isEmpty ? nil : found.joined(separator: "; ")
  }
}

/// OUT asks for an interrupt at once; so do the test, and every so many accesses to the device: in the middle of a block.
private final class PagedEnvironment: CPUEnvironment {
  weak var cpu: CPU?
  var requests = false
  var accesses = 0
  var patience = 3

  func request() {
    guard patience > 0 else { return }
    requests = true
    cpu?.post(UInt32(VM_PENDING_INTERRUPT))
  }

  override func acknowledgeInterrupt() -> UInt8? {
    cpu?.withdraw(UInt32(VM_PENDING_INTERRUPT))
    defer { requests = false }
    return requests ? 0x40 : nil
  }
  private func access() -> UInt64 {
    accesses += 1
    if patience > 0 && accesses % patience == 0 { request() }
    return UInt64(accesses)
  }

  override func readIO(_ physical: UInt64, size: Int) -> UInt64 {
    let value = (physical &+ access()) &* 0x9e37_79b9_7f4a_7c15
    return size == 8 ? value : value >> 32 & (1 << UInt64(size * 8) - 1)
  }
  override func writeIO(_ physical: UInt64, size: Int, value: UInt64) { _ = access() }
  override func writePort(_ port: UInt16, size: Int, value: UInt32) { request() }
}
