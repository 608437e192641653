/// What the menu asks before it does something that needs more than a machine.
public struct MenuForm: Equatable, Sendable {
  /// What it is for.
  public enum Purpose: Equatable, Sendable {
    /// A machine is made, or made a service.
    case add
    /// The machine of this name goes to another host.
    case teleport(String)
    /// Another host is to go on with the machine of this name when this one fails.
    case protect(String)
  }

  /// One line to fill in.
  public struct Field: Equatable, Sendable {
    enum Kind: Equatable, Sendable {
      case text, secret
      case number(ClosedRange<Int>)
      case choice([String])
      case witness
    }
    /// What is asked.
    public let label: String
    /// What is typed, or chosen.
    public internal(set) var value: String
    let kind: Kind
    var mayBeEmpty = false

    var shown: String {
      switch kind {
      case .secret: String(repeating: "*", count: value.count)
      case .choice: "< \(value) >"
      case .text, .number, .witness: value
      }
    }
  }

  enum Outcome { case stays, cancelled, filled }

  /// What it is for.
  public let purpose: Purpose
  let title: String
  /// From the top to the bottom.
  public internal(set) var fields: [Field]
  var focus = 0
  var complaint: String?

  /// Letters that a field takes.
  private static let longest = 250

  static func add(_ name: String) -> MenuForm {
    MenuForm(
      purpose: .add, title: "Make a machine a service; it is made first where there is none of that name",
      fields: [
        Field(label: "Name", value: name, kind: .text),
        Field(label: "Memory in MB, of a new one", value: "256", kind: .number(1...(1 << 24))),
        Field(label: "Starts with the host", value: "no", kind: .choice(["no", "yes"])),
        Field(label: "Starts again after a failure", value: "yes", kind: .choice(["yes", "no"])),
        Field(
          label: "Stopped without a script by", value: "savestate", kind: .choice(["savestate", "acpi", "poweroff"])),
      ])
  }

  static func teleport(_ name: String) -> MenuForm {
    MenuForm(
      purpose: .teleport(name), title: "Teleport \"\(name)\" to a host where it waits with its teleporter on",
      fields: [
        Field(label: "Host", value: "", kind: .text),
        Field(label: "Port", value: "", kind: .number(1...65535)),
        Field(label: "Password (none: empty)", value: "", kind: .secret, mayBeEmpty: true),
        Field(label: "Longest standstill in ms", value: "250", kind: .number(1...3_600_000)),
      ])
  }

  static func protect(_ name: String) -> MenuForm {
    MenuForm(
      purpose: .protect(name),
      title: "Have a host go on with \"\(name)\" when this one fails; there it waits to be teleported",
      fields: [
        Field(label: "Host", value: "", kind: .text),
        Field(label: "Port", value: "6000", kind: .number(1...65535)),
        Field(label: "Witness (file:PATH, etcd:URL, ...)", value: "", kind: .witness),
        Field(label: "Password file (none: empty)", value: "", kind: .text, mayBeEmpty: true),
      ])
  }

  mutating func take(_ key: MenuKey) -> Outcome {
    complaint = nil
    switch key {
    case .escape: return .cancelled
    case .up: focus = max(0, focus - 1)
    case .down, .tab: focus = min(fields.count - 1, focus + 1)
    case .enter:
      if focus < fields.count - 1 {
        focus += 1
      } else if check() {
        return .filled
      }
    case .left: choose(-1)
    case .right: choose(1)
    case .character(" ") where isChoice: choose(1)
    case .backspace: if !isChoice { fields[focus].value = String(fields[focus].value.dropLast()) }
    case .control("u"): if !isChoice { fields[focus].value = "" }
    case .character(let character):
      if !isChoice, fields[focus].value.count < Self.longest { fields[focus].value.append(character) }
    default: break
    }
    return .stays
  }

  private var isChoice: Bool { if case .choice = fields[focus].kind { true } else { false } }

  private mutating func choose(_ step: Int) {
    guard case .choice(let values) = fields[focus].kind, let index = values.firstIndex(of: fields[focus].value) else {
      return
    }
    fields[focus].value = values[(index + step + values.count) % values.count]
  }

  /// Whether all is filled in; else the first that is not has the focus.
  private mutating func check() -> Bool {
    for (index, field) in fields.enumerated() {
      if field.value.isEmpty && !field.mayBeEmpty {
        complaint = "\(field.label): fill it in"
      } else if case .number(let range) = field.kind, !(Int(field.value).map(range.contains) ?? false) {
        complaint = "\(field.label): a number from \(range.lowerBound) to \(range.upperBound)"
      } else if case .witness = field.kind {
        do { _ = try WitnessPlace(field.value) } catch { complaint = ManagementError.line(for: error) }
      }
      guard complaint == nil else {
        focus = index
        return false
      }
    }
    return true
  }

  /// What is to be done with what was filled in.
  var operation: MenuOperation {
    let values = fields.map(\.value)
    switch purpose {
    case .add:
      return .add(
        .init(
          name: values[0], memoryMB: Int(values[1]) ?? 0, autoboot: values[2] == "yes", restart: values[3] == "yes",
          stopMode: ServiceSettings.StopMode(rawValue: values[4]) ?? .savestate))
    case .teleport(let name):
      var wish = TeleportRequest(host: values[0], port: Int(values[1]) ?? 0, maxDowntimeMS: Int(values[3]) ?? 250)
      wish.password = values[2].isEmpty ? nil : values[2]
      return .teleport(name, wish)
    case .protect(let name):
      return .protect(
        name,
        .init(
          host: values[0], port: Int(values[1]) ?? 0, witness: (try? WitnessPlace(values[2]).text) ?? values[2],
          passwordFile: values[3].isEmpty ? nil : values[3]))
    }
  }

  /// What is asked before it is done; nil: nothing.
  var doubt: MenuQuestion? {
    guard case .protect(let name, let wish) = operation, wish.witness == WitnessPlace.none.text else { return nil }
    return .confirm(
      "Without a witness both hosts go on when they lose each other, and \"\(name)\" runs twice. Protect it so?",
      "Protect it", .run(operation))
  }
}
