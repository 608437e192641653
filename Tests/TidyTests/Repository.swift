import Foundation
import Testing

/// The project's own files, as text, with paths from its root.
struct Repository {
  struct File {
    /// From the root, as "Sources/X86/CPU.swift".
    var path: String
    /// Without line ends; empty for files that are no text.
    var lines: [String]
    var data: Data

    var name: String { String(path.split(separator: "/").last ?? "") }
    var ext: String { name.contains(".") ? String(name.split(separator: ".").last ?? "") : "" }
    /// The target of a source file: "X86" of "Sources/X86/CPU.swift".
    var target: String? {
      let parts = path.split(separator: "/")
      return parts.count > 2 && ["Sources", "Tests"].contains(parts[0]) ? String(parts[1]) : nil
    }
  }

  var files: [File]

  static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("../..")
    .standardized

  /// Read once: all tests look at the same.
  static let shared = Repository()

  private init() {
    // What a build, a version control system or an editor leaves is not the project's.
    let skipped: Set = ["Package.resolved", "DerivedData"]
    var found: [File] = []
    let walk = FileManager.default.enumerator(atPath: Self.root.path)
    while let path = walk?.nextObject() as? String {
      let name = (path as NSString).lastPathComponent
      let isHidden = name.hasPrefix(".") && name != ".ci"
      if isHidden || skipped.contains(name) {
        walk?.skipDescendants()
        continue
      }
      let url = Self.root.appendingPathComponent(path)
      guard (try? url.resourceValues(forKeys: [.isRegularFileKey]))?.isRegularFile == true else { continue }
      let data = (try? Data(contentsOf: url)) ?? Data()
      let text = data.prefix(4096).contains(0) ? nil : String(data: data, encoding: .utf8)
      let lines = text?.split(separator: "\n", omittingEmptySubsequences: false).map(String.init) ?? []
      found.append(File(path: path, lines: lines, data: data))
    }
    files = found.sorted { $0.path < $1.path }
  }

  /// Files under a folder with one of these extensions.
  func files(under folder: String, _ extensions: String...) -> [File] {
    files.filter { $0.path.hasPrefix(folder + "/") && extensions.contains($0.ext) }
  }

  func text(_ path: String) -> [String] { files.first { $0.path == path }?.lines ?? [] }
}

/// Faults as "path:line: what", so that an editor finds them.
struct Findings: CustomTestStringConvertible {
  private var lines: [String] = []
  mutating func add(_ file: Repository.File, _ line: Int?, _ what: String) {
    lines.append("\(file.path)\(line.map { ":\($0 + 1)" } ?? ""): \(what)")
  }
  var isEmpty: Bool { lines.isEmpty }
  var testDescription: String { "\(lines.count) findings" }
  var report: String { "\n" + lines.joined(separator: "\n") }
}
