import Testing

/// What `swift format lint` does not look at: comments, C, scripts, the length of files.
@Suite struct TextTests {
  /// Columns of a line. Code is formatted to 120; a comment's last word may stand over. A line that quotes text is as long
  /// as the text.
  private static let columns = 128
  /// Lines of a source file: one purpose, one sitting to read it. Most are under 300.
  private static let longest = 640
  private static let usual = 300

  private static let sources = Repository.shared.files.filter { file in
    let isText = ["swift", "c", "h", "S", "sh", "awk", "ld"].contains(file.ext)
    return isText || file.path.hasPrefix("scripts/") || file.path.hasPrefix(".ci/")
  }

  @Test func thereAreSources() {
    #expect(Self.sources.count > 300)
  }

  @Test func linesAreShort() {
    var found = Findings()
    for file in Self.sources {
      for (number, line) in file.lines.enumerated() where line.utf8.count > Self.columns {
        if line.count <= Self.columns || line.contains("\"") || line.contains("\\(") { continue }
        found.add(file, number, "\(line.count) columns, at most \(Self.columns)")
      }
    }
    #expect(found.isEmpty, "\(found.report)")
  }

  @Test func filesAreShort() {
    var found = Findings()
    for file in Self.sources where file.lines.count > Self.longest {
      found.add(file, nil, "\(file.lines.count) lines, at most \(Self.longest): it has two purposes")
    }
    #expect(found.isEmpty, "\(found.report)")
    let long = Self.sources.filter { $0.lines.count > Self.usual }.count
    #expect(long * 8 < Self.sources.count, "\(long) of \(Self.sources.count) files have more than \(Self.usual) lines")
  }

  @Test func nothingTrailsAndNoTabIndents() {
    var found = Findings()
    for file in Self.sources {
      for (number, line) in file.lines.enumerated() {
        if line.hasSuffix(" ") || line.hasSuffix("\t") { found.add(file, number, "ends with white space") }
        if line.hasPrefix("\t") { found.add(file, number, "is indented with a tab") }
      }
    }
    #expect(found.isEmpty, "\(found.report)")
  }

  /// What is left to do is in an issue: a note in the code names it.
  @Test func notesNameAnIssue() {
    let words = ["TO" + "DO", "FIX" + "ME"]
    var found = Findings()
    for file in Repository.shared.files {
      for (number, line) in file.lines.enumerated() where words.contains(where: { line.contains($0) }) {
        let after = line.split(separator: "#").dropFirst().first?.first
        if after?.isNumber != true { found.add(file, number, "a note without the number of an issue (#12)") }
      }
    }
    #expect(found.isEmpty, "\(found.report)")
  }
}
