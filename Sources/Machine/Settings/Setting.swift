/// One thing that a user can choose about a machine, as commands know it: `modifyvm --NAME`, a line of `showvminfo`, a
/// line of the hardware check.
///
/// Settings come from a table of `SettingDescription`s, which says everything there is to say of each in one place
/// (docs/recipes/add-a-setting.md). A setting of a kind of device that there may be several of is one description and
/// has one `Setting` for each place: uart1 to uart4.
public struct Setting<Root>: Sendable {
  /// "memory", "uart-mode1": the name of its option, and its name in a `HardwareDescription`.
  public var name: String
  /// Other names of its option.
  public var aliases: [String] = []
  /// Its key in what is printed for programs.
  public var fact: String
  /// Its name for people: "Memory (MB)".
  public var label: String
  /// One sentence for the help and the manual page.
  public var help: String
  /// What the help calls its value.
  public var valueName: String?
  /// What its words look like.
  public var form: SettingForm
  /// More than one word may follow the option.
  public var takesWords = false
  /// Whether the guest can tell its values apart.
  public var notice: GuestNotice
  /// When it may be changed.
  public var change: SettingChange
  /// Where the help has it.
  public var group: SettingGroup
  /// Set by commands of its own, not by an option.
  public var hasOption = true
  /// Its value is not shown.
  public var isSecret = false

  /// The value as the words that would set it; nil: there is none, or its device is not there.
  public let words: @Sendable (Root) -> [String]?
  /// Sets it from the words of a command.
  public let set: @Sendable (inout Root, [String]) throws(SettingFailure) -> Void

  /// The value in one line; nil as for `words`.
  public func text(_ root: Root) -> String? { words(root)?.joined(separator: " ") }
}

/// Whether a guest can tell one value of a setting from another.
public enum GuestNotice: Sendable {
  /// It can: machines that take over from each other must agree on it.
  case value
  /// It can, but what must agree is the content that the value names (of a file, of a medium, of CPUID).
  case content
  /// It cannot: the setting is the host's affair.
  case none
}

/// When a setting may be changed.
public enum SettingChange: Sendable, Comparable {
  /// While the machine is off: its saved state would not fit any more.
  case whenOff
  /// Also while a saved state waits.
  case whenSaved
  /// Also while it runs.
  case always
}

/// Under which title of the help a setting stands.
public enum SettingGroup: String, Sendable, CaseIterable {
  case general = ""
  case cpu = "CPU options"
  case boot = "Boot options"
  case serial = "Serial port options"
  case network = "Network options"
  case screen = "Screen options"
  case teleporter = "Teleporter options"
}

/// A setting described once: its key in the definition file, and what the commands know of it.
public struct SettingDescription<Root>: Sendable {
  /// Its key in the file, and what may stand there.
  public var key: SettingKey
  /// The value for the file; nil: the key is left out.
  public var read: @Sendable (Root) -> SettingValue?
  /// Takes what a file says, which fits the schema.
  public var write: @Sendable (inout Root, SettingValue) throws(SettingPathFailure) -> Void
  /// What commands know of it: one, or one for each place.
  public var settings: [Setting<Root>]
}

/// What is wrong with a value of a file, and where in it.
public struct SettingPathFailure: Error, Equatable, Sendable {
  /// Keys and indices from the table on that the description stands in.
  public var path: [String]
  /// What is wrong there.
  public var failure: SettingFailure
}

extension SettingDescription {
  /// The same setting of something that contains a `Root`.
  func within<Outer>(_ path: any WritableKeyPath<Outer, Root> & Sendable) -> SettingDescription<Outer> {
    let (read, write) = (read, write)
    return SettingDescription<Outer>(
      key: key, read: { read($0[keyPath: path]) },
      write: { (outer: inout Outer, value: SettingValue) throws(SettingPathFailure) in
        try write(&outer[keyPath: path], value)
      },
      settings: settings.map { setting in
        let (words, set) = (setting.words, setting.set)
        return Setting<Outer>(
          name: setting.name, aliases: setting.aliases, fact: setting.fact, label: setting.label, help: setting.help,
          valueName: setting.valueName, form: setting.form, takesWords: setting.takesWords, notice: setting.notice,
          change: setting.change, group: setting.group, hasOption: setting.hasOption, isSecret: setting.isSecret,
          words: { words($0[keyPath: path]) },
          set: { (outer: inout Outer, new: [String]) throws(SettingFailure) in try set(&outer[keyPath: path], new) })
      })
  }

  /// A table of the file that holds the settings of a part.
  public static func table<Part>(
    _ name: String, _ path: any WritableKeyPath<Root, Part> & Sendable, _ descriptions: [SettingDescription<Part>]
  ) -> SettingDescription {
    SettingDescription<Part>(
      key: SettingKey(name, .table(descriptions.map(\.key))),
      read: { part in descriptions.value(of: part) },
      write: { (part: inout Part, value: SettingValue) throws(SettingPathFailure) in
        try descriptions.apply(value, to: &part)
      },
      settings: descriptions.flatMap(\.settings)
    ).within(path)
  }

  /// A key of the file that no command sets.
  public static func fixed(
    _ key: SettingKey, read: @escaping @Sendable (Root) -> SettingValue?
  ) -> SettingDescription {
    SettingDescription(key: key, read: read, write: { (_, _) throws(SettingPathFailure) in }, settings: [])
  }

  /// With changes to what was said by default.
  public func with(_ change: (inout Setting<Root>) -> Void) -> SettingDescription<Root> {
    var copy = self
    for index in copy.settings.indices { change(&copy.settings[index]) }
    return copy
  }
}

extension Array {
  /// A table of a file that these describe.
  public func value<Root>(of root: Root) -> SettingValue where Element == SettingDescription<Root> {
    var entries: [String: SettingValue] = [:]
    for description in self { entries[description.key.name] = description.read(root) }
    return .table(entries)
  }

  /// Takes the keys that are there; the others stay as they are.
  public func apply<Root>(_ value: SettingValue, to root: inout Root) throws(SettingPathFailure)
  where Element == SettingDescription<Root> {
    for description in self {
      guard let entry = value[description.key.name] else { continue }
      do {
        try description.write(&root, entry)
      } catch {
        throw SettingPathFailure(path: [description.key.name] + error.path, failure: error.failure)
      }
    }
  }
}
