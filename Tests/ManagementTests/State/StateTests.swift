import Foundation
import Machine
import SavedState
import Testing

@testable import Management

@Suite struct StateTests {
  private func section(_ name: String, version: Int = 1, _ json: String, blob: [UInt8] = []) -> StateSection {
    StateSection(name: name, kind: name + "-kind", version: version, fields: Data(json.utf8), blob: Data(blob))
  }

  /// A file as `savestate` writes it, of 512 pages.
  private func contents(_ sections: [StateSection], data: [Int: UInt8] = [:]) throws -> StateContents {
    let file = FileManager.default.temporaryDirectory.path + "/vmctl-state-\(UUID().uuidString)"
    defer { try? FileManager.default.removeItem(atPath: file) }
    let memory = UnsafeMutableRawPointer.allocate(byteCount: 512 * 4096, alignment: 4096)
    defer { memory.deallocate() }
    memset(memory, 0, 512 * 4096)
    for (page, byte) in data { memset(memory + page * 4096, Int32(byte), 4096) }
    try StateFile.replace(file) { sink in
      let writer = try StateWriter(sink: sink)
      for section in sections { try writer.write(section) }
      try writer.writeMemory(UnsafeRawPointer(memory), pageCount: 512) { _ in }
      try writer.finish()
    }
    return try StateContents(file: file)
  }

  @Test func aStateIsShownWithEveryValue() throws {
    let cpu = section(
      "cpu0", version: 3, #"{"rip":18446744073709551615,"halted":false,"registers":[1,2],"parts":[{"a":1},{"a":-2}]}"#)
    let report = StateReport(
      try contents(
        [cpu, section("vga", #"{"x":0.5,"none":null,"name":"a\u001b[31m"}"#, blob: [1, 2, 3])], data: [7: 1]))
    #expect(report.pages == 512)
    #expect(report.dataPages == 1)
    let lines = report.text.split(separator: "\n").map(String.init)
    #expect(lines[0] == "build: \(StateFormat.build)")
    #expect(lines[1] == "memory: 512 pages of 4096 bytes, 1 of them not zero")
    #expect(lines[2] == "cpu0 (cpu0-kind, version 3)")
    #expect(
      Array(lines[3...7]) == [
        "  halted: false", "  parts[0].a: 1", "  parts[1].a: -2", "  registers: [1, 2]",
        "  rip: 18446744073709551615 (0xffffffffffffffff)",
      ])
    #expect(lines.last?.hasPrefix("  and 3 bytes, checksum ") == true)
    #expect(!report.text.contains("\u{1b}"), "a terminal would obey it")
    // Programs get the numbers whole.
    let decoded = try JSONDecoder().decode(StateReport.self, from: JSONEncoder().encode(report))
    #expect(decoded == report)
  }

  @Test func aLongListIsCutForPeople() {
    let list = StateValue.list((0..<100).map { .number($0) })
    #expect(list.lines(at: "x") == ["x: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, ... 100 in all]"])
    #expect(list.leaves(at: "x").count == 100)
  }

  @Test func equalStatesHaveNoDifferenceWhicheverWayTheyCame() throws {
    let state = try contents([section("cpu0", #"{"rip":1}"#, blob: [9])], data: [3: 3])
    #expect(StateDifference(state, state).isEmpty)
    let crossed = try StateContents(encoded: state.encoded())
    #expect(StateDifference(state, crossed).isEmpty)
    #expect(StateDifference(state, state).text == "no difference")
  }

  @Test func eachDifferenceIsTold() throws {
    let first = try contents(
      [
        section("a", #"{"x":1,"list":[1,2],"gone":true}"#, blob: [1, 2, 3, 4]), section("b", "{}"), section("c", "{}"),
      ],
      data: [1: 1, 2: 1, 9: 1])
    let second = try contents(
      [
        section("a", #"{"x":4096,"list":[1,3,4]}"#, blob: [1, 9, 9, 4]), section("b", version: 2, "{}"),
        section("d", "{}"),
      ],
      data: [1: 2, 9: 1, 511: 5])
    let difference = StateDifference(first, second)
    #expect(
      difference.text.split(separator: "\n").map(String.init) == [
        "a.gone: true -> nothing", "a.list[1]: 2 -> 3", "a.x: 1 -> 4096 (0x1000)", "a.list[2]: nothing -> 4",
        "a.bytes: 4 bytes -> 4 bytes, 2 of them others, from 0x1 on", "b: b-kind version 1 -> b-kind version 2",
        "c: c-kind version 1 -> nothing", "d: nothing -> d-kind version 1",
        "memory: 3 pages differ: 0x1000-0x2fff, 0x1ff000-0x1fffff",
      ])
    #expect(difference.pages == [.init(first: 1, count: 2), .init(first: 511, count: 1)])
    // A running machine's state has no description of the hardware; it is compared without it.
    let hardware = StateSection(name: "hardware", kind: "hardware-description", version: 2, fields: Data("{}".utf8))
    #expect(StateDifference(try contents([hardware, section("b", "{}")]), try contents([section("b", "{}")])).isEmpty)
  }

  @Test func aFileThatIsNoneIsRefused() throws {
    let file = FileManager.default.temporaryDirectory.path + "/vmctl-state-\(UUID().uuidString)"
    defer { try? FileManager.default.removeItem(atPath: file) }
    try Data("no state".utf8).write(to: URL(fileURLWithPath: file))
    #expect(throws: SavedStateError.self) { try StateContents(file: file) }
    #expect(throws: SavedStateError.self) { try StateContents(encoded: [255, 255, 255, 255, 255, 255, 255, 127]) }
  }
}
