import Foundation
import Machine

extension VMDefinition {
  /// Everything that a definition file may hold, described once. The hardware's part is `MachineConfiguration.settings`.
  static let descriptions: [SettingDescription<VMDefinition>] = [
    .name, .identifier,
    .value(
      "description", .text, .init("Description", "A text for people.", notice: .none, change: .always),
      read: { $0.description.isEmpty ? nil : .text($0.description) },
      write: { definition, value in
        if case .text(let text)? = value { definition.description = text } else { definition.description = "" }
      }),
    .flag(
      "sandbox", \.sandbox,
      .init("Sandbox", "Whether the machine's process gives up what it does not need", notice: .none)),
    .flag(
      "console-record", \.recordsConsoles,
      .init(
        "Console record",
        "Whether all that each console says is written into the machine's folder, as console1.log and so on, new at each start",
        fact: "consolerecord", notice: .none, change: .always)),
    .choice(
      "on-panic", \.onPanic,
      .init(
        "On panic",
        "What becomes of the machine when its guest's kernel panics, which --pvpanic on lets it say: none, pause, reset, or exit, "
          + "which ends it with status 1.",
        fact: "onpanic", notice: .none, change: .always)),
    .table("hardware", \.hardware, MachineConfiguration.settings),
    .table("vrde", \.screen, RemoteScreen.settings),
    .table("teleporter", \.teleporter, Teleporter.settings),
  ]

  /// The schema of the file.
  static let schema = SettingSchema.table(descriptions.map(\.key))

  /// Every setting, in the order in which `showvminfo` tells them.
  public static let settings: [Setting<VMDefinition>] = descriptions.flatMap(\.settings)

  private static let byName = Dictionary(uniqueKeysWithValues: settings.map { ($0.name, $0) })

  /// Sets what the words of `modifyvm --NAME WORDS` say.
  /// - Throws: `ManagementError` that says what the option takes.
  public mutating func set(_ name: String, _ words: [String]) throws {
    guard let setting = Self.byName[name], setting.hasOption else {
      throw ManagementError("there is no setting \"\(name)\"", remedy: "see vmctl modifyvm --help")
    }
    do {
      if name == "teleporter-password-file", ["stdin", "-"].contains(words.first) {
        return try set("teleporter-password", [PasswordFile.read("stdin")])
      }
      var words = words
      if case .file(let none) = setting.form, words.count == 1, let path = words.first, path != none, !path.isEmpty {
        words = [
          name == "initrd"
            ? try Paths.modules(path, what: setting.label) : try Paths.readable(path, what: setting.label)
        ]
      }
      try setting.set(&self, words)
    } catch let failure as SettingFailure {
      throw SettingWords.inCommand(failure, setting)
    }
  }
}

extension SettingDescription<VMDefinition> {
  fileprivate static var name: SettingDescription {
    var result = value(
      "name", .text, .init("Name", "A new name.", notice: .none), read: { .text($0.name) },
      write: { definition, value in if case .text(let text)? = value { definition.name = text } })
    result.key.isRequired = true
    return result
  }

  /// Given when the machine is made, and never changed.
  fileprivate static var identifier: SettingDescription {
    var key = SettingKey("uuid", .text)
    key.isRequired = true
    return fixed(key) { .text($0.uuid.uuidString.lowercased()) }
  }
}

extension VMDefinition.Teleporter {
  static let settings: [SettingDescription<Self>] = [
    named(
      "enabled",
      .flag(
        "teleporter", \.enabled,
        about("Teleporter", "Whether the machine waits for its teleport when it is started", fact: "teleporterenabled"))
    ),
    named(
      "port",
      .number(
        "teleporter-port", \.port, .number(0...65535),
        about("Teleporter port", "The port it waits on; 0: a free one.", fact: "teleporterport"))),
    named(
      "address",
      .text(
        "teleporter-address", \.address,
        about(
          "Teleporter address", "The address it waits on. Without a password: loopback only.",
          fact: "teleporteraddress"))),
    named(
      "password",
      .text(
        "teleporter-password", \.password,
        about("Teleporter password", "The password it asks for; empty: none.", fact: "teleporterpassword")
      ) { $0.passwordFile = nil }.with { $0.isSecret = true }),
    named(
      "password-file",
      .file(
        "teleporter-password-file", \.passwordFile, none: "",
        about(
          "Teleporter password file", "A file with the password in its first line, or stdin.",
          fact: "teleporterpasswordfile")
      ) { $0.password = nil }),
    named(
      "witness-command",
      .text(
        "teleporter-witness-command", \.witnessCommand,
        about(
          "Teleporter witness command",
          "The program that decides whose the machine is when it is protected here by remus --witness command:...; empty: none.",
          fact: "teleporterwitnesscommand"))),
  ]

  private static func about(_ label: String, _ help: String, fact: String) -> SettingDescription<Self>.About {
    .init(label, help, fact: fact, group: .teleporter, notice: .none)
  }

  /// Within its own table of the file a key needs no "teleporter-" in front.
  private static func named(_ key: String, _ description: SettingDescription<Self>) -> SettingDescription<Self> {
    var result = description
    result.key.name = key
    return result
  }
}
