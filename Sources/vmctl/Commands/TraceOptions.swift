import ArgumentParser
import Machine

/// What is to be traced, as words of a command line.
struct TraceWords {
  static let events = TraceRequest.Kind.allCases.map(\.rawValue).joined(separator: ", ")
  static let rangeHelp = "linear addresses of the code, hexadecimal: FIRST-LAST"

  var events: String?
  var range: String?
  var limit: Int?
  /// In front of the options' names.
  var prefix = ""

  var isEmpty: Bool { events == nil && range == nil && limit == nil }

  func request() throws -> TraceRequest {
    let words = (events ?? "instructions,exceptions,interrupts").split(separator: ",").map(String.init)
    let kinds = try words.map { word in
      guard let kind = TraceRequest.Kind(rawValue: word) else {
        throw ValidationError("--\(prefix)events has no \"\(word)\": it takes \(Self.events), with commas between them")
      }
      return kind
    }
    if let limit, limit < 1 { throw ValidationError("--\(prefix)limit is at least 1 line") }
    return TraceRequest(Set(kinds), addresses: try addresses(), limit: limit)
  }

  private func addresses() throws -> ClosedRange<UInt64>? {
    guard let range else { return nil }
    let ends = range.split(separator: "-").map { word in
      UInt64(word.hasPrefix("0x") ? word.dropFirst(2) : word[...], radix: 16)
    }
    guard ends.count == 2, let first = ends[0], let last = ends[1], first <= last else {
      throw ValidationError("--\(prefix)range is two addresses: ffffffff81000000-ffffffff81ffffff")
    }
    return first...last
  }
}
