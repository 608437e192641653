import ArgumentParser
import Machine
import Management

/// Which settings of the table a group of options has.
protocol SettingSection {
  static var group: SettingGroup { get }
}

enum GeneralSection: SettingSection { static let group = SettingGroup.general }
enum CPUSection: SettingSection { static let group = SettingGroup.cpu }
enum BootSection: SettingSection { static let group = SettingGroup.boot }
enum SerialSection: SettingSection { static let group = SettingGroup.serial }
enum NetworkSection: SettingSection { static let group = SettingGroup.network }
enum ScreenSection: SettingSection { static let group = SettingGroup.screen }
enum TeleporterSection: SettingSection { static let group = SettingGroup.teleporter }

/// The options of `modifyvm` for the settings of one group, made from the table of settings.
///
/// The parser finds a command's options by looking at the properties of a fresh value with `Mirror`, so what this type shows
/// a mirror is an option for each setting. Help, manual pages and completions come from the same.
struct SettingOptions<Section: SettingSection>: ParsableArguments, CustomReflectable {
  /// The settings that were given, with their words, in the table's order.
  private(set) var given: [(name: String, words: [String])] = []

  private static var settings: [Setting<VMDefinition>] {
    VMDefinition.settings.filter { $0.group == Section.group && $0.hasOption }
  }

  init() {}

  init(from decoder: any Decoder) throws {
    let values = try decoder.container(keyedBy: Key.self)
    for setting in Self.settings {
      let key = Key(stringValue: setting.name)
      if setting.takesWords {
        let words = try values.decode(Option<[String]>.self, forKey: key).wrappedValue
        if !words.isEmpty { given.append((setting.name, words.count == 1 ? Self.split(words[0], setting) : words)) }
      } else if let word = try values.decode(Option<String?>.self, forKey: key).wrappedValue {
        given.append((setting.name, [word]))
      }
    }
  }

  func apply(to definition: inout VMDefinition) throws {
    for (name, words) in given { try definition.set(name, words) }
  }

  /// `--uart1="0x3f8 4"` is one word of two.
  private static func split(_ word: String, _ setting: Setting<VMDefinition>) -> [String] {
    let words = word.isEmpty ? [word] : word.split(separator: " ").map(String.init)
    // A port forward's name may have spaces.
    let isOneRule =
      setting.name.hasPrefix("nat-pf") && word.contains(",") && words[0] != "delete" && !words[0].contains(",")
    return isOneRule ? [word] : words
  }

  // MARK: What the parser sees

  var customMirror: Mirror {
    Mirror(self, children: Self.settings.map { (label: $0.name, value: Self.option($0)) })
  }

  private static func option(_ setting: Setting<VMDefinition>) -> Any {
    let names = [setting.name] + setting.aliases
    let specification = NameSpecification(names.map { .customLong($0) })
    let help = ArgumentHelp(stringLiteral: setting.help)
    var named = help
    named.valueName = setting.valueName
    let completion = completion(setting.form)
    if setting.takesWords {
      return Option<[String]>(
        wrappedValue: [], name: specification, parsing: .upToNextOption, help: named, completion: completion)
    }
    return Option<String?>(name: specification, help: named, completion: completion) { word in
      if let problem = setting.complaint(about: word) { throw ValidationError(problem) }
      return word
    }
  }

  private static func completion(_ form: SettingForm) -> CompletionKind? {
    switch form {
    case .choice(let values): .list(values)
    case .flag: .list(["on", "off"])
    case .file: .file()
    default: nil
    }
  }

  private struct Key: CodingKey {
    var stringValue: String
    var intValue: Int? { nil }
    init(stringValue: String) { self.stringValue = stringValue }
    init?(intValue: Int) { nil }
  }
}
