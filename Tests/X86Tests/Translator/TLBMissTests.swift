import CHost
import GuestAssembly
import GuestMemory
import Testing

@testable import X86

/// Misses of the data TLB: emitted code has the paging structures walked without the interpreter, and only the clock
/// can tell.
@Suite(.bothAccelerators) struct TLBMissTests {
  /// 512 small pages whose entries a test chooses, and a second view of them that falls on the same slots of the TLB.
  static let window: UInt64 = 0x100_0000
  static let alias = window + UInt64(VM_TLB_SIZE) << 12
  static let table: UInt64 = 0x33000
  static let frames: UInt64 = 0x80_0000
  static let (divideHandler, faultHandler): (UInt64, UInt64) = (0x3000, 0x3100)

  static func frame(_ page: Int) -> UInt64 { frames + UInt64(page) << 12 }
  static func entry(_ page: Int) -> UInt64 { table + UInt64(page) * 8 }

  /// 64-bit mode, with assembled code and a HLT at 1000H.
  static func machine(_ code: String, flags: (Int) -> UInt64 = { _ in 0x67 }) throws -> SystemMachine {
    try machine(try GuestCode.assemble(code + "; hlt", bits: 64), flags: flags)
  }

  /// 64-bit mode; HLT ends the program and the handlers of #DE and #PF. RSI points at the window, RDI at its table.
  static func machine(_ code: [UInt8], flags: (Int) -> UInt64 = { _ in 0x67 }) throws -> SystemMachine {
    let machine = try SystemMachine()
    try machine.enterLong()
    for place in [window, alias] { machine.put(0x32000 + (place >> 21) * 8, table | 0x67) }
    for page in 0..<512 where flags(page) != 0 {
      machine.put(entry(page), frame(page) | flags(page))
      machine.put(frame(page), UInt64(page) * 3 + 1)
    }
    machine.setLongGate(0, divideHandler)
    machine.setLongGate(14, faultHandler)
    try machine.code("hlt", at: divideHandler)
    try machine.code("hlt", at: faultHandler)
    machine.code(code, at: 0x1000)
    machine.cpu.s.pointee.rip = 0x1000
    machine.cpu.slots[Reg.rsi] = window
    machine.cpu.slots[Reg.rdi] = table
    return machine
  }

  private func run(_ machine: SystemMachine) { #expect(machine.cpu.run(budget: 1 << 40) == .halted) }

  /// The instructions that emitted code has left to the interpreter.
  private func steps(_ machine: SystemMachine) -> Int {
    machine.cpu.translatorStatistics?.steps ?? 0
  }

  enum Sum: Sendable { case general, vector, x87 }

  /// Each access adds the page's number to a register; that of the alias has displacement `VM_TLB_SIZE` pages.
  @Test(
    arguments: [
      ("add rax, [rsi]", "add rax, [rsi + far]", .general),
      ("add rax, [rsi + rbx]", "add rax, [rsi + rbx + far]", .general),
      ("add [rsi], rbx; add rax, [rsi]", "add rax, [rsi + far]", .general),
      ("paddq xmm0, [rsi]", "paddq xmm0, [rsi + far]", .vector),
      ("fiadd dword ptr [rsi]", "fiadd dword ptr [rsi + far]", .x87),
    ] as [(String, String, Sum)])
  func pagesAccessedBeforeAreFoundWithoutTheInterpreter(near: String, far: String, sum: Sum) throws {
    let distance = ".set far, \(Self.alias - Self.window);"
    let machine = try Self.machine("\(distance) again: \(near); \(far); add rsi, 0x1000; dec ecx; jne again")
    machine.cpu.s.pointee.cr4 |= CR4.osfxsr
    machine.cpu.s.pointee.mxcsr = 0x1f80
    machine.cpu.s.pointee.fpu_status = 7 << 11
    machine.cpu.s.pointee.fpu_empty = 0x7f
    machine.cpu.slots[Reg.rcx] = 512
    run(machine)
    let numbers = (0..<512).reduce(0 as UInt64) { $0 + (UInt64($1) * 3 + 1) * 2 }
    switch sum {
    case .general: #expect(machine.cpu.slots[Reg.rax] == numbers)
    case .vector: #expect(machine.s.xmm.0.lo == numbers)
    case .x87:
      let value = machine.s.fpr.7
      #expect(value.significand >> UInt64(0x403e - Int(value.exponent)) == numbers)
    }
    #expect(steps(machine) < 16)
    // However often an entry is filled, it is listed once.
    #expect(machine.s.micro_locals < 8)
    #expect((0..<512).allSatisfy { machine.get(Self.entry($0), as: UInt64.self) == Self.frame($0) | 0x67 })
  }

  @Test func flagsInPagingStructuresAreSetByTheAccessThatMustAndByNoOther() throws {
    let code = "mov eax, [rsi]; mov ebx, [rsi + 0x1000]; mov [rsi + 0x2000], eax"
    let machine = try Self.machine(code) { $0 == 1 ? 0x27 : 0x07 }
    run(machine)
    let flags = (0..<4).map { machine.get(Self.entry($0), as: UInt64.self) & 0xfff }
    #expect(flags == [0x27, 0x27, 0x67, 0x07])
  }

  /// Accesses that are checked together: the second one, which writes, is not reached.
  @Test func aWriteThatIsNotReachedLeavesThePageClean() throws {
    let machine = try Self.machine("mov eax, [rsi]; div ecx; mov [rsi + 8], eax") { _ in 0x07 }
    run(machine)
    #expect(machine.s.rip == Self.divideHandler + 1)
    #expect(machine.get(Self.entry(0), as: UInt64.self) & 0xfff == 0x27)
  }

  @Test func aPageThatIsLookedForAheadOfItsAccessLeavesCR2AsItWas() throws {
    let machine = try Self.machine("mov eax, [rsi + 0x1000]; div ecx; mov eax, [rsi + 0xff8]") {
      $0 == 1 ? 0x07 : 0
    }
    machine.cpu.s.pointee.cr2 = 0x1234
    run(machine)
    #expect(machine.s.rip == Self.divideHandler + 1)
    #expect(machine.s.cr2 == 0x1234)
    machine.cpu.s.pointee.rip = 0x1008
    machine.cpu.s.pointee.activity = UInt32(VM_ACTIVE)
    run(machine)
    #expect(machine.s.rip == Self.faultHandler + 1)
    #expect(machine.s.cr2 == Self.window + 0xff8)
  }

  @Test func aPageMappedElsewhereIsFoundThereAfterINVLPG() throws {
    let machine = try Self.machine(
      "mov eax, [rsi]; mov [rdi], rdx; invlpg [rsi]; add eax, [rsi]; add eax, [rsi + rbx]")
    machine.cpu.slots[Reg.rdx] = Self.frame(7) | 0x67
    run(machine)
    #expect(machine.cpu.slots[Reg.rax] == 1 + 22 + 22)
  }

  /// Read-only for the write that follows, not there at all for the read.
  @Test(
    arguments: [(0x65, "mov [rsi], eax", 3), (0x66, "mov eax, [rsi]", 0), (0x66, "mov [rsi + rbx], eax", 2)]
      as [(UInt64, String, UInt64)])
  func aPageThatLosesRightsFaultsAfterINVLPG(flags: UInt64, access: String, error: UInt64) throws {
    let machine = try Self.machine("mov [rsi], eax; mov [rdi], rdx; invlpg [rsi]; \(access)")
    machine.cpu.slots[Reg.rdx] = Self.frame(0) | flags
    run(machine)
    #expect(machine.s.rip == Self.faultHandler + 1)
    #expect(machine.s.cr2 == Self.window)
    #expect(machine.get(machine.cpu.slots[Reg.rsp], as: UInt64.self) == error)
    #expect(machine.get(machine.cpu.slots[Reg.rsp] + 8, as: UInt64.self) == 0x1008)
    #expect(machine.get(Self.table, as: UInt64.self) == Self.frame(0) | flags)
  }

  @Test func pagingStructuresThatADeviceAnswersForAreReadOnceByEachWalk() throws {
    let machine = try Self.machine("mov eax, [rsi]")
    machine.put(0x32000 + (Self.window >> 21) * 8, 0xf000_0067 as UInt64)
    run(machine)
    // What nobody answers for reads as ones: reserved bits.
    #expect(machine.s.rip == Self.faultHandler + 1)
    #expect(machine.get(machine.cpu.slots[Reg.rsp], as: UInt64.self) == 9)
    #expect(machine.environment.memoryReads == 1)
  }

  @Test func writesToPagesOfTheDirtyLogAreMarkedAfterEachTake() throws {
    let machine = try Self.machine("again: mov [rsi], eax; mov [rsi + rbx], eax; add rsi, 0x1000; dec ecx; jne again")
    machine.memory.dirtyLog.start()
    for turn in 0..<3 {
      machine.cpu.dropWriteTranslations()
      machine.cpu.s.pointee.rip = 0x1000
      machine.cpu.s.pointee.activity = UInt32(VM_ACTIVE)
      machine.cpu.slots[Reg.rsi] = turn == 1 ? Self.alias : Self.window
      machine.cpu.slots[Reg.rcx] = 100
      run(machine)
      var taken = PageBitmap(pageCount: machine.memory.pageCount)
      _ = machine.memory.dirtyLog.take(into: &taken)
      let first = Int(Self.frames >> 12)
      #expect((0..<512).filter { taken.contains(first + $0) } == Array(0..<100))
    }
  }

  /// A 32-bit program's address that wraps lies in the first page, whatever is mapped at 4 GiB.
  @Test(arguments: ["mov eax, [ebx + 0x20]", "mov eax, [ebx + ecx + 0x20]"])
  func anAddressThatWrapsIsNotLookedForBeyond4GiB(access: String) throws {
    let machine = try Self.machine(try GuestCode.assemble(access + "; hlt", bits: 32))
    machine.put(0x31020, 0x34067 as UInt64)
    machine.put(0x34000, Self.table | 0x67)
    machine.put(0x10, UInt32(4711))
    machine.put(Self.frame(0) + 0x10, UInt32(4712))
    machine.setDescriptor(0x08, SystemMachine.descriptor(type: 0x1a))
    try machine.cpu.farJump(0x08, 0x1000, next: 0)
    machine.cpu.slots[Reg.rbx] = 0xffff_fff0
    machine.cpu.slots[Reg.rcx] = 0
    run(machine)
    #expect(machine.cpu.slots[Reg.rax] == 4711)
  }
}
