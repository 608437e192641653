/// Texts in the columns of a terminal, where a character is one or two wide, or none.
public struct TextColumns: Sendable {
  /// Columns of a code point; below 0: it cannot be shown.
  private let width: @Sendable (Unicode.Scalar) -> Int

  /// - Parameter width: columns of a code point, as wcwidth(3) of the terminal's locale says; below 0: it cannot be shown.
  public init(_ width: @escaping @Sendable (Unicode.Scalar) -> Int) { self.width = width }

  /// How wide a text is.
  public func count(_ text: String) -> Int { text.unicodeScalars.reduce(0) { $0 + columns($1) } }

  private func columns(_ scalar: Unicode.Scalar) -> Int {
    let own = width(scalar)
    return own < 0 ? 1 : own
  }

  /// The text in exactly so many columns: cut, with a mark at the end, or filled up. What cannot be shown is a question mark.
  public func fit(_ text: String, _ count: Int) -> String {
    guard count > 0 else { return "" }
    var shown = String.UnicodeScalarView()
    var used = 0
    var scalars = text.unicodeScalars[...]
    while let scalar = scalars.first {
      let own = columns(scalar)
      guard used + own <= count else { break }
      shown.append(width(scalar) < 0 ? "?" : scalar)
      used += own
      scalars.removeFirst()
    }
    if !scalars.isEmpty {
      while used > count - 1, let last = shown.popLast() { used -= columns(last) }
      shown.append("~")
      used += 1
    }
    return String(shown) + String(repeating: " ", count: count - used)
  }

  /// Lines of at most so many columns, parted between words where that is possible.
  public func wrap(_ text: String, _ count: Int) -> [String] {
    var lines: [String] = []
    var line = ""
    for word in text.split(separator: " ", omittingEmptySubsequences: false).map(String.init) {
      let longer = line.isEmpty ? word : line + " " + word
      if self.count(longer) <= count || line.isEmpty {
        line = longer
      } else {
        lines.append(line)
        line = word
      }
    }
    return lines + [line]
  }
}
