import Foundation
import SavedState
import Teleport

/// What is different between two states, for people and programs.
public struct StateDifference: Codable, Equatable, Sendable {
  /// One value, or all of a section.
  public struct Entry: Codable, Equatable, Sendable {
    /// The section.
    public var section: String
    /// The value's path in it; nil: the section itself is there only once, or is of another kind.
    public var path: String?
    /// What the first has, as text; nil: nothing.
    public var first: String?
    /// What the second has, as text; nil: nothing.
    public var second: String?
  }

  /// Pages of memory that differ, next to each other.
  public struct PageRun: Codable, Equatable, Sendable {
    /// The first page's number.
    public var first: Int
    /// How many.
    public var count: Int
  }

  /// In the order of the first state.
  public var entries: [Entry] = []
  /// In memory; nil: it was not compared, or the sizes differ.
  public var pages: [PageRun]?
  /// Pages of memory, where the sizes differ.
  public var sizes: [Int]?

  /// Whether the two are equal.
  public var isEmpty: Bool { entries.isEmpty && (pages ?? []).isEmpty && sizes == nil }

  /// - Parameters: first, second: a state without the hardware's description, one of a running machine, is compared without it.
  public init(_ first: StateContents, _ second: StateContents) {
    let names = Set(first.sections.map(\.name)).symmetricDifference(second.sections.map(\.name))
    func sections(_ contents: StateContents) -> [StateSection] {
      contents.sections.filter { $0.kind != "hardware-description" || !names.contains($0.name) }
    }
    let others = Dictionary(sections(second).map { ($0.name, $0) }) { first, _ in first }
    var seen: Set<String> = []
    for section in sections(first) {
      seen.insert(section.name)
      compare(section, others[section.name])
    }
    for section in sections(second) where !seen.contains(section.name) { compare(nil, section) }
    guard !first.pages.isEmpty, !second.pages.isEmpty else { return }
    guard first.pages.count == second.pages.count else {
      sizes = [first.pages.count, second.pages.count]
      return
    }
    pages = Self.runs(first.pages, second.pages)
  }

  private static func runs(_ first: [UInt64], _ second: [UInt64]) -> [PageRun] {
    var runs: [PageRun] = []
    for page in first.indices where first[page] != second[page] {
      if let last = runs.last, last.first + last.count == page {
        runs[runs.count - 1].count += 1
      } else {
        runs.append(PageRun(first: page, count: 1))
      }
    }
    return runs
  }

  private mutating func compare(_ first: StateSection?, _ second: StateSection?) {
    guard first != second else { return }
    func title(_ section: StateSection) -> String { "\(section.kind) version \(section.version)" }
    let name = first?.name ?? second?.name ?? ""
    if first.map(title) != second.map(title) {
      entries.append(Entry(section: name, path: nil, first: first.map(title), second: second.map(title)))
    }
    guard let first, let second else { return }
    let ours = StateReport.Section(first).fields.leaves()
    let theirs = StateReport.Section(second).fields.leaves()
    let values = Dictionary(theirs) { first, _ in first }
    var seen: Set<String> = []
    for (path, value) in ours {
      seen.insert(path)
      let other = values[path]
      if other != value { entries.append(Entry(section: name, path: path, first: value.text, second: other?.text)) }
    }
    for (path, value) in theirs where !seen.contains(path) {
      entries.append(Entry(section: name, path: path, first: nil, second: value.text))
    }
    guard first.blob != second.blob else { return }
    func size(_ blob: Data) -> String { "\(blob.count) bytes" }
    guard first.blob.count == second.blob.count else {
      return entries.append(
        Entry(section: name, path: "bytes", first: size(first.blob), second: size(second.blob)))
    }
    var (count, start) = (0, 0)
    for (offset, (ours, theirs)) in zip(first.blob, second.blob).enumerated() where ours != theirs {
      if count == 0 { start = offset }
      count += 1
    }
    let offset = String(start, radix: 16)
    entries.append(
      Entry(
        section: name, path: "bytes", first: size(first.blob),
        second: "\(size(second.blob)), \(count) of them others, from 0x\(offset) on"))
  }

  /// For people: a line for each value.
  public var text: String {
    if isEmpty { return "no difference" }
    var lines = entries.map { entry in
      "\(entry.section)\(entry.path.map { ".\($0)" } ?? ""): \(entry.first ?? "nothing") -> \(entry.second ?? "nothing")"
    }
    if let sizes { lines.append("memory: \(sizes[0]) pages -> \(sizes[1]) pages") }
    if let pages, !pages.isEmpty {
      let most = 16
      let places = pages.prefix(most).map { run in
        let (start, end) = (run.first * PageChunk.pageSize, (run.first + run.count) * PageChunk.pageSize - 1)
        return "0x\(String(start, radix: 16))-0x\(String(end, radix: 16))"
      }
      lines.append(
        "memory: \(pages.reduce(0) { $0 + $1.count }) pages differ: \(places.joined(separator: ", "))"
          + (pages.count > most ? ", ... \(pages.count) runs in all" : ""))
    }
    return lines.map { ForeignText.clean($0) }.joined(separator: "\n")
  }
}
