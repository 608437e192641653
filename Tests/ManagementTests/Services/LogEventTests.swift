import Foundation
import Testing

@testable import Management

@Suite struct LogEventTests {
  private let temporary: TemporaryRegistry
  private let folder: VMFolder
  private let log: RotatingFile

  init() throws {
    temporary = try TemporaryRegistry()
    try Files.makeDirectory(temporary.registry.home)
    folder = VMFolder(path: temporary.registry.home)
    log = try RotatingFile(folder.log, limit: 1000)
  }

  private func write(_ level: String, _ text: String) {
    log.write(Array("2026-11-29T11:25:24.983Z \(level) \(text)\n".utf8))
  }

  private func look(_ place: inout LogEvents.Place?, _ level: LogLevel = .warning) -> LogEvents {
    var events = LogEvents()
    place = events.take(folder, since: place, level: level)
    return events
  }

  @Test func eventsOfALevelAndAboveAreToldOnce() {
    var place: LogEvents.Place?
    write("error", "before anybody asked")
    #expect(look(&place).count == 0)
    write("info", "heartbeat")
    write("warning", "disk is slow")
    log.write(Array("    a line that belongs to it\nnonsense\n\n".utf8))
    write("critical", "gurumeditation")
    let events = look(&place)
    #expect(events.urgent[.diskError] == nil)
    #expect(events.count == 2 && events.lines[0].hasSuffix("warning disk is slow"))
    #expect(look(&place).count == 0)
    write("warning", "again")
    #expect(look(&place, .error).count == 0)
    #expect(look(&place).count == 0, "what was passed over stays so")
    write("error", "disk error: cannot write /d: No space left on device")
    #expect(look(&place).urgent[.diskError] == "disk error: cannot write /d: No space left on device")
  }

  @Test func whatHasAnAlertOfItsOwnIsToldWhateverTheLevel() {
    var place: LogEvents.Place?
    _ = look(&place, .off)
    write("info", "unprotected: says a guest on its debug port")
    write("error", "unprotected: the backup is lost")
    write("error", "something else")
    let events = look(&place, .off)
    #expect(events.urgent == [.unprotected: "unprotected: the backup is lost"] && events.count == 0)
  }

  @Test func nothingIsLostWhenTheLogIsPutBy() {
    var place: LogEvents.Place?
    _ = look(&place)
    let padding = String(repeating: "x", count: 300)
    for number in 0..<7 { write("error", "\(number) \(padding)") }
    #expect(Files.exists(folder.log(2)))
    let events = look(&place)
    #expect(events.lines.compactMap { $0.split(separator: " ").dropFirst(2).first.flatMap { Int($0) } } == Array(0..<7))
    // When even the last one kept is newer than the last look, what is there is told.
    for number in 0..<30 { write("error", "\(number) \(padding)") }
    #expect(look(&place).count > 6)
    #expect(look(&place).count == 0)
  }

  @Test func aLineIsToldWhenItIsWhole() {
    var place: LogEvents.Place?
    _ = look(&place)
    log.write(Array("2026-11-29T11:25:24.983Z error hal".utf8))
    #expect(look(&place).count == 0)
    log.write(Array("f\n".utf8))
    #expect(look(&place).lines == ["2026-11-29T11:25:24.983Z error half"])
  }

  @Test func manyEventsAreOneAlertOfBoundedLength() {
    var place: LogEvents.Place?
    _ = look(&place)
    for number in 0..<12 { write("error", "\(number)\u{1B}[2J") }
    let few = look(&place)
    #expect(few.count == 12 && !few.text.contains("\u{1B}"))
    for _ in 0..<25 { write("error", "") }
    log.write([])
    let many = look(&place)
    #expect(many.count == 0, "an event without a text is none")
    for number in 0..<25 { write("error", "x\(number)") }
    let all = look(&place)
    #expect(all.count == 25 && all.lines.count == 20 && all.text.hasSuffix("\n... and 5 more"))
  }

  @Test func levelsAreInOrder() {
    #expect(LogLevel.warning.tells("error") && LogLevel.warning.tells("warning") && !LogLevel.warning.tells("notice"))
    #expect(!LogLevel.off.tells("critical") && !LogLevel.info.tells("shout"))
  }
}
