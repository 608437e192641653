import CHost
import Testing

@testable import X86

/// Results and flags of the arithmetic families, by hand from the manual.
@Suite struct InterpreterFlagTests {
  struct Case: CustomStringConvertible, Sendable {
    var name: String
    var bits = 32
    var bytes: [UInt8]
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
    Case(name: "add 32 wraps to zero", bytes: [0x01, 0xd8], a: 0xffff_ffff, b: 1, result: 0, after: 0x55),
    Case(name: "add 32 overflows", bytes: [0x01, 0xd8], a: 0x7fff_ffff, b: 1, result: 0x8000_0000, after: 0x894),
    Case(name: "add 8 keeps the rest", bytes: [0x00, 0xd8], a: 0x1_80, b: 0x80, result: 0x100, after: 0x845),
    Case(name: "add 16", bytes: [0x66, 0x01, 0xd8], a: 0x1_000f, b: 1, result: 0x1_0010, after: 0x10),
    Case(name: "adc with carry", bytes: [0x11, 0xd8], a: 0xffff_ffff, b: 0, flags: 1, result: 0, after: 0x55),
    Case(
      name: "adc carries twice", bytes: [0x11, 0xd8], a: 0xffff_ffff, b: 0xffff_ffff, flags: 1, result: 0xffff_ffff,
      after: 0x95),
    Case(name: "sub borrows", bytes: [0x29, 0xd8], a: 0, b: 1, result: 0xffff_ffff, after: 0x95),
    Case(name: "sub overflows", bytes: [0x29, 0xd8], a: 0x8000_0000, b: 1, result: 0x7fff_ffff, after: 0x814),
    Case(
      name: "sbb of equals with carry", bytes: [0x19, 0xd8], a: 5, b: 5, flags: 1, result: 0xffff_ffff, after: 0x95),
    Case(name: "and clears carry", bytes: [0x21, 0xd8], a: 0xf0, b: 0x0f, flags: 0x801, result: 0, after: 0x44),
    Case(name: "inc keeps carry", bytes: [0x40], a: 0x7fff_ffff, flags: 1, result: 0x8000_0000, after: 0x895),
    Case(name: "dec keeps no carry", bytes: [0x48], a: 0, result: 0xffff_ffff, after: 0x94),
    Case(name: "neg", bytes: [0xf7, 0xd8], a: 1, result: 0xffff_ffff, after: 0x95),
    Case(name: "neg of zero", bytes: [0xf7, 0xd8], a: 0, result: 0, after: 0x44),
    Case(name: "not leaves flags", bytes: [0xf7, 0xd0], a: 0, flags: 0x8d5, result: 0xffff_ffff, after: 0x8d5),
    Case(name: "shl by 1", bytes: [0xd1, 0xe0], a: 0xc000_0001, result: 0x8000_0002, after: 0x81),
    Case(name: "shl by 0 leaves flags", bytes: [0xd3, 0xe0], a: 7, c: 32, flags: 0x8d5, result: 7, after: 0x8d5),
    Case(name: "shr by 1", bytes: [0xd1, 0xe8], a: 0x8000_0001, result: 0x4000_0000, after: 0x805),
    Case(name: "sar by 4", bytes: [0xc1, 0xf8, 4], a: 0x8000_0008, result: 0xf800_0000, after: 0x85),
    Case(name: "rol by 8", bytes: [0xc1, 0xc0, 8], a: 0x1234_5678, flags: 0x40, result: 0x3456_7812, after: 0x40),
    Case(name: "ror by 1", bytes: [0xd1, 0xc8], a: 1, result: 0x8000_0000, after: 0x801),
    Case(name: "rcl by 1", bytes: [0xd1, 0xd0], a: 0x8000_0000, flags: 1, result: 1, after: 0x801),
    Case(name: "rcr by 1", bytes: [0xd1, 0xd8], a: 1, flags: 1, result: 0x8000_0000, after: 0x801),
    Case(name: "rcl 8 by 9 is whole", bytes: [0xc0, 0xd0, 9], a: 0x5a, flags: 1, result: 0x5a, after: 0x801),
    Case(name: "shld", bytes: [0x0f, 0xa4, 0xd8, 4], a: 0x1234_5678, b: 0xf000_0000, result: 0x2345_678f, after: 1),
    Case(name: "shrd", bytes: [0x0f, 0xac, 0xd8, 4], a: 0x1234_5678, b: 0xf, result: 0xf123_4567, after: 0x881),
    Case(name: "mul", bytes: [0xf7, 0xe3], a: 0x8000_0000, b: 2, result: 0, high: 1, after: 0x845),
    Case(
      name: "imul, one operand", bytes: [0xf7, 0xeb], a: 0xffff_ffff, b: 2, result: 0xffff_fffe, high: 0xffff_ffff,
      after: 0x80),
    Case(name: "imul by immediate", bytes: [0x6b, 0xc3, 0xff], b: 5, result: 0xffff_fffb, after: 0x80),
    Case(name: "div", bytes: [0xf7, 0xf3], a: 7, b: 2, flags: 1, result: 3, high: 1, after: 1),
    Case(
      name: "idiv", bytes: [0xf7, 0xfb], a: 0xffff_fff9, b: 2, d: 0xffff_ffff, result: 0xffff_fffd, high: 0xffff_ffff,
      after: 0),
    Case(name: "daa", bytes: [0x27], a: 0x9a, result: 0, after: 0x55),
    Case(name: "das", bytes: [0x2f], a: 0x0f, result: 0x09, after: 0x14),
    Case(name: "aaa", bytes: [0x37], a: 0x0b, result: 0x101, after: 0x11),
    Case(name: "aam", bytes: [0xd4, 10], a: 73, result: 0x703, after: 4),
    Case(name: "aad", bytes: [0xd5, 10], a: 0x703, result: 73, after: 0),
    Case(name: "bt", bytes: [0x0f, 0xba, 0xe0, 3], a: 8, result: 8, after: 1),
    Case(name: "btc", bytes: [0x0f, 0xbb, 0xd8], a: 8, b: 35, result: 0, after: 1),
    Case(name: "bsr", bytes: [0x0f, 0xbd, 0xc3], b: 0x1000, result: 12, after: 0),
    Case(name: "bsf of zero keeps the destination", bytes: [0x0f, 0xbc, 0xc3], a: 9, result: 9, after: 0x40),
    Case(name: "popcnt", bytes: [0xf3, 0x0f, 0xb8, 0xc3], b: 0xff, flags: 0x8d5, result: 8, after: 0),
    Case(name: "xadd", bytes: [0x0f, 0xc1, 0xd8], a: 3, b: 4, result: 7, after: 0),
    Case(name: "cmpxchg, equal", bytes: [0x0f, 0xb1, 0xda], a: 5, b: 9, d: 5, result: 5, high: 9, after: 0x44),
    Case(name: "cmpxchg, different", bytes: [0x0f, 0xb1, 0xda], a: 5, b: 9, d: 6, result: 6, high: 6, after: 0x95),
    Case(name: "sahf", bytes: [0x9e], a: 0xff00, flags: 0x800, result: 0xff00, after: 0x8d5),
    Case(name: "cmc", bytes: [0xf5], flags: 0x840, result: 0, after: 0x841),
    Case(name: "setg", bytes: [0x0f, 0x9f, 0xc0], flags: 0x880, result: 1, after: 0x880),
    Case(
      name: "cmov that does not move clears the upper half", bits: 64, bytes: [0x0f, 0x44, 0xc3], a: .max, b: 1,
      result: 0xffff_ffff, after: 0),
    Case(name: "add 64", bits: 64, bytes: [0x48, 0x01, 0xd8], a: .max, b: 1, result: 0, after: 0x55),
    Case(
      name: "mul 64", bits: 64, bytes: [0x48, 0xf7, 0xe3], a: .max, b: .max, result: 1, high: .max - 1, after: 0x801),
    Case(
      name: "idiv 64", bits: 64, bytes: [0x48, 0xf7, 0xfb], a: 0 &- 100, b: 7, d: .max, result: 0 &- 14, high: 0 &- 2,
      after: 0),
    Case(
      name: "movsx 64", bits: 64, bytes: [0x48, 0x0f, 0xbe, 0xc3], b: 0x80, result: 0xffff_ffff_ffff_ff80, after: 0),
    Case(name: "movzx of ah", bits: 64, bytes: [0x0f, 0xb6, 0xc4], a: 0xab_00, result: 0xab, after: 0),
    Case(name: "cdqe", bits: 64, bytes: [0x48, 0x98], a: 0x8000_0000, result: 0xffff_ffff_8000_0000, after: 0),
  ]

  @Test(arguments: cases)
  func resultAndFlagsAreThoseOfTheManual(_ item: Case) throws {
    let machine = try InterpreterMachine(bits: item.bits)
    machine[0] = item.a
    machine[3] = item.b
    machine[1] = item.c
    machine[2] = item.d
    machine.flags = item.flags
    #expect(machine.run(item.bytes) == .halted)
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
    // bts [rdi], rax: bit -1 is the top bit of the word before.
    machine.run([0x48, 0x0f, 0xab, 0x07])
    #expect(machine.memory.read(InterpreterMachine.data - 1, as: UInt8.self) == 0x80)
  }

  @Test func repeatedMovesCopyAndPropagatePatterns() throws {
    let machine = try InterpreterMachine(bits: 64)
    machine.write([1, 2, 3, 4, 5, 6, 7, 8], at: 0x10ffc)
    machine[6] = 0x10ffc
    machine[7] = 0x20ffe
    machine[1] = 8
    machine.run([0xf3, 0xa4])
    #expect(machine.memory.read(0x20ffe, as: UInt64.self) == 0x0807_0605_0403_0201)
    #expect(machine[1] == 0)
    #expect(machine[6] == 0x11004)
    #expect(machine[7] == 0x21006)
    machine[6] = 0x20ffe
    machine[7] = 0x20fff
    machine[1] = 7
    machine.run([0xf3, 0xa4])
    #expect(machine.memory.read(0x20ffe, as: UInt64.self) == 0x0101_0101_0101_0101)
  }

  @Test func scansStopWhereTheyShould() throws {
    let machine = try InterpreterMachine(bits: 64)
    machine.write([1, 2, 3, 0, 9], at: InterpreterMachine.data)
    machine[7] = InterpreterMachine.data
    machine[1] = 100
    machine.run([0xf2, 0xae])
    #expect(machine[1] == 96)
    #expect(machine[7] == InterpreterMachine.data + 4)
    #expect(machine.flags & 0x40 != 0)
  }
}
