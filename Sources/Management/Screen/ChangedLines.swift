/// What has changed in a picture since somebody was told last: of each line, from where to where.
struct ChangedLines {
  private var parts: [Range<Int>?]
  private let width: Int
  private var first: Int
  private var end = 0

  init(width: Int, height: Int) {
    self.width = width
    parts = Array(repeating: nil, count: height)
    first = height
  }

  var isEmpty: Bool { first >= end }

  mutating func add(line: Int, _ part: Range<Int>) {
    guard parts.indices.contains(line), !part.isEmpty else { return }
    if let before = parts[line] {
      parts[line] = Self.union(before, part)
    } else {
      parts[line] = part
    }
    first = min(first, line)
    end = max(end, line + 1)
  }

  mutating func addAll() {
    for line in parts.indices { parts[line] = 0..<width }
    first = 0
    end = parts.count
  }

  /// The changes as rectangles, neighbouring lines together; then there are none any more.
  mutating func takeRectangles() -> [ScreenRectangle] {
    var rectangles: [ScreenRectangle] = []
    // Neighbouring lines with changes, and from where to where one of them has changed.
    var block: (from: Int, part: Range<Int>)?
    for line in first..<max(first, end) {
      guard let part = parts[line] else {
        if let block { Self.add(block.part, block.from..<line, to: &rectangles) }
        block = nil
        continue
      }
      parts[line] = nil
      block = (block?.from ?? line, block.map { Self.union($0.part, part) } ?? part)
    }
    if let block { Self.add(block.part, block.from..<end, to: &rectangles) }
    first = parts.count
    end = 0
    return rectangles
  }

  /// When there is no room for another rectangle the last one grows.
  private static func add(_ part: Range<Int>, _ lines: Range<Int>, to rectangles: inout [ScreenRectangle]) {
    var (part, lines) = (part, lines)
    if rectangles.count == ScreenProtocol.rectangleLimit, let last = rectangles.popLast() {
      part = union(part, last.x..<last.x + last.width)
      lines = last.y..<lines.upperBound
    }
    rectangles.append(ScreenRectangle(x: part.lowerBound, y: lines.lowerBound, width: part.count, height: lines.count))
  }

  private static func union(_ one: Range<Int>, _ other: Range<Int>) -> Range<Int> {
    min(one.lowerBound, other.lowerBound)..<max(one.upperBound, other.upperBound)
  }
}
