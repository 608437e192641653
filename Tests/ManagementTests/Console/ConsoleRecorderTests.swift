import Foundation
import Logging
import NIOPosix
import Testing

@testable import Management

/// A clock that the test moves.
private final class HandClock: @unchecked Sendable {
  private let lock = NSLock()
  private var time = Date(timeIntervalSince1970: 1_000_000)
  var now: Date { lock.withLock { time } }
  func advance(_ seconds: TimeInterval) { lock.withLock { time += seconds } }
}

@Suite struct ConsoleRecorderTests {
  private static let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
  private let temporary: TemporaryRegistry
  private var path: String { temporary.registry.home + "/console1.log" }

  init() throws {
    temporary = try TemporaryRegistry()
    try Files.makeDirectory(temporary.registry.home)
  }

  private func text(_ index: Int = 0) -> String {
    (try? Files.read(RotatingFile.numbered(path, index), limit: 4 << 20)) ?? ""
  }

  @Test func whatIsSaidWhileNobodyIsConnectedIsKeptAndNothingElse() throws {
    let console = SerialConsole(slot: 1, eventLoop: Self.group.next())
    console.output(Array("before it listened\n".utf8))
    let recorder = ConsoleRecorder(console, try RotatingFile(path))
    console.output(Array("alone\n".utf8))
    console.client(comes: true)
    console.output(Array("seen by one\n".utf8))
    console.client(comes: true)
    console.client(comes: false)
    console.output(Array("seen by the other\n".utf8))
    console.client(comes: false)
    console.output(Array("alone again\n".utf8))
    recorder.stop()
    let lines = text().split(separator: "\n").map(String.init)
    #expect(lines.filter { !$0.hasPrefix("[") } == ["before it listened", "alone", "alone again"])
    #expect(lines.filter { $0.hasSuffix("somebody was connected]") }.count == 1)
  }

  @Test func whoIsThereFirstIsNotRecorded() throws {
    let console = SerialConsole(slot: 1, eventLoop: Self.group.next())
    console.client(comes: true)
    let recorder = ConsoleRecorder(console, try RotatingFile(path))
    console.output(Array("seen\n".utf8))
    recorder.stop()
    #expect(!text().contains("seen\n"))
  }

  @Test func moreThanTheConsoleKeepsIsTold() throws {
    let console = SerialConsole(slot: 1, eventLoop: Self.group.next())
    console.output([UInt8](repeating: 65, count: (1 << 20) + 7))
    let recorder = ConsoleRecorder(console, try RotatingFile(path))
    console.output([66])
    recorder.stop()
    #expect(text().contains("8 bytes did not get here in time") && text().hasSuffix("AB"))
  }

  @Test func filesAreNewAtASizeAtAnAgeAndAtEachStart() throws {
    let clock = HandClock()
    let file = try RotatingFile(path, limit: 10, age: 60) { clock.now }
    file.write(Array("12345".utf8))
    clock.advance(60)
    file.write(Array("6789".utf8))
    #expect(text() == "123456789")
    clock.advance(1)
    file.write(Array("old".utf8))
    #expect(text() == "old" && text(1) == "123456789")
    file.write(Array("12345678".utf8))
    #expect(text() == "12345678" && text(1) == "old" && text(2) == "123456789")
    clock.advance(1000)
    // One that is larger than a file may be has one of its own, and an empty one pushes nothing out.
    file.write(Array("123456789012".utf8))
    let next = try RotatingFile(path, limit: 10, age: 60) { clock.now }
    clock.advance(1000)
    next.write(Array("1234567890123".utf8))
    #expect(text() == "1234567890123" && text(1) == "123456789012" && text(2) == "12345678" && text(3) == "old")
    #expect(!Files.exists(path + ".4"))
  }
}
