import GuestAssembly
import Testing

@testable import X86

/// REP SCAS and REP CMPS over many elements, which are compared by the page.
@Suite(.bothAccelerators) struct InterpreterStringRunTests {
  static let source: UInt64 = 0x9fc4
  static let target: UInt64 = 0xc0e0

  struct Case: CustomTestStringConvertible {
    var bits: Int
    var size: Int
    var scan: Bool
    var whileEqual: Bool
    var testDescription: String {
      "\(bits) bit, \(scan ? "scas" : "cmps") of \(size), \(whileEqual ? "repe" : "repne")"
    }

    var code: String {
      "\(whileEqual ? "repe" : "repne") \(scan ? "scas" : "cmps")\([1: "b", 2: "w", 4: "d", 8: "q"][size]!)"
    }
  }

  static let cases: [Case] = [16, 32, 64].flatMap { bits in
    [1, 2, 4, 8].filter { $0 < 8 || bits == 64 }.flatMap { size in
      [false, true].flatMap { scan in
        [false, true].map { Case(bits: bits, size: size, scan: scan, whileEqual: $0) }
      }
    }
  }

  @Test(arguments: cases)
  func theElementThatEndsItIsFound(_ test: Case) throws {
    let machine = try InterpreterMachine(bits: test.bits)
    for index in 0..<5000 {
      machine.memory.write(Self.source + UInt64(index), 0x55 as UInt8)
      machine.memory.write(Self.target + UInt64(index), test.whileEqual ? 0x55 : 0x56 as UInt8)
    }
    let all = Self.cases.filter { $0.bits == test.bits }.map(\.code)
    let code = try GuestCode.assemble(test.code, among: all, bits: test.bits)
    for total in [1, 2, 9, 17, 70, 300, 5000 / test.size] {
      // Where the end is; `total`: nowhere.
      for end in Set([0, 1, 8, 15, 16, 63, 64, 65, total - 2, total - 1, total]) where end >= 0 && end <= total {
        // The element that ends it differs in its last byte from those around it: 0x56 for 0x55, or the like.
        let last = Self.target + UInt64(end * test.size + test.size - 1)
        let place = Self.target + UInt64(end * test.size)
        for byte in 0..<UInt64(test.size) {
          machine.memory.write(place + byte, test.whileEqual && place + byte == last ? 0x56 : 0x55 as UInt8)
        }
        machine[0] = 0x5555_5555_5555_5555
        machine[1] = UInt64(total)
        machine[6] = Self.source
        machine[7] = Self.target
        machine.flags = 0
        machine.run(code)
        let done = UInt64(min(end + 1, total))
        #expect(machine[1] == UInt64(total) - done)
        #expect(machine[7] == Self.target + done * UInt64(test.size))
        #expect(machine[6] == Self.source + (test.scan ? 0 : done * UInt64(test.size)))
        // ZF and PF; or 0x55 - 0x56: SF, CF, PF, and AF where the low byte borrows.
        let borrows = test.size == 1 || !test.whileEqual
        let equal = (end < total) != test.whileEqual
        #expect(machine.flags == (equal ? 0x44 : borrows ? 0x95 : 0x85))
        for byte in 0..<UInt64(test.size) {
          machine.memory.write(place + byte, test.whileEqual ? 0x55 : 0x56 as UInt8)
        }
      }
    }
  }
}
