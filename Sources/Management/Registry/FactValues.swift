import Machine

/// A fact with its type, as `showvminfo --format json` prints it.
public enum FactValue: Encodable, Equatable, Sendable {
  case text(String)
  case number(Int)
  case flag(Bool)
  /// Of facts whose keys differ by a number in parentheses only: "Forwarding(0)", "Forwarding(1)".
  case list([FactValue])

  public func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    switch self {
    case .text(let value): try container.encode(value)
    case .number(let value): try container.encode(value)
    case .flag(let value): try container.encode(value)
    case .list(let values): try container.encode(values)
    }
  }
}

extension VMFact {
  private var typed: FactValue {
    if isNumber, let number = Int(value) { return .number(number) }
    if isSwitch, ["on", "off"].contains(value) { return .flag(value == "on") }
    return .text(value)
  }

  /// The key without its number in parentheses; nil: it has none.
  private var listKey: String? {
    guard key.hasSuffix(")"), let open = key.lastIndex(of: "("), Int(key[key.index(after: open)...].dropLast()) != nil
    else {
      return nil
    }
    return String(key[..<open])
  }

  /// Facts by their keys, with types: numbers, booleans for "on" and "off", arrays.
  public static func typed(_ facts: [VMFact]) -> [String: FactValue] {
    var values: [String: FactValue] = [:]
    for fact in facts {
      guard let key = fact.listKey else {
        values[fact.key] = values[fact.key] ?? fact.typed
        continue
      }
      guard case .list(let list)? = values[key] else {
        values[key] = .list([fact.typed])
        continue
      }
      values[key] = .list(list + [fact.typed])
    }
    return values
  }

  /// The JSON schema (2020-12) of `typed`: every setting's key with its type, and the patterns of the others.
  public static var schema: String {
    var lines: [String] = []
    var patterns: [String] = []
    for setting in VMDefinition.settings where !["cpuid", "storage"].contains(setting.name) {
      guard setting.group != .network || setting.fact.last?.isNumber != true || setting.fact.hasSuffix("1") else {
        continue
      }
      let type = setting.form.isNumber ? "integer" : setting.hasSwitchFact ? "boolean" : "string"
      if setting.group == .network, setting.fact.hasSuffix("1") {
        let kind = String(setting.fact.dropLast())
        if kind != "Forwarding" { patterns.append("    \"^\(kind)[1-8]$\": { \"type\": \"\(type)\" }") }
      } else {
        lines.append("    \"\(setting.fact)\": { \"type\": \"\(type)\", \"title\": \"\(setting.label)\" }")
      }
    }
    for (key, type, label) in own {
      lines.append("    \"\(key)\": { \"type\": \"\(type)\", \"title\": \"\(label)\" }")
    }
    for (pattern, type) in families { patterns.append("    \"\(pattern)\": { \"type\": \"\(type)\" }") }
    return """
      {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "vmctl showvminfo --format json",
        "description": "Keys that are not there have nothing to say. Keys may be added; none changes its type.",
        "type": "object",
        "required": ["name", "UUID", "VMState"],
        "properties": {
      \(lines.sorted().joined(separator: ",\n"))
        },
        "patternProperties": {
      \(patterns.sorted().joined(separator: ",\n"))
        }
      }

      """
  }

  /// Keys that are no setting's.
  private static let own: [(String, String, String)] = [
    ("name", "string", "Name"), ("UUID", "string", "UUID"), ("description", "string", "Description"),
    ("CfgFile", "string", "Definition"), ("LogFldr", "string", "Log"), ("VMState", "string", "State"),
    ("VMStateChangeTime", "string", "Since"), ("VMStateReason", "string", "Reason"),
    ("VMProcess", "integer", "Process"), ("VMProcessSilence", "string", "Process is silent"),
    ("ReplicationRole", "string", "Replication role"), ("ReplicationState", "string", "Replication state"),
    ("ReplicationEpoch", "integer", "Replication epoch"), ("ReplicationLagMS", "integer", "Replication lag"),
    ("ReplicationPauseMS", "integer", "Replication pause"),
    ("ReplicationHeldBytes", "integer", "Replication output held"), ("ReplicationPeer", "string", "Replication peer"),
    ("ReplicationWitness", "string", "Replication witness"), ("ReplicationReason", "string", "Replication reason"),
    ("teleportphase", "string", "Teleport phase"), ("teleportprogress", "string", "Teleport progress"),
    ("teleportbytes", "integer", "Teleport bytes"),
    ("teleportremainingpages", "integer", "Teleport pages remaining"),
    ("teleportindoubt", "string", "Teleport in doubt"), ("anchor", "array", "Anchors"),
    ("anchorprocess", "array", "Anchor processes"),
  ]

  /// Keys with a number or a name in them: cards, serial ports, controllers.
  private static let families: [(String, String)] = [
    ("^uartport[1-4]$", "integer"), ("^virtioconsoleport$", "integer"), ("^cpuid[0-9]+$", "string"),
    ("^Forwarding[2-8]?$", "array"),
    ("^(CurrentSnapshot(Name|UUID|Node)|Snapshot(Name|UUID|Description)(-[0-9]+)*)$", "string"),
    ("^storagecontroller(name|type)[0-9]+$", "string"), ("^.+-(type-|mode-|format-)?[0-9]+-[0-9]+$", "string"),
    ("^nic(network|link|traceactive)[1-8]$", "string"),
    ("^nic(frames|bytes)(sent|received)[1-8]$", "integer"), ("^nic(send|receive)drops[1-8]$", "integer"),
    ("^nat(restarts|carried|resets)[1-8]$", "integer"), ("^natflows[1-8]$", "string"),
    ("^nat(carrier|flow)[1-8]$", "array"),
  ]
}

extension Setting<VMDefinition> {
  /// Its fact is "on" or "off". What a running machine's sandbox is made of is told in words.
  var hasSwitchFact: Bool { form.isFlag && name != "sandbox" }
}

extension SettingForm {
  var isNumber: Bool {
    switch self {
    case .number, .oneOf: true
    default: false
    }
  }

  var isFlag: Bool {
    if case .flag = self { return true }
    return false
  }
}
