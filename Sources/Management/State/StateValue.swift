import Foundation

/// A value in the fields of a state's section.
public indirect enum StateValue: Codable, Equatable, Sendable {
  case null
  case flag(Bool)
  /// Registers have 64 bits, which a floating-point number cannot hold.
  case number(UInt64)
  case negative(Int64)
  case fraction(Double)
  case text(String)
  case list([StateValue])
  case table([String: StateValue])

  /// Whatever JSON there is.
  /// - Throws: what the decoder throws.
  public init(from decoder: any Decoder) throws {
    let value = try decoder.singleValueContainer()
    if value.decodeNil() {
      self = .null
    } else if let flag = try? value.decode(Bool.self) {
      self = .flag(flag)
    } else if let number = try? value.decode(UInt64.self) {
      self = .number(number)
    } else if let number = try? value.decode(Int64.self) {
      self = .negative(number)
    } else if let number = try? value.decode(Double.self) {
      self = .fraction(number)
    } else if let text = try? value.decode(String.self) {
      self = .text(text)
    } else if let list = try? value.decode([StateValue].self) {
      self = .list(list)
    } else {
      self = .table(try value.decode([String: StateValue].self))
    }
  }

  /// As it was read.
  /// - Throws: what the encoder throws.
  public func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    switch self {
    case .null: try container.encodeNil()
    case .flag(let value): try container.encode(value)
    case .number(let value): try container.encode(value)
    case .negative(let value): try container.encode(value)
    case .fraction(let value): try container.encode(value)
    case .text(let value): try container.encode(value)
    case .list(let value): try container.encode(value)
    case .table(let value): try container.encode(value)
    }
  }

  /// For a line of text. Numbers of more than three digits are hexadecimal, too, as registers and addresses are known.
  var text: String {
    switch self {
    case .null: "null"
    case .flag(let value): value ? "true" : "false"
    case .number(let value): value < 1000 ? "\(value)" : "\(value) (0x\(String(value, radix: 16)))"
    case .negative(let value): "\(value)"
    case .fraction(let value): "\(value)"
    case .text(let value): "\"\(value)\""
    case .list(let values): "[" + values.map(\.text).joined(separator: ", ") + "]"
    case .table(let values):
      "{" + values.sorted { $0.key < $1.key }.map { "\($0.key): \($0.value.text)" }.joined(separator: ", ") + "}"
    }
  }

  /// Everything in it that has no parts, by its path ("a.b", "a[3]"), in order.
  func leaves(at path: String = "") -> [(path: String, value: StateValue)] {
    switch self {
    case .table(let values) where !values.isEmpty:
      values.sorted { $0.key < $1.key }.flatMap { $1.leaves(at: path.isEmpty ? $0 : "\(path).\($0)") }
    case .list(let values) where !values.isEmpty:
      values.enumerated().flatMap { $1.leaves(at: "\(path)[\($0)]") }
    default: [(path, self)]
    }
  }

  /// The lines that show it: a list of values without parts is one line, of the first so many.
  func lines(at path: String = "", most: Int = 16) -> [String] {
    switch self {
    case .table(let values) where !values.isEmpty:
      return values.sorted { $0.key < $1.key }.flatMap { $1.lines(at: path.isEmpty ? $0 : "\(path).\($0)", most: most) }
    case .list(let values) where values.contains(where: \.hasParts):
      return values.enumerated().flatMap { $1.lines(at: "\(path)[\($0)]", most: most) }
    case .list(let values) where values.count > most:
      let first = values.prefix(most).map(\.text).joined(separator: ", ")
      return ["\(path): [\(first), ... \(values.count) in all]"]
    default: return ["\(path): \(text)"]
    }
  }

  private var hasParts: Bool {
    switch self {
    case .list(let values): !values.isEmpty
    case .table(let values): !values.isEmpty
    default: false
    }
  }
}
