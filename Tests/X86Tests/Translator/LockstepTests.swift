import CHost
import CNativeOracle
import Foundation
import Testing

@testable import X86

/// Runs the same random programs in the interpreter and in the translator and compares everything.
struct LockstepRun {
  let compat: Bool
  var oracle: OracleRun
  private let interpreter: NativeOracleMachine
  private let translator: NativeOracleMachine
  /// Data registers may point at the running code.
  var writesCode = false

  init(seed: UInt64, compat: Bool) throws {
    self.compat = compat
    oracle = try OracleRun(seed: seed, compat: compat)
    interpreter = try NativeOracleMachine()
    translator = try NativeOracleMachine()
    interpreter.cpu.accelerator = .interpreter
    translator.cpu.accelerator = .translator
    translator.cpu.translationThreshold = 0
  }

  static let families: [InstructionTemplate] =
    OracleTemplates.chainable.filter { $0.family != .simd }
  static let vectors: [InstructionTemplate] = OracleTemplates.chainable.filter { $0.family == .simd }

  /// A program as pieces that can be left out one by one.
  mutating func program(length: Int, from templates: [InstructionTemplate]) -> [[UInt8]] {
    var pieces: [[UInt8]] = []
    while pieces.count < length {
      var template = templates[oracle.random(0...templates.count - 1)]
      template.isChained = true
      guard template.runs(compat: compat) else { continue }
      let bytes = oracle.encode(template)
      if oracle.random(0...5) == 0 {
        let (code, name) = oracle.branch(around: bytes)
        if name.hasSuffix("astray") && oracle.random(0...5) != 0 { continue }
        pieces.append(code)
      } else {
        pieces.append(bytes)
      }
    }
    return pieces
  }

  mutating func state() -> oracle_state {
    var state = oracle.initialState()
    if writesCode {
      let target = NativeOracleMachine.window + UInt64(oracle.random(0...120))
      withUnsafeMutableBytes(of: &state.gpr) { $0.storeBytes(of: target, toByteOffset: 24, as: UInt64.self) }
    }
    return state
  }

  /// What differs after the program, nil when nothing does.
  func difference(_ pieces: [[UInt8]], _ before: oracle_state) -> String? {
    var window = oracle.window
    for (index, byte) in (Array(pieces.joined()) + [0xCC, 0xCC] as [UInt8]).enumerated() { window[index] = byte }
    for (index, byte) in ([0xFF, 0xC0, 0xC3] as [UInt8]).enumerated() { window[0x200 + index] = byte }
    var a = before
    var b = before
    for machine in [interpreter, translator] {
      window.withUnsafeBytes { machine.memory.write(NativeOracleMachine.windowPhysical, from: $0) }
      machine.cpu.flushCode()
    }
    let first = interpreter.run(&a, compat: compat, budget: 20_000)
    let second = translator.run(&b, compat: compat, budget: 20_000)
    if first != second { return "ended: \(first) and \(second), at \(String(translator.cpu.s.pointee.rip, radix: 16))" }
    var found: [String] = []
    func hex(_ value: some BinaryInteger) -> String { String(value, radix: 16) }
    let names = ["interpreter", "translator"]
    withUnsafeBytes(of: a) { x in
      withUnsafeBytes(of: b) { y in
        for offset in stride(from: 0, to: x.count & ~7, by: 8) {
          var left = x.load(fromByteOffset: offset, as: UInt64.self)
          var right = y.load(fromByteOffset: offset, as: UInt64.self)
          // The x87 condition codes: undefined after many instructions.
          if offset == MemoryLayout<oracle_state>.offset(of: \.fxsave) {
            left &= ~0x4700_0000
            right &= ~0x4700_0000
          }
          // RFLAGS: compared below.
          if left != right && offset != 136 {
            found.append("+\(offset): \(names[0]) \(hex(left)), \(names[1]) \(hex(right))")
          }
        }
      }
    }
    if a.rip != b.rip { found.append("rip \(hex(a.rip)) \(hex(b.rip))") }
    // Code that writes itself runs what leaves flags undefined: of a multiplication SF, ZF, AF and PF.
    let mask = writesCode ? ~UInt64(0xD4) : .max
    if a.flags & mask != b.flags & mask { found.append("flags \(hex(a.flags)) \(hex(b.flags))") }
    if a.vector != b.vector { found.append("vector \(a.vector) \(b.vector)") }
    if interpreter.cpu.s.pointee.instructions != translator.cpu.s.pointee.instructions {
      found.append("count \(interpreter.cpu.s.pointee.instructions) \(translator.cpu.s.pointee.instructions)")
    }
    if memcmp(interpreter.guestWindow.baseAddress!, translator.guestWindow.baseAddress!, window.count) != 0 {
      for (offset, pair) in zip(interpreter.guestWindow, translator.guestWindow).enumerated() where pair.0 != pair.1 {
        found.append("memory +\(hex(offset)): \(hex(pair.0)) \(hex(pair.1))")
        break
      }
    }
    if translator.cpu.translatorStatistics?.entries ?? 0 == 0 { found.append("nothing was translated") }
    return found.isEmpty ? nil : found.joined(separator: "; ")
  }

  /// Runs one program; reports the smallest one that still differs.
  mutating func compare(_ length: Int, from templates: [InstructionTemplate]) -> Bool {
    oracle.fillData()
    var pieces = program(length: length, from: templates)
    let before = state()
    guard difference(pieces, before) != nil else { return true }
    var index = 0
    while index < pieces.count {
      var fewer = pieces
      fewer.remove(at: index)
      if difference(fewer, before) != nil { pieces = fewer } else { index += 1 }
    }
    let code = pieces.map { $0.map { String(format: "%02x", $0) }.joined(separator: " ") }.joined(separator: " | ")
    let what = difference(pieces, before) ?? ""
    let registers = withUnsafeBytes(of: before.gpr) { gpr in
      (0..<16).map { String(gpr.load(fromByteOffset: $0 * 8, as: UInt64.self), radix: 16) }.joined(separator: " ")
    }
    Issue.record("compat \(compat) [\(code)] \(what); from \(registers) flags \(String(before.flags, radix: 16))")
    return false
  }
}

@Suite(.serialized) struct LockstepTests {
  @Test(arguments: [1, 2, 3, 4, 5, 6] as [UInt64], [false, true])
  func integerProgramsRunAlikeInInterpreterAndTranslator(seed: UInt64, compat: Bool) throws {
    var run = try LockstepRun(seed: seed, compat: compat)
    var failures = 0
    for _ in 0..<400 where failures < 3 {
      if !run.compare(12, from: LockstepRun.families) { failures += 1 }
    }
  }

  @Test(arguments: [11, 12, 13] as [UInt64], [false, true])
  func programsThatWriteThemselvesRunAlike(seed: UInt64, compat: Bool) throws {
    var run = try LockstepRun(seed: seed, compat: compat)
    run.writesCode = true
    var failures = 0
    for _ in 0..<400 where failures < 3 {
      if !run.compare(12, from: LockstepRun.families) { failures += 1 }
    }
  }

  @Test(arguments: [21, 22, 23] as [UInt64], [false, true])
  func vectorProgramsRunAlike(seed: UInt64, compat: Bool) throws {
    var run = try LockstepRun(seed: seed, compat: compat)
    var failures = 0
    for _ in 0..<800 where failures < 3 {
      if !run.compare(12, from: LockstepRun.vectors + LockstepRun.families) { failures += 1 }
    }
  }

  @Test(arguments: [31, 32, 33] as [UInt64], [false, true])
  func floatingPointProgramsRunAlike(seed: UInt64, compat: Bool) throws {
    var run = try LockstepRun(seed: seed, compat: compat)
    var failures = 0
    // FNSTSW to AX (DF E0) and to memory (DD /7, decimal in names) would show condition codes on which processors differ.
    let x87 = OracleTemplates.x87.filter { $0.opcode != [0xDF, 0xE0] && $0.name != "x87 221/7" }
    for _ in 0..<800 where failures < 3 {
      if !run.compare(12, from: x87 + LockstepRun.families + LockstepRun.vectors) { failures += 1 }
    }
  }
}
