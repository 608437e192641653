/// A value as a definition file holds it.
public indirect enum SettingValue: Equatable, Sendable {
  case text(String)
  case number(Int)
  case flag(Bool)
  case list([SettingValue])
  /// By key. A key that is not there has its default.
  case table([String: SettingValue])

  /// What a table has under a key; nil: nothing, or it is no table.
  public subscript(key: String) -> SettingValue? {
    if case .table(let entries) = self { return entries[key] }
    return nil
  }
}

/// What values a key of a definition file may have.
public indirect enum SettingSchema: Sendable {
  case text
  case choice([String])
  case flag
  case number(ClosedRange<Int>)
  /// One of a few numbers.
  case oneOf([Int])
  case list(SettingSchema)
  case table([SettingKey])
}

/// A key in a table of a definition file.
public struct SettingKey: Sendable {
  /// As it stands in the file.
  public var name: String
  /// What may stand there.
  public var schema: SettingSchema
  /// A table without it is refused.
  public var isRequired = false
  /// In a list of tables: the elements differ in these.
  public var isIdentity = false
  /// Numbers are written in hexadecimal.
  public var isHexadecimal = false
  /// What a file without this key means; nil: nothing.
  public var fallback: SettingValue?

  /// A key that may be missing.
  public init(_ name: String, _ schema: SettingSchema, fallback: SettingValue? = nil) {
    self.name = name
    self.schema = schema
    self.fallback = fallback
  }
}

/// Why a setting does not take what it was given. Who knows how the user gave it puts it in words.
public enum SettingFailure: Error, Equatable, Sendable {
  /// The words are not of the setting's form at all.
  case malformed(words: [String], expected: SettingForm)
  /// A number that is none of those possible.
  case outOfRange(Int, expected: SettingForm)
  /// A device that is not there has no further settings; `presence` names the setting that makes it.
  case absent(device: String, presence: String)
  /// A text that must have the form `expected`.
  case form(text: String, expected: String)
  /// A text that says something impossible.
  case refused(text: String, reason: String)
}

/// What a setting takes, as far as a message about it must say it.
public enum SettingForm: Equatable, Sendable {
  case text
  case choice([String])
  case flag
  case number(ClosedRange<Int>)
  case oneOf([Int])
  /// The path of a file, or the word that stands for none.
  case file(none: String)
  /// Several words, such as "off | IOBASE IRQ", with an example.
  case words(String, example: String)

  var schema: SettingSchema {
    switch self {
    case .text, .file, .words: .text
    case .choice(let values): .choice(values)
    case .flag: .flag
    case .number(let range): .number(range)
    case .oneOf(let values): .oneOf(values)
    }
  }

  /// Whether words have this form.
  public func check(_ words: [String]) throws(SettingFailure) { _ = try parse(words) }

  /// Words as a user types them: "on" and "off", numbers decimal or, after 0x, hexadecimal.
  func parse(_ words: [String]) throws(SettingFailure) -> SettingValue {
    let malformed = SettingFailure.malformed(words: words, expected: self)
    guard words.count == 1 else {
      guard !words.isEmpty else { throw malformed }
      switch self {
      case .text, .words: return .text(words.joined(separator: " "))
      default: throw malformed
      }
    }
    switch self {
    case .text, .file, .words: return .text(words[0])
    case .choice(let values):
      guard values.contains(words[0]) else { throw malformed }
      return .text(words[0])
    case .flag:
      guard words[0] == "on" || words[0] == "off" else { throw malformed }
      return .flag(words[0] == "on")
    case .number(let range):
      guard let number = Number.parse(words[0]) else { throw malformed }
      guard range.contains(number) else { throw .outOfRange(number, expected: self) }
      return .number(number)
    case .oneOf(let values):
      guard let number = Number.parse(words[0]) else { throw malformed }
      guard values.contains(number) else { throw .outOfRange(number, expected: self) }
      return .number(number)
    }
  }
}

extension SettingValue {
  /// As a user types it and as `showvminfo` tells it.
  func word(hexadecimal: Bool = false) -> String {
    switch self {
    case .text(let text): text
    case .number(let number): hexadecimal ? "0x" + String(number, radix: 16) : String(number)
    case .flag(let isOn): isOn ? "on" : "off"
    case .list(let values): values.map { $0.word() }.joined(separator: " ")
    case .table(let entries):
      entries.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value.word())" }.joined(separator: " ")
    }
  }
}

/// Numbers as users write them: decimal, or hexadecimal after 0x.
public enum Number {
  /// nil for what is no number or is negative.
  public static func parse(_ text: String) -> Int? {
    let isHexadecimal = text.hasPrefix("0x") || text.hasPrefix("0X")
    let digits = isHexadecimal ? text.dropFirst(2) : text[...]
    guard digits.first.map({ $0.isASCII && $0.isHexDigit }) == true else { return nil }
    return Int(digits, radix: isHexadecimal ? 16 : 10)
  }
}
