import CHost
import Testing

@testable import X86

/// An instruction that faults has done nothing that a program can see: it can be run again (Intel SDM vol. 3A, 6.6).
@Suite(.bothAccelerators) struct SystemRestartTests {
  /// The page at 11000h is not there; everything else below 4 MiB is, one to one, for user code.
  static let hole: UInt64 = 0x11000

  private static func machine() throws -> SystemMachine {
    let machine = try SystemMachine()
    try machine.enterProtected()
    machine.haltOnEvents()
    machine.put(0x30000, UInt32(0x31007))
    for page in 0..<1024 where page != 0x11 { machine.put(0x31000 + UInt64(page * 4), UInt32(page << 12 | 7)) }
    try machine.cpu.writeCR3(0x30000)
    try machine.cpu.writeCR0(0x8000_0031)
    try machine.cpu.writeCR4(CR4.osfxsr | 0x400)
    for segment in [Seg.ds, Seg.es] { try machine.cpu.loadSegment(segment, selector: 0x23) }
    return machine
  }

  struct Case: Sendable, CustomTestStringConvertible {
    var name: String
    var code: [UInt8]
    var esp: UInt32 = 0x7000
    var ebp: UInt32 = 0x7800
    var testDescription: String { name }
  }

  /// EBX is 10FFEh: what it points to runs into the hole. EDI is 11000h, ESI 10000h, ECX 3.
  static let cases: [Case] = [
    Case(name: "pusha", code: [0x60], esp: 0x12010), Case(name: "pusha, 16-bit", code: [0x66, 0x60], esp: 0x12008),
    Case(name: "popa", code: [0x61], esp: 0x10ff0), Case(name: "popa, 16-bit", code: [0x66, 0x61], esp: 0x10ff8),
    Case(name: "push", code: [0x50], esp: 0x12002), Case(name: "push memory", code: [0xff, 0x33]),
    Case(name: "push memory, stack faults", code: [0xff, 0x36], esp: 0x12002),
    Case(name: "pop", code: [0x58], esp: 0x10ffe),
    Case(name: "pop memory", code: [0x8f, 0x03]),
    Case(name: "pop memory by ESP", code: [0x8f, 0x44, 0x24, 0xfe], esp: 0x10ffc),
    Case(name: "pushf", code: [0x9c], esp: 0x12002), Case(name: "popf", code: [0x9d], esp: 0x10ffe),
    Case(name: "call", code: [0xe8, 0, 0, 0, 0], esp: 0x12002), Case(name: "call indirect", code: [0xff, 0x13]),
    Case(name: "call register", code: [0xff, 0xd0], esp: 0x12002),
    Case(name: "call far", code: [0x9a, 0, 0x20, 0, 0, 0x1b, 0], esp: 0x12006),
    Case(name: "call far indirect", code: [0xff, 0x1b]), Case(name: "jmp far indirect", code: [0xff, 0x2b]),
    Case(name: "ret", code: [0xc3], esp: 0x10ffe), Case(name: "ret 8", code: [0xc2, 8, 0], esp: 0x10ffe),
    Case(name: "retf", code: [0xcb], esp: 0x10ffa), Case(name: "iret", code: [0xcf], esp: 0x10ff8),
    Case(name: "enter, the copied frame pointer", code: [0xc8, 0, 0, 2], esp: 0x12004),
    Case(name: "enter, the locals", code: [0xc8, 0x20, 0, 0], esp: 0x12004),
    Case(name: "leave", code: [0xc9], ebp: 0x10ffe), Case(name: "add to memory", code: [0x01, 0x03]),
    Case(name: "adc from memory", code: [0x13, 0x03]), Case(name: "inc", code: [0xff, 0x03]),
    Case(name: "neg", code: [0xf7, 0x1b]), Case(name: "not", code: [0xf7, 0x13]),
    Case(name: "xchg", code: [0x87, 0x03]),
    Case(name: "xadd", code: [0x0f, 0xc1, 0x03]), Case(name: "lock xadd", code: [0xf0, 0x0f, 0xc1, 0x03]),
    Case(name: "cmpxchg", code: [0x0f, 0xb1, 0x03]), Case(name: "cmpxchg8b", code: [0x0f, 0xc7, 0x0b]),
    Case(name: "lock cmpxchg8b", code: [0xf0, 0x0f, 0xc7, 0x0b]), Case(name: "bts", code: [0x0f, 0xab, 0x13]),
    Case(name: "bt", code: [0x0f, 0xa3, 0x13]), Case(name: "shl", code: [0xd3, 0x23]),
    Case(name: "rcr", code: [0xd1, 0x1b]),
    Case(name: "shld", code: [0x0f, 0xa5, 0x03]), Case(name: "setz", code: [0x0f, 0x94, 0x07]),
    Case(name: "mul", code: [0xf7, 0x23]), Case(name: "imul", code: [0x0f, 0xaf, 0x03]),
    Case(name: "div", code: [0xf7, 0x33]),
    Case(name: "bsf", code: [0x0f, 0xbc, 0x03]), Case(name: "movzx", code: [0x0f, 0xb7, 0x43, 1]),
    Case(name: "mov to memory", code: [0x89, 0x03]), Case(name: "mov from memory", code: [0x8b, 0x03]),
    Case(name: "mov immediate", code: [0xc7, 0x03, 1, 2, 3, 4]), Case(name: "les", code: [0xc4, 0x03]),
    Case(name: "lds", code: [0xc5, 0x43, 0xfe]), Case(name: "bound", code: [0x62, 0x43, 0xfc]),
    Case(name: "mov ds", code: [0x8e, 0x5b, 1]), Case(name: "pop ds", code: [0x1f], esp: 0x10fff),
    Case(name: "movs, the target", code: [0xa5]), Case(name: "stos", code: [0xab]), Case(name: "scas", code: [0xaf]),
    Case(name: "cmps", code: [0xa7]), Case(name: "lods", code: [0x87, 0xf7, 0xad, 0x87, 0xf7]),
    Case(name: "xlat", code: [0x30, 0xc0, 0x83, 0xc3, 2, 0xd7]),
    Case(name: "movups to memory", code: [0x0f, 0x11, 0x43, 0xf4]),
    Case(name: "movups from memory", code: [0x0f, 0x10, 0x43, 0xf4]),
    Case(name: "movq", code: [0x0f, 0x7f, 0x43, 0xfc]),
    Case(name: "fld80", code: [0xdb, 0x6b, 0xfa]), Case(name: "fstp", code: [0xd9, 0xe8, 0xdd, 0x5b, 0xfc]),
    Case(name: "fnsave", code: [0xdd, 0x73, 0xd0]),
    Case(name: "fxsave", code: [0x0f, 0xae, 0x83, 0x02, 0xff, 0xff, 0xff]),
    Case(name: "fistp", code: [0xd9, 0xe8, 0xdf, 0x7b, 0xfc]), Case(name: "ldmxcsr", code: [0x0f, 0xae, 0x13]),
  ]

  /// XLAT, LODS and the x87 stores have a few instructions before them: what these leave is what must stay.
  private static func prologue(_ item: Case) -> Int {
    switch item.name {
    case "lods": 2
    case "xlat": 5
    case "fstp", "fistp": 2
    default: 0
    }
  }

  @Test(arguments: cases)
  func whatFaultsHasDoneNothing(_ item: Case) throws {
    let machine = try Self.machine()
    let length = Self.prologue(item)
    machine.code(Array(item.code.dropFirst(length)) + [0xf4], at: 0x2000)
    let registers: [(Int, UInt64)] = [
      (Reg.rax, 0x1111_1111), (Reg.rcx, 3), (Reg.rdx, 0x5), (Reg.rbx, 0x10ffe), (Reg.rbp, UInt64(item.ebp)),
      (Reg.rsi, 0x10000), (Reg.rdi, 0x11000), (Reg.rsp, UInt64(item.esp)),
    ]
    try machine.enterUser()
    for (register, value) in registers { machine.cpu.slots[register] = value }
    if item.name == "lods" { machine.cpu.slots[Reg.rsi] = 0x11000 }
    if item.name == "xlat" { (machine.cpu.slots[Reg.rax], machine.cpu.slots[Reg.rbx]) = (0, 0x11000) }
    if ["push memory, stack faults"].contains(item.name) { machine.cpu.slots[Reg.rsi] = 0x6000 }
    if length > 0 && item.name.hasPrefix("f") {
      machine.cpu.s.pointee.fpu_status = 0x3800
      machine.cpu.s.pointee.fpu_empty = 0x7f
    }
    machine.cpu.setFlags(0x8d5, mask: 0x8d5)
    for offset in stride(from: UInt64(0x10f00), to: 0x11000, by: 4) { machine.put(offset, UInt32(0x2222_2222)) }
    let before = (0..<8).map { machine.cpu.slots[$0] }
    let x87 = (machine.s.fpu_status, machine.s.fpu_empty, machine.s.mxcsr)
    let segments = (0..<6).map { machine.cpu.segmentRegister($0).pointee.selector }
    #expect(machine.run() == 14)
    #expect(machine.s.cr2 & ~0xfff == Self.hole)
    #expect(machine.pushed(1) == 0x2000 && machine.pushed(2) == 0x1b)
    #expect(machine.pushed(3) & 0x1_08d5 == 0x1_08d5)
    #expect(machine.pushed(4) == UInt32(before[Reg.rsp]))
    for register in 0..<8 where register != Reg.rsp { #expect(machine.cpu.slots[register] == before[register]) }
    #expect((machine.s.fpu_status, machine.s.fpu_empty, machine.s.mxcsr) == x87)
    #expect([Seg.ds, Seg.es].allSatisfy { machine.cpu.segmentRegister($0).pointee.selector == segments[$0] })
    // A store that is cut by the page's end has not begun.
    for offset in stride(from: UInt64(0x10f00), to: 0x11000, by: 4) where !item.name.hasPrefix("fn") {
      #expect(machine.get(offset, as: UInt32.self) == 0x2222_2222, "\(offset)")
    }
    // With the page there it runs to its end.
    machine.put(0x31000 + 0x11 * 4, UInt32(0x11007))
    machine.cpu.flushAllTranslations()
    machine.put(Self.hole, UInt64(0))
    machine.cpu.slots[Reg.rsp] += 4
    try machine.cpu.interruptReturn(size: 4, next: 0)
    #expect(machine.run() != 14 || machine.s.cr2 & ~0xfff != Self.hole)
  }

  @Test func anInstructionThatRunsIntoAMissingPageFaultsThere() throws {
    let instructions: [[UInt8]] = [
      [0xb8, 0x44, 0x33, 0x22, 0x11], [0x66, 0x90], [0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0], [0xe9, 0, 0, 0, 0],
      [0x81, 0xc0, 1, 0, 0, 0], [0x66, 0x0f, 0x3a, 0x0f, 0xc1, 4],
    ]
    for bytes in instructions {
      for split in 1..<bytes.count {
        let machine = try Self.machine()
        let start = Self.hole - UInt64(split)
        machine.code(bytes + [0xf4], at: start)
        try machine.enterUser(rip: UInt32(start))
        #expect(machine.run() == 14)
        #expect(machine.s.cr2 == Self.hole && machine.pushed(0) == 4 && machine.pushed(1) == UInt32(start))
        machine.put(0x31000 + 0x11 * 4, UInt32(0x11007))
        machine.cpu.slots[Reg.rsp] += 4
        try machine.cpu.interruptReturn(size: 4, next: 0)
        #expect(machine.run() == 13)
        #expect(machine.pushed(1) == UInt32(start) + UInt32(bytes.count), "\(bytes) \(split)")
      }
    }
  }
}
