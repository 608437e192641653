import Machine

/// Checks what a definition file holds against the keys that the settings describe: unknown keys, missing ones, values of
/// the wrong kind. What passes can be taken in without surprises.
enum DefinitionSchema {
  static func expectation(_ schema: SettingSchema) -> String {
    switch schema {
    case .text: "a text in quotes"
    case .choice(let values): "one of " + values.map { "\"\($0)\"" }.joined(separator: ", ")
    case .flag: "true or false"
    case .number(let range): "a number from \(range.lowerBound) to \(range.upperBound)"
    case .oneOf(let values): "one of " + values.map(String.init).joined(separator: ", ")
    case .list(.table): "a table in double brackets"
    case .list(let element): "a list, each element \(expectation(element))"
    case .table: "a table"
    }
  }

  /// The first thing in `value` that the schema does not allow.
  static func problem(in value: SettingValue, _ key: SettingKey, path: [String]) -> DefinitionProblem? {
    let name = path.last { Int($0) == nil } ?? ""
    let wrong = DefinitionProblem(path: path, message: "\"\(name)\" must be \(expectation(key.schema))")
    switch (key.schema, value) {
    case (.text, .text), (.flag, .flag): return nil
    case (.choice(let allowed), .text(let text)): return allowed.contains(text) ? nil : wrong
    case (.number(let range), .number(let number)): return range.contains(number) ? nil : wrong
    case (.oneOf(let values), .number(let number)): return values.contains(number) ? nil : wrong
    case (.list(let schema), .list(let elements)):
      for (index, element) in elements.enumerated() {
        let found = problem(in: element, SettingKey("", schema), path: path + [String(index)])
        if let found { return found }
      }
      return nil
    case (.table(let keys), .table(let entries)): return problem(in: entries, keys, path: path)
    default: return wrong
    }
  }

  private static func problem(
    in entries: [String: SettingValue], _ keys: [SettingKey], path: [String]
  ) -> DefinitionProblem? {
    let words = path.filter { Int($0) == nil }
    let place = words.isEmpty ? "" : " in \(words.joined(separator: "."))"
    for name in entries.keys.sorted() {
      guard let key = keys.first(where: { $0.name == name }) else {
        let allowed = keys.map(\.name).joined(separator: ", ")
        return DefinitionProblem(
          path: path + [name], message: "unknown key \"\(name)\"\(place); allowed are \(allowed)")
      }
      if let value = entries[name], let found = problem(in: value, key, path: path + [name]) { return found }
    }
    for key in keys where key.isRequired && entries[key.name] == nil {
      return DefinitionProblem(path: path, message: "the key \"\(key.name)\" is missing\(place)")
    }
    return nil
  }
}
