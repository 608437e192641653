// The kinds of setting that a table can be written with.

extension SettingDescription {
  /// What a description says besides its value.
  public struct About: Sendable {
    /// The key in the file, where it is not the option's name.
    public var key: String?
    /// The key for programs, where it is not the option's name.
    public var fact: String?
    /// Other names of its option.
    public var aliases: [String] = []
    /// Its name for people.
    public var label: String
    /// One sentence for the help.
    public var help: String
    /// What the help calls its value.
    public var valueName: String?
    /// Where the help has it.
    public var group = SettingGroup.general
    /// Whether the guest can tell its values apart.
    public var notice = GuestNotice.value
    /// nil: as follows from what the guest can notice.
    public var change: SettingChange?

    /// Label and help, and what differs from the usual.
    public init(
      _ label: String, _ help: String, valueName: String? = nil, key: String? = nil, fact: String? = nil,
      aliases: [String] = [], group: SettingGroup = .general, notice: GuestNotice = .value,
      change: SettingChange? = nil
    ) {
      self.label = label
      self.help = help
      self.valueName = valueName
      self.key = key
      self.fact = fact
      self.aliases = aliases
      self.group = group
      self.notice = notice
      self.change = change
    }

    var whenChanged: SettingChange { change ?? (notice == .none ? .whenSaved : .whenOff) }
  }

  /// A setting of one value.
  /// - Parameters: read: nil: none. write: nil: none, for which the empty text and the form's word for no file stand.
  ///   whenSet: what else changes when a command sets it.
  public static func value(
    _ name: String, _ form: SettingForm, _ about: About, takesWords: Bool = false,
    read: @escaping @Sendable (Root) -> SettingValue?,
    write: @escaping @Sendable (inout Root, SettingValue?) throws(SettingFailure) -> Void,
    whenSet: @escaping @Sendable (inout Root) -> Void = { _ in }
  ) -> SettingDescription {
    let setting = Setting<Root>(
      name: name, aliases: about.aliases, fact: about.fact ?? name, label: about.label, help: about.help,
      valueName: about.valueName, form: form, takesWords: takesWords, notice: about.notice,
      change: about.whenChanged, group: about.group,
      words: { root in
        if let value = read(root) { return [value.word()] }
        if case .file(let none) = form { return [none] }
        return nil
      },
      set: { (root: inout Root, words: [String]) throws(SettingFailure) in
        let value = try form.parse(words)
        var isNone = false
        if case .file(let none) = form, value == .text(none) { isNone = true }
        if value == .text("") { isNone = true }
        try write(&root, isNone ? nil : value)
        whenSet(&root)
      })
    return SettingDescription(
      key: SettingKey(about.key ?? name, form.schema), read: read,
      write: { (root: inout Root, value: SettingValue) throws(SettingPathFailure) in
        do throws(SettingFailure) {
          try write(&root, value)
        } catch {
          throw SettingPathFailure(path: [], failure: error)
        }
      }, settings: [setting])
  }

  /// A number.
  public static func number(
    _ name: String, _ path: any WritableKeyPath<Root, Int> & Sendable, _ form: SettingForm, _ about: About
  ) -> SettingDescription {
    value(
      name, form, about, read: { .number($0[keyPath: path]) },
      write: { root, value in if case .number(let number)? = value { root[keyPath: path] = number } })
  }

  /// On or off.
  public static func flag(
    _ name: String, _ path: any WritableKeyPath<Root, Bool> & Sendable, _ about: About
  ) -> SettingDescription {
    var about = about
    about.help += ": on or off."
    return value(
      name, .flag, about, read: { .flag($0[keyPath: path]) },
      write: { root, value in if case .flag(let isOn)? = value { root[keyPath: path] = isOn } })
  }

  /// One of some words.
  public static func choice(
    _ name: String, _ path: any WritableKeyPath<Root, String> & Sendable, of values: [String], _ about: About
  ) -> SettingDescription {
    value(
      name, .choice(values), about, read: { .text($0[keyPath: path]) },
      write: { root, value in if case .text(let text)? = value { root[keyPath: path] = text } })
  }

  /// One of the cases of a type, by their raw values.
  public static func choice<Choice: RawRepresentable & CaseIterable & Sendable>(
    _ name: String, _ path: any WritableKeyPath<Root, Choice> & Sendable, _ about: About
  ) -> SettingDescription where Choice.RawValue == String {
    value(
      name, .choice(Choice.allCases.map(\.rawValue)), about, read: { .text($0[keyPath: path].rawValue) },
      write: { root, value in
        if case .text(let text)? = value, let choice = Choice(rawValue: text) { root[keyPath: path] = choice }
      })
  }

  /// A text that may be missing; the empty text stands for none.
  /// - Parameter whenSet: what else changes when a command sets it.
  public static func text(
    _ name: String, _ path: any WritableKeyPath<Root, String?> & Sendable, _ about: About,
    whenSet: @escaping @Sendable (inout Root) -> Void = { _ in }
  ) -> SettingDescription { optional(name, .text, path, about, whenSet: whenSet) }

  /// The path of a file that may be missing.
  /// - Parameters: none: the word for no file. whenSet: what else changes when a command sets it.
  public static func file(
    _ name: String, _ path: any WritableKeyPath<Root, String?> & Sendable, none: String, _ about: About,
    whenSet: @escaping @Sendable (inout Root) -> Void = { _ in }
  ) -> SettingDescription { optional(name, .file(none: none), path, about, whenSet: whenSet) }

  private static func optional(
    _ name: String, _ form: SettingForm, _ path: any WritableKeyPath<Root, String?> & Sendable, _ about: About,
    whenSet: @escaping @Sendable (inout Root) -> Void
  ) -> SettingDescription {
    value(
      name, form, about, read: { $0[keyPath: path].map { .text($0) } },
      write: { root, value in
        if case .text(let text)? = value { root[keyPath: path] = text } else { root[keyPath: path] = nil }
      }, whenSet: whenSet)
  }

  /// A list of choices in the file, and an option for each place in it: `--boot1` to `--boot4`.
  /// - Parameters: count: places. filler: what stands in a place before one that is set.
  public static func places<Choice: RawRepresentable & CaseIterable & Sendable & Equatable>(
    _ name: String, count: Int, _ path: any WritableKeyPath<Root, [Choice]> & Sendable, filler: Choice, _ about: About
  ) -> SettingDescription where Choice.RawValue == String {
    let form = SettingForm.choice(Choice.allCases.map(\.rawValue))
    return SettingDescription(
      key: SettingKey(about.key ?? name, .list(form.schema)),
      read: { .list($0[keyPath: path].map { .text($0.rawValue) }) },
      write: { (root: inout Root, value: SettingValue) throws(SettingPathFailure) in
        guard case .list(let values) = value else { return }
        root[keyPath: path] = values.compactMap { Choice(rawValue: $0.word()) }
      },
      settings: (0..<count).map { index in
        Setting<Root>(
          name: "\(name)\(index + 1)", fact: "\(about.fact ?? name)\(index + 1)", label: "\(about.label) \(index + 1)",
          help: about.help.replacing("#", with: String(index + 1)), valueName: about.valueName, form: form,
          notice: about.notice, change: about.whenChanged, group: about.group,
          words: { root in
            let list = root[keyPath: path]
            return [(index < list.count ? list[index] : filler).rawValue]
          },
          set: { (root: inout Root, words: [String]) throws(SettingFailure) in
            guard let choice = Choice(rawValue: try form.parse(words).word()) else { return }
            while root[keyPath: path].count <= index { root[keyPath: path].append(filler) }
            root[keyPath: path][index] = choice
          })
      })
  }

  /// A list of tables that has commands of its own.
  /// - Parameter isEqual: whether two elements are the same one.
  public static func tables<Element: Sendable>(
    _ name: String, _ path: any WritableKeyPath<Root, [Element]> & Sendable, _ about: About,
    fields: [SettingField<Element>], new: @escaping @Sendable () -> Element
  ) -> SettingDescription {
    var key = SettingKey(about.key ?? name, .list(.table(fields.map(\.key))))
    key.fallback = .list([])
    let read: @Sendable (Root) -> SettingValue? = { .list($0[keyPath: path].map { fields.value(of: $0) }) }
    return SettingDescription(
      key: key, read: read,
      write: { (root: inout Root, value: SettingValue) throws(SettingPathFailure) in
        root[keyPath: path] = try fields.elements(value, new: new)
      },
      settings: [
        Setting<Root>(
          name: name, fact: about.fact ?? name, label: about.label, help: about.help, form: .text,
          notice: about.notice, change: about.whenChanged, group: about.group, hasOption: false,
          words: { read($0).map { [$0.word()] } }, set: { (_, _) throws(SettingFailure) in })
      ])
  }
}

/// A key of an element in a list of tables. Its value is nil only where it may be missing.
public struct SettingField<Element>: Sendable {
  /// The key in the table, and what may stand there.
  public var key: SettingKey
  /// The value for the file; nil: the key is left out.
  public let read: @Sendable (Element) -> SettingValue?
  /// Takes what the file says, which fits the schema. Throws what does not go with the rest.
  public let write: @Sendable (inout Element, SettingValue) throws(SettingPathFailure) -> Void

  /// A key and how its value gets to an element and back.
  public init(
    _ key: SettingKey, read: @escaping @Sendable (Element) -> SettingValue?,
    write: @escaping @Sendable (inout Element, SettingValue) throws(SettingPathFailure) -> Void
  ) {
    self.key = key
    self.read = read
    self.write = write
  }

  /// A number, which must be there.
  public static func number(
    _ name: String, _ range: ClosedRange<Int>, _ path: any WritableKeyPath<Element, Int> & Sendable
  ) -> SettingField {
    SettingField(
      SettingKey(name, .number(range)), read: { .number($0[keyPath: path]) },
      write: { element, value in if case .number(let number) = value { element[keyPath: path] = number } }
    ).required
  }

  /// On or off.
  public static func flag(_ name: String, _ path: any WritableKeyPath<Element, Bool> & Sendable) -> SettingField {
    SettingField(
      SettingKey(name, .flag), read: { .flag($0[keyPath: path]) },
      write: { element, value in if case .flag(let isOn) = value { element[keyPath: path] = isOn } })
  }

  /// A text, which may be missing.
  public static func text(_ name: String, _ path: any WritableKeyPath<Element, String?> & Sendable) -> SettingField {
    SettingField(
      SettingKey(name, .text), read: { $0[keyPath: path].map { .text($0) } },
      write: { element, value in if case .text(let text) = value { element[keyPath: path] = text } })
  }

  /// A text, which must be there.
  public static func text(_ name: String, _ path: any WritableKeyPath<Element, String> & Sendable) -> SettingField {
    SettingField(
      SettingKey(name, .text), read: { .text($0[keyPath: path]) },
      write: { element, value in if case .text(let text) = value { element[keyPath: path] = text } }
    ).required
  }

  /// One of the cases of a type, by their raw values.
  public static func choice<Choice: RawRepresentable & CaseIterable & Sendable>(
    _ name: String, _ path: any WritableKeyPath<Element, Choice> & Sendable
  ) -> SettingField where Choice.RawValue == String {
    SettingField(
      SettingKey(name, .choice(Choice.allCases.map(\.rawValue))), read: { .text($0[keyPath: path].rawValue) },
      write: { element, value in
        if case .text(let text) = value, let choice = Choice(rawValue: text) { element[keyPath: path] = choice }
      })
  }

  /// A table without it is refused.
  public var required: SettingField { with { $0.isRequired = true } }
  /// A table may be without it.
  public var optional: SettingField { with { $0.isRequired = false } }
  /// Required, and no two elements have the same.
  public var identity: SettingField {
    with {
      $0.isRequired = true
      $0.isIdentity = true
    }
  }
  /// Numbers are written in hexadecimal.
  public var hexadecimal: SettingField { with { $0.isHexadecimal = true } }

  private func with(_ change: (inout SettingKey) -> Void) -> SettingField {
    var copy = self
    change(&copy.key)
    return copy
  }
}

extension Array {
  func value<Root>(of element: Root) -> SettingValue where Element == SettingField<Root> {
    var entries: [String: SettingValue] = [:]
    for field in self { entries[field.key.name] = field.read(element) }
    return .table(entries)
  }

  func apply<Root>(_ value: SettingValue, to element: inout Root) throws(SettingPathFailure)
  where Element == SettingField<Root> {
    for field in self {
      guard let entry = value[field.key.name] else { continue }
      do {
        try field.write(&element, entry)
      } catch {
        throw SettingPathFailure(path: [field.key.name] + error.path, failure: error.failure)
      }
    }
  }

  /// The elements of a list of tables.
  func elements<Root>(_ value: SettingValue, new: () -> Root) throws(SettingPathFailure) -> [Root]
  where Element == SettingField<Root> {
    guard case .list(let values) = value else { return [] }
    var result: [Root] = []
    for (index, value) in values.enumerated() {
      var element = new()
      do {
        try apply(value, to: &element)
      } catch {
        throw SettingPathFailure(path: [String(index)] + error.path, failure: error.failure)
      }
      result.append(element)
    }
    return result
  }
}
