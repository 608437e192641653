import Testing

/// The house in docs/architecture.md, top floor first: what is on a floor imports floors below it only.
@Suite struct LayeringTests {
  /// Floor of each target, 0 at the top, as the drawing in docs/architecture.md has them.
  private static let floors: [String: Int] = {
    let targets = Set(Repository.shared.files(under: "Sources", "swift", "c", "h").compactMap(\.target))
    var floors: [String: Int] = [:]
    var floor = 0
    var isDrawing = false
    for line in Repository.shared.text("docs/architecture.md") {
      // The drawing is the first block of indented lines; a line whose first word is no target goes on with the one above.
      if !line.hasPrefix("    ") {
        if isDrawing && !line.isEmpty { break }
        continue
      }
      isDrawing = true
      guard line.dropFirst(4).first?.isWhitespace == false else { continue }
      let named = line.split(separator: " ").map(String.init).prefix { targets.contains($0) }
      for name in named { floors[name] = floor }
      floor += 1
    }
    return floors
  }()

  /// Modules of ours that only wrap a C library of the system: everybody may use them.
  private static let libraries: Set<String> = Set(
    Repository.shared.files(under: "Sources", "modulemap").compactMap { file in
      file.lines.contains { $0.contains("[system]") } ? file.target : nil
    })

  @Test func everyTargetHasItsFloor() {
    let targets = Set(Repository.shared.files(under: "Sources", "swift", "c").compactMap(\.target))
    #expect(targets.count > 8)
    for target in targets.subtracting(Self.libraries) {
      #expect(Self.floors[target] != nil, "\(target) is not in the drawing of docs/architecture.md")
    }
  }

  @Test func importsPointDown() {
    var found = Findings()
    for file in Repository.shared.files(under: "Sources", "swift") {
      guard let target = file.target, let floor = Self.floors[target] else { continue }
      for (number, line) in file.lines.enumerated() {
        let words = line.split(separator: " ").filter { !$0.hasPrefix("@") && $0 != "public" && $0 != "internal" }
        guard words.first == "import", let module = words.last.map(String.init) else { continue }
        guard let other = Self.floors[module], module != target else { continue }
        if other <= floor { found.add(file, number, "\(target) must not import \(module), which is not below it") }
      }
    }
    #expect(found.isEmpty, "\(found.report)")
  }
}
