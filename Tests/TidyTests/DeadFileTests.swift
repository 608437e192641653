import Foundation
import Testing

/// Every file is there for something: it belongs to a target, or another file names it.
@Suite struct DeadFileTests {
  private static let manifest = Repository.shared.text("Package.swift").joined(separator: "\n")

  /// Folders whose files a rule takes all of: what makes or reads them names the folder or a pattern.
  private static func isTakenWhole(_ path: String) -> Bool {
    let folders = [
      "docs/man/": "scripts/generate-docs", "docs/completions/": "scripts/generate-docs",
      "Benchmarks/speed/": "scripts/lib/speed-programs.sh", "Tests/Fuzz/": "scripts/fuzz",
    ]
    guard let (folder, maker) = folders.first(where: { path.hasPrefix($0.key) }) else { return false }
    let name = folder.dropLast().split(separator: "/").last.map(String.init) ?? folder
    return Repository.shared.text(maker).contains { $0.contains(name) }
  }

  /// What BareMetalTests finds by itself (NAME.rom, NAME.elf, NAME.expected) is made of a NAME.c or NAME.S beside it, a
  /// workload NAME-ARCHITECTURE of its NAME.c.
  private static func isMadeOfASource(_ file: Repository.File) -> Bool {
    if file.path.hasPrefix("firmware/workload/"), let dash = file.path.lastIndex(of: "-") {
      return Repository.shared.files.contains { $0.path == file.path[..<dash] + ".c" }
    }
    guard ["rom", "elf", "expected"].contains(file.ext) else { return false }
    let stem = String(file.path.dropLast(file.ext.count + 1))
    // What a guest is expected to print belongs to its image, however that is made.
    if file.ext == "expected" {
      let images = Repository.shared.files.filter { $0.path == stem + ".elf" || $0.path == stem + ".rom" }
      if images.contains(where: isNamed) { return true }
    }
    let guest = stem.hasSuffix("32") || stem.hasSuffix("64") ? String(stem.dropLast(2)) : stem
    return Repository.shared.files.contains { $0.path == guest + ".c" || $0.path == guest + ".S" }
  }

  private static func isNamed(_ file: Repository.File) -> Bool {
    // Of a table for each of several settings ("neighbours-32k.txt") the test names the first part.
    let isTable = file.path.contains("/Tables/")
    let end = isTable ? file.name.lastIndex(of: "-").map { file.name.index(after: $0) } : nil
    let name = Data(file.name[..<(end ?? file.name.endIndex)].utf8)
    return Repository.shared.files.contains { other in
      other.path != file.path && !other.lines.isEmpty && other.data.range(of: name) != nil
    }
  }

  @Test func everySourceBelongsToATarget() {
    var found = Findings()
    for file in Repository.shared.files where ["swift", "c"].contains(file.ext) {
      guard file.path.hasPrefix("Sources/") || file.path.hasPrefix("Tests/") else { continue }
      let isTarget = Self.manifest.contains("name: \"\(file.target ?? "")\"")
      if !isTarget { found.add(file, nil, "no target of Package.swift has its folder") }
    }
    #expect(found.isEmpty, "\(found.report)")
  }

  @Test func everyOtherFileIsNamedBySomething() {
    // What people and services look for by name.
    let known: Set = ["README.md", "LICENSE", "Package.swift", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"]
    var found = Findings()
    for file in Repository.shared.files {
      if known.contains(file.name) || file.path.hasPrefix(".ci/") || Self.isTakenWhole(file.path) { continue }
      if ["Sources", "Tests"].contains(String(file.path.prefix { $0 != "/" })) && ["swift", "c"].contains(file.ext) {
        continue
      }
      if file.name == "module.modulemap" && file.path.hasPrefix("Sources/") { continue }
      // Guests are built by the pattern of their names.
      if ["firmware/guests/", "firmware/workload/"].contains(where: file.path.hasPrefix) && file.ext == "c" {
        continue
      }
      // A target's umbrella header has its name.
      if file.ext == "h" && file.name == (file.target ?? "") + ".h" { continue }
      if !Self.isNamed(file) && !Self.isMadeOfASource(file) { found.add(file, nil, "nothing names it") }
    }
    #expect(found.isEmpty, "\(found.report)")
  }
}
