import CHost
import GuestAssembly
import Testing

@testable import X86

/// Results and flags of the arithmetic families, by hand from the manual.
@Suite struct InterpreterFlagTests {
  struct Case: CustomStringConvertible, Sendable {
    var name: String
    var bits = 32
    var code: String
    var a: UInt64 = 0
    var b: UInt64 = 0
    var c: UInt64 = 0
    var d: UInt64 = 0
    var flags: UInt64 = 0
    var result: UInt64
    var high: UInt64?
    var after: UInt64
    var description: String { name }
  }

  // CF 1, PF 4, AF 10, ZF 40, SF 80, OF 800
  static let cases: [Case] = [
    Case(name: "add 32 wraps to zero", code: "add eax, ebx", a: 0xffff_ffff, b: 1, result: 0, after: 0x55),
    Case(name: "add 32 overflows", code: "add eax, ebx", a: 0x7fff_ffff, b: 1, result: 0x8000_0000, after: 0x894),
    Case(name: "add 8 keeps the rest", code: "add al, bl", a: 0x1_80, b: 0x80, result: 0x100, after: 0x845),
    Case(name: "add 16", code: "add ax, bx", a: 0x1_000f, b: 1, result: 0x1_0010, after: 0x10),
    Case(name: "adc with carry", code: "adc eax, ebx", a: 0xffff_ffff, b: 0, flags: 1, result: 0, after: 0x55),
    Case(
      name: "adc carries twice", code: "adc eax, ebx", a: 0xffff_ffff, b: 0xffff_ffff, flags: 1, result: 0xffff_ffff,
      after: 0x95),
    Case(name: "sub borrows", code: "sub eax, ebx", a: 0, b: 1, result: 0xffff_ffff, after: 0x95),
    Case(name: "sub overflows", code: "sub eax, ebx", a: 0x8000_0000, b: 1, result: 0x7fff_ffff, after: 0x814),
    Case(
      name: "sbb of equals with carry", code: "sbb eax, ebx", a: 5, b: 5, flags: 1, result: 0xffff_ffff, after: 0x95),
    Case(name: "and clears carry", code: "and eax, ebx", a: 0xf0, b: 0x0f, flags: 0x801, result: 0, after: 0x44),
    Case(name: "inc keeps carry", code: "inc eax", a: 0x7fff_ffff, flags: 1, result: 0x8000_0000, after: 0x895),
    Case(name: "dec keeps no carry", code: "dec eax", a: 0, result: 0xffff_ffff, after: 0x94),
    Case(name: "neg", code: "neg eax", a: 1, result: 0xffff_ffff, after: 0x95),
    Case(name: "neg of zero", code: "neg eax", a: 0, result: 0, after: 0x44),
    Case(name: "not leaves flags", code: "not eax", a: 0, flags: 0x8d5, result: 0xffff_ffff, after: 0x8d5),
    Case(name: "shl by 1", code: "shl eax, 1", a: 0xc000_0001, result: 0x8000_0002, after: 0x81),
    Case(name: "shl by 0 leaves flags", code: "shl eax, cl", a: 7, c: 32, flags: 0x8d5, result: 7, after: 0x8d5),
    Case(name: "shr by 1", code: "shr eax, 1", a: 0x8000_0001, result: 0x4000_0000, after: 0x805),
    Case(name: "sar by 4", code: "sar eax, 4", a: 0x8000_0008, result: 0xf800_0000, after: 0x85),
    Case(name: "rol by 8", code: "rol eax, 8", a: 0x1234_5678, flags: 0x40, result: 0x3456_7812, after: 0x40),
    Case(name: "ror by 1", code: "ror eax, 1", a: 1, result: 0x8000_0000, after: 0x801),
    Case(name: "rcl by 1", code: "rcl eax, 1", a: 0x8000_0000, flags: 1, result: 1, after: 0x801),
    Case(name: "rcr by 1", code: "rcr eax, 1", a: 1, flags: 1, result: 0x8000_0000, after: 0x801),
    Case(name: "rcl 8 by 9 is whole", code: "rcl al, 9", a: 0x5a, flags: 1, result: 0x5a, after: 0x801),
    Case(name: "shld", code: "shld eax, ebx, 4", a: 0x1234_5678, b: 0xf000_0000, result: 0x2345_678f, after: 1),
    Case(name: "shrd", code: "shrd eax, ebx, 4", a: 0x1234_5678, b: 0xf, result: 0xf123_4567, after: 0x881),
    Case(name: "mul", code: "mul ebx", a: 0x8000_0000, b: 2, result: 0, high: 1, after: 0x845),
    Case(
      name: "imul, one operand", code: "imul ebx", a: 0xffff_ffff, b: 2, result: 0xffff_fffe, high: 0xffff_ffff,
      after: 0x80),
    Case(name: "imul by immediate", code: "imul eax, ebx, -1", b: 5, result: 0xffff_fffb, after: 0x80),
    Case(name: "div", code: "div ebx", a: 7, b: 2, flags: 1, result: 3, high: 1, after: 1),
    Case(
      name: "idiv", code: "idiv ebx", a: 0xffff_fff9, b: 2, d: 0xffff_ffff, result: 0xffff_fffd, high: 0xffff_ffff,
      after: 0),
    Case(name: "daa", code: "daa", a: 0x9a, result: 0, after: 0x55),
    Case(name: "das", code: "das", a: 0x0f, result: 0x09, after: 0x14),
    Case(name: "aaa", code: "aaa", a: 0x0b, result: 0x101, after: 0x11),
    Case(name: "aam", code: "aam", a: 73, result: 0x703, after: 4),
    Case(name: "aad", code: "aad", a: 0x703, result: 73, after: 0),
    Case(name: "bt", code: "bt eax, 3", a: 8, result: 8, after: 1),
    Case(name: "btc", code: "btc eax, ebx", a: 8, b: 35, result: 0, after: 1),
    Case(name: "bsr", code: "bsr eax, ebx", b: 0x1000, result: 12, after: 0),
    Case(name: "bsf of zero keeps the destination", code: "bsf eax, ebx", a: 9, result: 9, after: 0x40),
    Case(name: "popcnt", code: "popcnt eax, ebx", b: 0xff, flags: 0x8d5, result: 8, after: 0),
    Case(name: "xadd", code: "xadd eax, ebx", a: 3, b: 4, result: 7, after: 0),
    Case(name: "cmpxchg, equal", code: "cmpxchg edx, ebx", a: 5, b: 9, d: 5, result: 5, high: 9, after: 0x44),
    Case(name: "cmpxchg, different", code: "cmpxchg edx, ebx", a: 5, b: 9, d: 6, result: 6, high: 6, after: 0x95),
    Case(name: "sahf", code: "sahf", a: 0xff00, flags: 0x800, result: 0xff00, after: 0x8d5),
    Case(name: "cmc", code: "cmc", flags: 0x840, result: 0, after: 0x841),
    Case(name: "setg", code: "setg al", flags: 0x880, result: 1, after: 0x880),
    Case(
      name: "cmov that does not move clears the upper half", bits: 64, code: "cmovz eax, ebx", a: .max, b: 1,
      result: 0xffff_ffff, after: 0),
    Case(name: "add 64", bits: 64, code: "add rax, rbx", a: .max, b: 1, result: 0, after: 0x55),
    Case(
      name: "mul 64", bits: 64, code: "mul rbx", a: .max, b: .max, result: 1, high: .max - 1, after: 0x801),
    Case(
      name: "idiv 64", bits: 64, code: "idiv rbx", a: 0 &- 100, b: 7, d: .max, result: 0 &- 14, high: 0 &- 2,
      after: 0),
    Case(
      name: "movsx 64", bits: 64, code: "movsx rax, bl", b: 0x80, result: 0xffff_ffff_ffff_ff80, after: 0),
    Case(name: "movzx of ah", bits: 64, code: "movzx eax, ah", a: 0xab_00, result: 0xab, after: 0),
    Case(name: "cdqe", bits: 64, code: "cdqe", a: 0x8000_0000, result: 0xffff_ffff_8000_0000, after: 0),
  ]

  @Test(arguments: cases)
  func resultAndFlagsAreThoseOfTheManual(_ item: Case) throws {
    let machine = try InterpreterMachine(bits: item.bits)
    machine[0] = item.a
    machine[3] = item.b
    machine[1] = item.c
    machine[2] = item.d
    machine.flags = item.flags
    let all = Self.cases.filter { $0.bits == item.bits }.map(\.code)
    #expect(machine.run(try GuestCode.assemble(item.code, among: all, bits: item.bits)) == .halted)
    #expect(machine[0] == item.result)
    if let high = item.high { #expect(machine[2] == high) }
    #expect(machine.flags == item.after, "\(String(machine.flags, radix: 16)) for \(String(item.after, radix: 16))")
  }

  @Test func everyCombinationOfFlagsCanBeHeld() throws {
    let machine = try InterpreterMachine(bits: 64)
    for image in 0..<0x1000 as Range<UInt64> where image & ~0x8d5 == 0 {
      machine.flags = image
      #expect(machine.flags == image)
    }
  }

  @Test func bitOffsetsReachBeyondTheOperand() throws {
    let machine = try InterpreterMachine(bits: 64)
    machine[7] = InterpreterMachine.data
    machine[0] = 0 &- 1
    // Bit -1 is the top bit of the word before.
    try machine.run("bts [rdi], rax")
    #expect(machine.memory.read(InterpreterMachine.data - 1, as: UInt8.self) == 0x80)
  }

  @Test func repeatedMovesCopyAndPropagatePatterns() throws {
    let machine = try InterpreterMachine(bits: 64)
    machine.write([1, 2, 3, 4, 5, 6, 7, 8], at: 0x10ffc)
    machine[6] = 0x10ffc
    machine[7] = 0x20ffe
    machine[1] = 8
    try machine.run("rep movsb")
    #expect(machine.memory.read(0x20ffe, as: UInt64.self) == 0x0807_0605_0403_0201)
    #expect(machine[1] == 0)
    #expect(machine[6] == 0x11004)
    #expect(machine[7] == 0x21006)
    machine[6] = 0x20ffe
    machine[7] = 0x20fff
    machine[1] = 7
    try machine.run("rep movsb")
    #expect(machine.memory.read(0x20ffe, as: UInt64.self) == 0x0101_0101_0101_0101)
  }

  @Test func scansStopWhereTheyShould() throws {
    let machine = try InterpreterMachine(bits: 64)
    machine.write([1, 2, 3, 0, 9], at: InterpreterMachine.data)
    machine[7] = InterpreterMachine.data
    machine[1] = 100
    try machine.run("repne scasb")
    #expect(machine[1] == 96)
    #expect(machine[7] == InterpreterMachine.data + 4)
    #expect(machine.flags & 0x40 != 0)
  }
}
