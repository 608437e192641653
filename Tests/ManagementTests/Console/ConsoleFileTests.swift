import Foundation
import Logging
import Machine
import NIOPosix
import Testing

@testable import Management

/// The console's file of a protected machine, which its two halves may share.
@Suite final class ConsoleFileTests {
  private static let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
  private let folder = FileManager.default.temporaryDirectory.path + "/vmctl-console-\(UUID().uuidString)"

  init() throws { try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true) }
  deinit { try? FileManager.default.removeItem(atPath: folder) }

  private func open(_ name: String) throws -> ConsoleEndpoint {
    let mode = MachineConfiguration.UartMode.file(path: folder + "/" + name)
    return try ConsoleEndpoint.open(
      1, mode, ConsoleEndpoint.Named(1, mode), group: Self.group, logger: Logger(label: "test"))
  }

  private func print(_ text: String, _ endpoints: ConsoleEndpoint...) {
    for endpoint in endpoints { endpoint.console.output(Array(text.utf8)) }
  }

  /// What is in the file when it has what is expected, or after a time in which it would on any host.
  private func text(_ name: String, awaiting text: String) -> String {
    let end = Date(timeIntervalSinceNow: 60)
    while true {
      let now = (try? String(contentsOfFile: folder + "/" + name, encoding: .utf8)) ?? ""
      if now == text || Date() > end { return now }
      usleep(1000)
    }
  }

  @Test func whatBothHalvesKnowIsInTheFileOnce() throws {
    let copy = try open("shared")
    do {
      let primary = try open("shared")
      primary.own()
      print("boot\n", primary)
      #expect(text("shared", awaiting: "boot\n") == "boot\n")
      copy.copy(true)
      print("one\ntwo\n", primary, copy)
      #expect(text("shared", awaiting: "boot\none\ntwo\n") == "boot\none\ntwo\n")
      primary.close()
    }
    // What its primary has not come to write, the survivor writes.
    print("three\n", copy)
    copy.own()
    print("four\n", copy)
    let all = "boot\none\ntwo\nthree\nfour\n"
    #expect(text("shared", awaiting: all) == all)
    copy.close()
    #expect(text("shared", awaiting: all) == all)
  }

  /// A copy that is dropped and made again, and one whose guest has printed more than a console keeps.
  @Test func aCopyBeginsAnewAndMayFallBehind() throws {
    let copy = try open("shared")
    var primary: ConsoleEndpoint? = try open("shared")
    primary?.own()
    func both(_ text: String) {
      if let primary { print(text, primary) }
      print(text, copy)
    }
    print("boot\n", primary!)
    _ = text("shared", awaiting: "boot\n")
    copy.copy(true)
    both("one\n")
    _ = text("shared", awaiting: "boot\none\n")
    copy.copy(false)
    copy.copy(true)
    let lines = (0..<200_000).map { "line \($0)\n" }.joined()
    for start in stride(from: 0, to: lines.utf8.count, by: 50_000) {
      both(String(decoding: lines.utf8.dropFirst(start).prefix(50_000), as: UTF8.self))
    }
    primary?.close()
    primary = nil
    print("end\n", copy)
    copy.own()
    let all = "boot\none\n" + lines + "end\n"
    #expect(text("shared", awaiting: all) == all)
    copy.close()
  }

  /// A host that stands still holds its lock, and writes nothing.
  @Test func theSurvivorOfAHostThatStandsStillWrites() throws {
    let (primary, copy) = (try open("shared"), try open("shared"))
    primary.own()
    print("one\n", primary)
    _ = text("shared", awaiting: "one\n")
    copy.copy(true)
    print("two\n", copy)
    copy.own()
    #expect(text("shared", awaiting: "one\ntwo\n") == "one\ntwo\n")
    primary.close()
    copy.close()
  }

  @Test func aCopyWithAFileOfItsOwnWritesAtOnce() throws {
    let (primary, copy) = (try open("first"), try open("second"))
    primary.own()
    copy.copy(true)
    print("one\n", primary, copy)
    #expect(text("second", awaiting: "one\n") == "one\n")
    #expect(text("first", awaiting: "one\n") == "one\n")
    copy.own()
    print("two\n", copy)
    #expect(text("second", awaiting: "one\ntwo\n") == "one\ntwo\n")
    primary.close()
    copy.close()
  }

  @Test func aCopyThatIsDroppedLeavesNothing() throws {
    let (primary, copy) = (try open("shared"), try open("shared"))
    primary.own()
    print("one\n", primary)
    _ = text("shared", awaiting: "one\n")
    copy.copy(true)
    print("two\n", primary, copy)
    _ = text("shared", awaiting: "one\ntwo\n")
    copy.copy(false)
    copy.close()
    #expect(text("shared", awaiting: "one\ntwo\n") == "one\ntwo\n")
    primary.close()
  }

  @Test(arguments: [
    ("", "", 0), ("abc", "", 0), ("", "abc", 0), ("abc", "xyz", 0), ("abc", "xab", 2), ("abc", "xabc", 3),
    ("abcabc", "abc", 3), ("aab", "xa", 1),
  ])
  func whatTheFileEndsWithIsFound(_ kept: String, _ end: String, _ count: Int) {
    #expect(ConsoleFile.overlap(Array(kept.utf8), with: Array(end.utf8)) == count)
  }
}
