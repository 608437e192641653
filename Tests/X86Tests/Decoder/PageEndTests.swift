import CHost
import CNativeOracle
import Foundation
import Testing

@testable import X86

/// An instruction reads the same wherever a page ends within it: the decoder asks for more bytes before it decides
/// anything by one that is not there.
@Suite struct PageEndDecoderTests {
  enum Mode: Int, CaseIterable, CustomTestStringConvertible {
    case code16 = 16, code32 = 32, code64 = 64
    var testDescription: String { "\(rawValue) bits" }
    var bits: UInt32 {
      switch self {
      case .code16: UInt32(VM_MODE_CODE16)
      case .code32: UInt32(VM_MODE_CODE32)
      case .code64: UInt32(VM_MODE_CODE64)
      }
    }
    var prefixForms: [[UInt8]] {
      let legacy: [[UInt8]] = [
        [], [0x66], [0x67], [0xf2], [0xf3], [0xf0], [0x2e], [0x64], [0x66, 0xf2], [0xf3, 0x66], [0x66, 0x67],
      ]
      let rex: [[UInt8]] = [[0x48], [0x66, 0x48], [0xf3, 0x48], [0xf2, 0x4f], [0x67, 0x41], [0x48, 0x66]]
      return self == .code64 ? legacy + rex : legacy
    }
  }

  /// ModRM bytes of each shape: no displacement, SIB with and without a base, displacements of 1, 2 and 4 bytes,
  /// registers.
  private static let shapes: [UInt8] = [0x00, 0x04, 0x05, 0x06, 0x44, 0x84, 0xc0, 0xc1]
  /// Of an instruction without a ModRM byte these are an immediate.
  private static let tail: [UInt8] = [0x25, 0x11, 0x92, 0x13, 0x04, 0x85, 0x16, 0x77, 0x08, 0x19]

  /// Every opcode of every map with every prefix form, cut behind every byte.
  @Test(arguments: Mode.allCases)
  func everyInstructionAsksForItsBytesFirst(_ mode: Mode) {
    var decoded = 0
    var complaints: [String] = []
    let prefixBytes: Set<UInt8> = [0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3, 0x0f]
    for (map, escape) in ([[], [0x0f], [0x0f, 0x38], [0x0f, 0x3a]] as [[UInt8]]).enumerated() {
      for opcode in UInt8(0)...0xff {
        if map == 0 && (prefixBytes.contains(opcode) || mode == .code64 && opcode & 0xf0 == 0x40) { continue }
        if map == 1 && (opcode == 0x38 || opcode == 0x3a) { continue }
        for prefix in mode.prefixForms {
          let start = prefix + escape + [opcode]
          var groups = 1
          for reg in UInt8(0)..<8 where reg < groups {
            for shape in Self.shapes {
              let bytes = start + [shape | reg << 3] + Self.tail
              let (hasModRM, complaint) = check(bytes, mode)
              decoded += 1
              if let complaint, complaints.count < 20 { complaints.append(complaint) }
              if !hasModRM { break }
              groups = 8
            }
          }
        }
      }
    }
    #expect(complaints.isEmpty, "\(complaints.joined(separator: "\n"))")
    #expect(decoded > 100_000)
  }

  /// The limit of 15 bytes is found only by who has 15 bytes.
  @Test(arguments: Mode.allCases)
  func manyPrefixesAreTooLongOnlyWhenTheyAreThere(_ mode: Mode) {
    for count in 8...15 {
      for instruction in [
        [0x90], [0x05, 1, 2, 3, 4], [0x0f, 0xd7, 0xc1], [0x81, 0x84, 0x58, 1, 2, 3, 4, 5, 6, 7, 8],
      ] {
        let bytes = [UInt8](repeating: 0x3e, count: count) + instruction.map { UInt8($0) } + Self.tail
        #expect(check(bytes, mode).complaint == nil)
      }
    }
  }

  /// Whether the instruction has a ModRM byte, and what is wrong with its decoding.
  private func check(_ bytes: [UInt8], _ mode: Mode) -> (hasModRM: Bool, complaint: String?) {
    bytes.withUnsafeBufferPointer { buffer in
      func decode(_ available: Int) -> (status: DecodeStatus, decoder: Decoder) {
        var decoder = Decoder(bytes: buffer.baseAddress!, available: available, mode: mode.bits, blockOffset: 0)
        return (decoder.decode(), decoder)
      }
      func complaint(_ cut: Int, _ what: String) -> String {
        "\(bytes.map { String($0, radix: 16) }) cut behind \(cut): \(what)"
      }
      let whole = decode(min(15, bytes.count))
      let length = whole.status == .complete ? Int(whole.decoder.op.length) : 15
      let hasModRM = whole.decoder.row.hasModRM || whole.decoder.row.family == .simd
      if whole.status == .needsMoreBytes { return (hasModRM, complaint(15, "asks for more")) }
      for cut in 1..<length where decode(cut).status != .needsMoreBytes {
        return (hasModRM, complaint(cut, "is \(decode(cut).status)"))
      }
      let exact = decode(length)
      let same = withUnsafeBytes(of: exact.decoder.op) { a in
        withUnsafeBytes(of: whole.decoder.op) { b in memcmp(a.baseAddress!, b.baseAddress!, a.count) == 0 }
      }
      if exact.status != whole.status || !same { return (hasModRM, complaint(length, "reads otherwise")) }
      return (hasModRM, nil)
    }
  }
}

/// Instructions that begin in one page and end in the next do what they do on the host's CPU: with the second page there,
/// another one in its place, not executable, absent, and back again. The CPU keeps what it has decoded and translated.
@Suite(.serialized) struct PageEndOracleTests {
  struct Share: Sendable, CustomTestStringConvertible {
    var family: NativeOracleTests.Family
    var compat: Bool
    var accelerator: Accelerator
    var testDescription: String { "\(family), \(compat ? 32 : 64) bits, \(accelerator)" }

    static let all: [Share] = NativeOracleTests.Family.allCases.flatMap { family in
      [false, true].flatMap { compat in
        Accelerator.allCases.map { Share(family: family, compat: compat, accelerator: $0) }
      }
    }
  }

  @Test(arguments: Share.all)
  func everyInstructionRunsAcrossAPageEnd(_ share: Share) throws {
    var oracle = try OracleRun(seed: 31, compat: share.compat, accelerator: share.accelerator)
    var reported = 0
    for template in share.family.templates where template.runs(compat: share.compat) && reported < 12 {
      let code = oracle.encode(template)
      for cut in 1..<max(2, min(code.count, 15)) where code.count > 1 {
        if !oracle.compareAcross(code, template, cut: cut) {
          reported += 1
          break
        }
      }
    }
  }

  /// The encodings by which the fault was found.
  @Test(
    arguments: [[0x66, 0x0f, 0x73], [0x0f, 0xd7], [0x66, 0x0f, 0x50], [0x0f, 0xc5], [0xf3, 0x0f, 0xd6]] as [[UInt8]])
  func registerOnlyVectorInstructionsRunAcrossAPageEnd(_ first: [UInt8]) throws {
    for accelerator in Accelerator.allCases {
      var oracle = try OracleRun(seed: 32, compat: false, accelerator: accelerator)
      let template = InstructionTemplate(name: "vector", family: .simd, opcode: first)
      let isSame = oracle.compareAcross(first + [0xfa, 0x03], template, cut: first.count, mayNotExist: false)
      #expect(isSame)
    }
  }
}

extension OracleRun {
  private static let first = 1
  private static let second = 2
  private static let other: UInt64 = 0x40_0000

  /// Runs `code` with its first `cut` bytes at the end of a page. Records an issue and returns false when the two differ.
  mutating func compareAcross(
    _ code: [UInt8], _ template: InstructionTemplate, cut: Int, mayNotExist: Bool = true
  ) -> Bool {
    let start = Self.second * 4096 - cut
    NativeOracleMachine.hostWindowLock.lock()
    defer { NativeOracleMachine.hostWindowLock.unlock() }
    var before = initialState()
    before.rip += UInt64(start)
    fillData()
    for index in 0x1f00..<0x2100 { window[index] = 0xcc }
    for (index, byte) in code.enumerated() { window[start + index] = byte }
    // The same instruction with another end, if it has one.
    let changed = otherEnd(code, template, cut)
    machine.setPage(Self.second, .executable)
    machine.fillWindow(window)
    defer { machine.setPage(Self.second, .executable) }

    var isFirst = true
    func run(
      _ what: String, _ this: borrowing OracleRun, times: Int, end: [UInt8], _ kind: NativeOracleMachine.PageKind
    )
      -> Bool
    {
      var bytes = this.window
      for (index, byte) in end.enumerated() { bytes[Self.second * 4096 + index] = byte }
      let remapped = end != Array(code[cut...])
      let secondPage = bytes[Self.second * 4096..<Self.second * 4096 + 4096]
      machine.setPage(Self.second, .executable)
      bytes.withUnsafeBytes { NativeOracleMachine.hostWindow!.copyMemory(from: $0.baseAddress!, byteCount: $0.count) }
      machine.setPage(Self.second, kind, physical: remapped ? Self.other : nil)
      var host = before
      oracle_run(&host, this.compat ? 1 : 0)
      for _ in 0..<times {
        this.window.withUnsafeBytes { this.machine.memory.write(NativeOracleMachine.windowPhysical, from: $0) }
        if remapped { secondPage.withUnsafeBytes { this.machine.memory.write(Self.other, from: $0) } }
        var guest = before
        if !this.machine.run(&guest, compat: this.compat, again: !isFirst) { guest.vector = UInt32(ORACLE_ENDLESS) }
        isFirst = false
        if host.vector == UInt32(ORACLE_ENDLESS) && guest.vector == host.vector { continue }
        // How many bytes of an instruction that 64-bit code has not are fetched differs by processor.
        let mayDiffer = template.mayFaultElsewhere || template.isInvalid64 && !this.compat
        if mayDiffer && host.vector != 3 && guest.vector != 3 { continue }
        var found = this.difference(
          host, guest, undefined: template.undefined, undefinedStatus: template.undefinedStatus)
        let data = (Self.second + 1) * 4096
        if memcmp(
          NativeOracleMachine.hostWindow! + data, this.machine.guestWindow.baseAddress! + data, this.window.count - data
        )
          != 0
        {
          found.append("memory")
        }
        if found.isEmpty && (mayNotExist || host.vector != 6) { continue }
        Issue.record(
          "\(template.name) [\(this.text(code))] cut \(cut) compat \(this.compat), \(what): \(found.joined(separator: "; "))"
        )
        return false
      }
      return true
    }

    let end = Array(code[cut...])
    guard run("both pages", self, times: 3, end: end, .executable) else { return false }
    if let changed, !run("another second page", self, times: 2, end: changed, .executable) { return false }
    return run("second page not executable", self, times: 2, end: end, .notExecutable)
      && run("second page back", self, times: 2, end: end, .executable)
      && run("second page absent", self, times: 2, end: end, .absent)
      && run("second page back again", self, times: 1, end: end, .executable)
  }

  private mutating func otherEnd(_ code: [UInt8], _ template: InstructionTemplate, _ cut: Int) -> [UInt8]? {
    for _ in 0..<12 {
      let another = encode(template)
      if another.count > cut, another[..<cut] == code[..<cut], another[cut...] != code[cut...] {
        // A shorter one is not followed by what is left of this one.
        return Array(another[cut...]) + [UInt8](repeating: 0xcc, count: max(0, code.count - another.count))
      }
    }
    return nil
  }
}
