import Foundation
import Testing

@testable import X86

/// Every change of code quality shows in a table without timing noise: host instructions emitted per guest instruction.
@Suite struct HostInstructionTableTests {
  private static let file = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
    .appendingPathComponent("Tables/host-instructions.txt")

  /// `VMCTL_WRITE_TABLES=1` writes the table anew instead.
  @Test(.enabled(if: Translator.hasRotate, "the table is of hosts with BMI2"))
  func emittedCodeIsWhatTheTableSays() throws {
    let old = try HostInstructionTable(parsing: String(contentsOf: Self.file, encoding: .utf8))
    let new = try old.counted()
    if ProcessInfo.processInfo.environment["VMCTL_WRITE_TABLES"] != nil {
      try new.text.write(to: Self.file, atomically: true, encoding: .utf8)
      return
    }
    let differences = old.differences(from: new)
    if differences.isEmpty { return }
    Issue.record(
      """
      Emitted code has changed:
      \(differences.joined(separator: "\n"))
      was \(old.summary)
      now \(new.summary)
      Write the table anew with
        VMCTL_WRITE_TABLES=1 swift test --filter HostInstructionTableTests
      """)
  }

  @Test func theTableIsSomeTwoHundredBlocksEachByANameOfItsOwn() throws {
    let table = try HostInstructionTable(parsing: String(contentsOf: Self.file, encoding: .utf8))
    #expect(table.blocks.count >= 200)
    #expect(Set(table.blocks.map(\.name)).count == table.blocks.count)
    #expect(table.blocks.contains { $0.bits == 32 })
  }

  @Test func aTableReadAndWrittenIsTheSame() throws {
    let text = try String(contentsOf: Self.file, encoding: .utf8)
    #expect(try HostInstructionTable(parsing: text).text == text)
  }

  @Test func aChangedRowIsToldWithOldAndNew() throws {
    let head = "# Head\n\n64 one\n  48 01 d8\n"
    let now = try HostInstructionTable(parsing: head).counted()
    var old = now
    guard case .block(var block) = old.lines[2] else {
      Issue.record("no block")
      return
    }
    block.rows[0].inline += 3
    old.lines[2] = .block(block)
    let told = old.differences(from: now)
    #expect(told.count == 2)
    #expect(told.last == "    add rax, rbx: \(block.rows[0].inline) -> \(block.rows[0].inline - 3)")
    #expect(now.differences(from: now).isEmpty)
    #expect(now.text.contains("\ntotal: 1 blocks, 1 guest instructions, "))
  }

  @Test(arguments: ["48 one\n", "64 one\n  zz\n", "64 one\n  = 1\n", "64 one two\n"])
  func whatIsNoTableIsRefused(text: String) {
    #expect(throws: HostInstructionTable.SyntaxError.self) { try HostInstructionTable(parsing: text) }
  }
}
