import Foundation
import Testing

/// A file in docs/ that is made of what the program knows.
enum WrittenPage {
  /// Expects the file to be this text; with VMCTL_WRITE_TABLES=1 it becomes it.
  static func expect(_ name: String, is text: String, suite: String) throws {
    var root = URL(fileURLWithPath: #filePath)
    while !FileManager.default.fileExists(atPath: root.appendingPathComponent("Package.swift").path) {
      root.deleteLastPathComponent()
    }
    let file = root.appendingPathComponent("docs/\(name)")
    if ProcessInfo.processInfo.environment["VMCTL_WRITE_TABLES"] == "1" {
      try text.write(to: file, atomically: true, encoding: .utf8)
    }
    #expect(
      try String(contentsOf: file, encoding: .utf8) == text,
      "write it anew: VMCTL_WRITE_TABLES=1 swift test --filter \(suite)")
  }
}
