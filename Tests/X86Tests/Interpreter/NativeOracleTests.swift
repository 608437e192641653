import Foundation
import Testing

@testable import X86

/// Runs instructions, generated from templates, on the host's CPU and in the interpreter, and compares all that they
/// leave: registers, flags, vector and x87 state, memory, exception and RIP. Seeds are fixed: a failure comes again.
@Suite(.serialized) struct NativeOracleTests {
  typealias T = InstructionTemplate

  /// `VMCTL_ORACLE_ROUNDS` runs each instruction more often than CI's share, `VMCTL_ORACLE_SEED` others.
  static let rounds = setting("VMCTL_ORACLE_ROUNDS", 12)
  static let seed = UInt64(setting("VMCTL_ORACLE_SEED", 2026))
  /// Sequences are as many as this for each of `rounds`.
  static let sequences = 250

  private static func setting(_ name: String, _ standard: Int) -> Int {
    ProcessInfo.processInfo.environment[name].flatMap { Int($0) } ?? standard
  }

  enum Family: String, CaseIterable, CustomTestStringConvertible {
    case general, x87, simd
    var templates: [InstructionTemplate] {
      switch self {
      case .general: OracleTemplates.general
      case .x87: OracleTemplates.x87
      case .simd: OracleTemplates.simd
      }
    }
    var testDescription: String { rawValue }
  }

  /// A family, a mode and an accelerator; the translator hands most to the interpreter and runs fewer rounds.
  struct Share: Sendable, CustomTestStringConvertible {
    var family: Family
    var compat: Bool
    var accelerator: Accelerator
    var testDescription: String { "\(family), \(compat ? 32 : 64) bits, \(accelerator)" }

    static let all: [Share] = Family.allCases.flatMap { family in
      [false, true].flatMap { compat in
        Accelerator.allCases.map { Share(family: family, compat: compat, accelerator: $0) }
      }
    }
  }

  @Test(arguments: Share.all)
  func everyInstructionLeavesWhatTheHostCPULeaves(_ share: Share) throws {
    let (family, compat) = (share.family, share.compat)
    let rounds = share.accelerator == .translator ? (Self.rounds + 2) / 3 : Self.rounds
    var oracle = try OracleRun(seed: Self.seed, compat: compat, accelerator: share.accelerator)
    oracle.steps = true
    oracle.aligns = family != .simd
    for template in family.templates where template.runs(compat: compat) {
      var reported = 0
      for _ in 0..<rounds where reported < 2 {
        let code = oracle.encode(template)
        if !oracle.compare(code, template) { reported += 1 }
      }
    }
  }

  @Test(arguments: [false, true])
  func sequencesLeaveWhatTheHostCPULeaves(compat: Bool) throws {
    var oracle = try OracleRun(seed: 77 &+ Self.seed, compat: compat)
    let pool = OracleTemplates.chainable.filter { $0.runs(compat: compat) }
    var reported = 0
    for _ in 0..<Self.sequences * Self.rounds where reported < 6 {
      var code: [UInt8] = []
      var names: [String] = []
      for _ in 0..<oracle.random(2...6) {
        let template = pool[oracle.random(0...pool.count - 1)]
        code += oracle.encode(template)
        names.append(template.name)
      }
      if !oracle.compare(code, names.joined(separator: ", ")) { reported += 1 }
    }
  }

  @Test(arguments: [false, true])
  func branchesGoWhereTheHostCPUGoes(compat: Bool) throws {
    var oracle = try OracleRun(seed: 4711 &+ Self.seed, compat: compat)
    let pool = OracleTemplates.chainable.filter { $0.runs(compat: compat) }
    var reported = 0
    for _ in 0..<Self.sequences * Self.rounds where reported < 6 {
      var code: [UInt8] = []
      var names: [String] = []
      for _ in 0..<oracle.random(1...3) {
        let body = oracle.encode(pool[oracle.random(0...pool.count - 1)])
        let (bytes, name) = oracle.branch(around: body)
        code += bytes
        names.append(name)
      }
      if !oracle.compare(code, names.joined(separator: ", ")) { reported += 1 }
    }
  }

  @Test(arguments: [false, true])
  func unmaskedFloatingPointExceptionsComeAsOnTheHostCPU(compat: Bool) throws {
    var oracle = try OracleRun(seed: 99 &+ Self.seed, compat: compat)
    oracle.unmasksExceptions = true
    for template in OracleTemplates.simd where template.runs(compat: compat) && template.unmasks {
      var reported = 0
      for _ in 0..<Self.rounds where reported < 2 {
        let code = oracle.encode(template)
        if !oracle.compare(code, template) { reported += 1 }
      }
    }
    for template in OracleTemplates.x87 where template.runs(compat: compat) && template.unmasks {
      var reported = 0
      for _ in 0..<Self.rounds where reported < 2 {
        // The exception is taken by the next waiting instruction.
        let code = oracle.encode(template) + [0x9B]
        if !oracle.compare(code, template) { reported += 1 }
      }
    }
  }

  /// RCPPS, RCPSS, RSQRTPS and RSQRTSS are the correctly rounded quotients here, the same on every host; a processor
  /// may be off by 1.5 * 2^-12 (Intel SDM vol. 2B, RCPPS).
  @Test(arguments: [[0x0F, 0x52], [0x0F, 0x53], [0xF3, 0x0F, 0x52], [0xF3, 0x0F, 0x53]] as [[UInt8]])
  func approximationsAreWithinTheManualsBound(_ opcode: [UInt8]) throws {
    var oracle = try OracleRun(seed: 5, compat: false)
    for _ in 0..<200 {
      var before = oracle.initialState()
      withUnsafeMutableBytes(of: &before.fxsave) { image in
        for lane in 0..<4 {
          let value = Float(
            sign: .plus, exponent: oracle.random(-60...60), significand: 1 + Float(oracle.random(0...0xffff)) / 65536)
          image.storeBytes(of: value, toByteOffset: 176 + lane * 4, as: Float.self)
        }
      }
      let (host, guest) = oracle.run(opcode + [0xC1], from: before)
      for lane in 0..<4 {
        let a = withUnsafeBytes(of: host.fxsave) { $0.load(fromByteOffset: 160 + lane * 4, as: Float.self) }
        let b = withUnsafeBytes(of: guest.fxsave) { $0.load(fromByteOffset: 160 + lane * 4, as: Float.self) }
        #expect(a == b || abs(a / b - 1) <= 1.5 / 4096 || a.isNaN && b.isNaN, "\(a) \(b)")
      }
    }
  }
}
