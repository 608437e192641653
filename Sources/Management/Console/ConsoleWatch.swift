import Foundation

/// Finds a text in bytes that come piece by piece (Knuth, Morris and Pratt).
struct TextWatch {
  private let text: [UInt8]
  private let fallbacks: [Int]
  private var matched = 0

  init(_ text: String) {
    self.text = Array(text.utf8)
    var fallbacks = [0]
    var length = 0
    for byte in self.text.dropFirst() {
      while length > 0 && self.text[length] != byte { length = fallbacks[length - 1] }
      if self.text[length] == byte { length += 1 }
      fallbacks.append(length)
    }
    self.fallbacks = fallbacks
  }

  /// Whether the text ends within these bytes. An empty one is never found.
  mutating func isFound(in bytes: some Sequence<UInt8>) -> Bool {
    guard !text.isEmpty else { return false }
    for byte in bytes {
      while matched > 0 && text[matched] != byte { matched = fallbacks[matched - 1] }
      if text[matched] == byte { matched += 1 }
      if matched == text.count {
        matched = fallbacks[matched - 1]
        return true
      }
    }
    return false
  }
}

/// The keys of a terminal that is a guest's, but for those behind ^A: x ends the machine, b is a break, ^A is one for the
/// guest.
struct PrefixKeys {
  private var isBehind = false
  private var breaks = 0

  /// How many breaks were asked for, once.
  mutating func takeBreaks() -> Int {
    defer { breaks = 0 }
    return breaks
  }

  /// - Returns: what the guest gets, and whether they leave.
  mutating func take(_ keys: some Sequence<UInt8>) -> (guest: [UInt8], leaves: Bool) {
    var guest: [UInt8] = []
    for key in keys {
      if !isBehind {
        if key == 1 { isBehind = true } else { guest.append(key) }
        continue
      }
      isBehind = false
      if key == UInt8(ascii: "x") { return (guest, true) }
      if key == UInt8(ascii: "b") { breaks += 1 } else { guest += key == 1 ? [1] : [1, key] }
    }
    return (guest, false)
  }
}
