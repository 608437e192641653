import Foundation
import Testing

@testable import X86

/// Every form of the instruction table, with every kind of operand, beside everything that shares a check or a temporary
/// with it: in both accelerators, which must leave the same.
///
/// Tables in the repository say which (form, operand, neighbour) were run, and which were not because something else
/// happened first, such as a fault that leads elsewhere each time.
@Suite(.serialized) struct NeighbourLockstepTests {
  private static let tables = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
    .appendingPathComponent("Tables")

  /// What a kernel may not run here, for the machine would be another afterwards, or stop.
  private static let changesMachine: [SystemOp] = [
    .hlt, .mwait, .monitor, .lgdt, .lidt, .ltr, .lldt, .lmsw, .movToControl, .movToDebug, .wrmsr, .syscall, .sysret,
    .sysenter, .sysexit, .wrgsbase, .swapgs,
  ]

  struct Setting: CustomTestStringConvertible, Sendable {
    var compat: Bool
    var user: Bool
    var name: String { (compat ? "32" : "64") + (user ? "u" : "k") }
    var testDescription: String { name }
  }
  static let settings = [
    Setting(compat: false, user: true), Setting(compat: false, user: false), Setting(compat: true, user: true),
    Setting(compat: true, user: false),
  ]

  /// Whether operands may be in memory, in a register, or neither.
  private static func operands(_ template: InstructionTemplate) -> [Bool?] {
    switch template.operands {
    case .none, .fixed: [nil]
    case .any, .digit: [true, false]
    case .memory, .digitMemory: [true]
    case .register, .digitRegister: [false]
    }
  }

  private static func skips(_ template: InstructionTemplate, _ setting: Setting) -> Bool {
    if !template.runs(compat: setting.compat) || !setting.compat && template.isInvalid64 { return true }
    guard let system = template.system else { return false }
    // Of user code too, SYSCALL's kernel is none here.
    if system == .syscall { return true }
    return !setting.user && changesMachine.contains(system)
  }

  /// `VMCTL_NEIGHBOURS=all` runs each neighbour with each base, five times as many programs, and has no table.
  private static let isExhaustive = ProcessInfo.processInfo.environment["VMCTL_NEIGHBOURS"] == "all"
  private static let bases: [NeighbourBase?] = isExhaustive ? NeighbourBase.allCases : [nil]

  @Test(arguments: settings)
  func everyFormBesideEveryNeighbourLeavesTheSameInBoth(setting: Setting) throws {
    let pattern = try PagedGenerator(seed: 1, compat: setting.compat, pages: false).pattern
    let lockstep = try PagedLockstep()
    var failures = 0
    var rows: [String] = []
    for (number, template) in OracleTemplates.everything.enumerated() where !Self.skips(template, setting) {
      var missing: [String] = []
      for isMemory in Self.operands(template) {
        for base in Self.bases where failures < 5 {
          let neighbours = NeighbourProgram(
            template: template, base: base, isMemory: isMemory, compat: setting.compat, user: setting.user,
            variant: number &* 7 &+ (base.flatMap { NeighbourBase.allCases.firstIndex(of: $0) } ?? 0))
          let operand = isMemory.map { $0 ? "memory" : "register" } ?? "-"
          lockstep.clearMarks(NeighbourProgram.neighbours.count)
          if !lockstep.compare(neighbours.program(like: pattern)) {
            Issue.record("\(template.name), \(operand), \(base?.rawValue ?? "each base"), \(setting.name)")
            failures += 1
          }
          let marks = lockstep.marks(NeighbourProgram.neighbours.count)
          for (index, neighbour) in NeighbourProgram.neighbours.enumerated() where marks[index] == 0 {
            missing.append("\(operand) \(neighbours.base(of: index).rawValue) \(neighbour.rawValue)")
          }
        }
      }
      rows.append("\(template.name): " + (missing.isEmpty ? "all" : "not " + missing.joined(separator: ", ")))
    }
    #expect(lockstep.translatorStatistics.blocks > 10_000)
    if !Self.isExhaustive { try Self.compare(rows, setting) }
  }

  /// `VMCTL_WRITE_TABLES=1` writes the setting's part of the table anew instead.
  private static func compare(_ rows: [String], _ setting: Setting) throws {
    let place = tables.appendingPathComponent("neighbours-\(setting.name).txt")
    let head = """
      # Forms of the instruction table that were run beside each neighbour, with each kind of operand, in
      # \(setting.compat ? "32" : "64")-bit code at CPL \(setting.user ? 3 : 0); what was not run is named. Written by
      #     VMCTL_WRITE_TABLES=1 swift test --filter NeighbourLockstepTests

      """
    let text = head + rows.joined(separator: "\n") + "\n"
    if ProcessInfo.processInfo.environment["VMCTL_WRITE_TABLES"] != nil {
      try text.write(to: place, atomically: true, encoding: .utf8)
      return
    }
    let old = Set(try String(contentsOf: place, encoding: .utf8).split(separator: "\n"))
    let new = Set(text.split(separator: "\n"))
    let gone = old.subtracting(new).sorted()
    let come = new.subtracting(old).sorted()
    if gone.isEmpty && come.isEmpty { return }
    Issue.record(
      "the table was\n\(gone.prefix(20).joined(separator: "\n"))\nand is\n\(come.prefix(20).joined(separator: "\n"))")
  }
}
