import Machine

/// How values are written in TOML.
enum TOMLText {
  static func isBare(_ scalar: Unicode.Scalar) -> Bool {
    scalar.isASCII && (scalar.properties.isAlphabetic || ("0"..."9").contains(scalar) || scalar == "_" || scalar == "-")
  }

  static func key(_ key: String) -> String {
    !key.isEmpty && key.unicodeScalars.allSatisfy(isBare) ? key : string(key)
  }

  static func string(_ text: String) -> String {
    var result = "\""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"": result += "\\\""
      case "\\": result += "\\\\"
      case "\n": result += "\\n"
      case "\t": result += "\\t"
      case "\r": result += "\\r"
      default:
        let isPlain =
          scalar.value >= 32 && !(0x7F...0x9F).contains(scalar.value) && !(0x2028...0x2029).contains(scalar.value)
        if isPlain {
          result.unicodeScalars.append(scalar)
        } else {
          let digits = String(scalar.value, radix: 16, uppercase: true)
          result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
        }
      }
    }
    return result + "\""
  }

  /// A value on one line. Tables are in braces, their keys in the schema's order.
  static func value(_ value: SettingValue, _ key: SettingKey) -> String {
    switch (value, key.schema) {
    case (.text(let text), _): return string(text)
    case (.number(let number), _):
      return key.isHexadecimal && number >= 0 ? "0x" + String(number, radix: 16) : String(number)
    case (.flag(let isOn), _): return isOn ? "true" : "false"
    case (.list(let values), .list(let schema)):
      var element = SettingKey("", schema)
      element.isHexadecimal = key.isHexadecimal
      return "[" + values.map { Self.value($0, element) }.joined(separator: ", ") + "]"
    case (.table(let entries), .table(let keys)):
      let pairs = keys.compactMap { key in entries[key.name].map { "\(Self.key(key.name)) = \(Self.value($0, key))" } }
      return pairs.isEmpty ? "{}" : "{ " + pairs.joined(separator: ", ") + " }"
    case (.list, _), (.table, _): return string(value.plainText)
    }
  }

  /// A table as a section and sections below it.
  /// - Parameter path: the section's name; empty for the top of a file, which has no header.
  static func section(_ entries: [String: SettingValue], _ keys: [SettingKey], path: [String], isElement: Bool = false)
    -> String
  {
    let name = path.map(key).joined(separator: ".")
    var result = path.isEmpty ? "" : isElement ? "[[\(name)]]\n" : "[\(name)]\n"
    var below = ""
    for key in keys {
      guard let value = entries[key.name] else { continue }
      switch (value, key.schema) {
      case (.table(let table), .table(let keys)): below += "\n" + section(table, keys, path: path + [key.name])
      case (.list(let elements), .list(.table(let keys))) where !elements.isEmpty:
        for case .table(let element) in elements {
          below += "\n" + section(element, keys, path: path + [key.name], isElement: true)
        }
      // An empty list says something only where a missing one would mean something else.
      case (.list([]), .list(.table)) where key.fallback == .list([]): break
      default: result += "\(Self.key(key.name)) = \(Self.value(value, key))\n"
      }
    }
    return result + below
  }
}

extension SettingValue {
  fileprivate var plainText: String { if case .text(let text) = self { text } else { "" } }
}
