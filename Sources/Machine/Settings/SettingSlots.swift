/// An option of a device of which there may be several, one for each place: `--uart-mode1` to `--uart-mode4`.
public struct SlotOption<Element: Sendable>: Sendable {
  var name: String
  var about: SettingDescription<Element>.About
  var form: SettingForm
  var takesWords: Bool
  /// The word that takes the device away, for the option that also makes it.
  var off: String?
  /// The word that stands for the value where there is no device: for what machines must agree on.
  var absent: String?
  let read: @Sendable (Element) -> [String]
  let write: @Sendable (inout Element, [String]) throws(SettingFailure) -> Void

  /// - Parameters: name: without the number of the place. off: set for the one option that says whether there is a device.
  ///   In the help "#" is the place's number.
  public init(
    _ name: String, _ form: SettingForm, _ about: SettingDescription<Element>.About, takesWords: Bool = false,
    off: String? = nil, absent: String? = nil, read: @escaping @Sendable (Element) -> [String],
    write: @escaping @Sendable (inout Element, [String]) throws(SettingFailure) -> Void
  ) {
    self.name = name
    self.about = about
    self.form = form
    self.takesWords = takesWords
    self.off = off
    self.absent = absent
    self.read = read
    self.write = write
  }
}

extension SettingDescription {
  /// Devices of one kind in numbered places: a list of tables with a key "slot" in the file, a group of options for each
  /// place.
  /// - Parameters: name: the key in the file. count: how many places, from 1 on. slot: an element's place. fields: the other
  ///   keys. new: a device in a place, to be filled in.
  public static func slots<Element: Sendable>(
    _ name: String, count: Int, _ path: any WritableKeyPath<Root, [Element]> & Sendable,
    slot: any WritableKeyPath<Element, Int> & Sendable, fields: [SettingField<Element>],
    new: @escaping @Sendable (Int) -> Element, options: [SlotOption<Element>]
  ) -> SettingDescription {
    let fields = [SettingField<Element>.number("slot", 1...count, slot).identity] + fields
    let presence = options.first { $0.off != nil }?.name ?? name
    return SettingDescription(
      key: SettingKey(name, .list(.table(fields.map(\.key)))),
      read: { .list($0[keyPath: path].map { fields.value(of: $0) }) },
      write: { (root: inout Root, value: SettingValue) throws(SettingPathFailure) in
        let elements = try fields.elements(value) { new(1) }
        root[keyPath: path] = elements.sorted { $0[keyPath: slot] < $1[keyPath: slot] }
      },
      settings: (1...count).flatMap { place in
        options.map { option in
          Setting<Root>(
            name: "\(option.name)\(place)", aliases: option.about.aliases.map { "\($0)\(place)" },
            fact: "\(option.about.fact ?? option.name)\(place)",
            label: option.about.label.replacing("#", with: String(place)),
            help: option.about.help.replacing("#", with: String(place)), valueName: option.about.valueName,
            form: option.form, takesWords: option.takesWords, notice: option.about.notice,
            change: option.about.whenChanged, group: option.about.group,
            words: { root in
              guard let element = root[keyPath: path].first(where: { $0[keyPath: slot] == place }) else {
                return (option.off ?? option.absent).map { [$0] }
              }
              return option.read(element)
            },
            set: { (root: inout Root, words: [String]) throws(SettingFailure) in
              let index = root[keyPath: path].firstIndex { $0[keyPath: slot] == place }
              if let off = option.off, words == [off] {
                if let index { root[keyPath: path].remove(at: index) }
                return
              }
              guard index != nil || option.off != nil else {
                throw .absent(device: "\(name) \(place)", presence: "\(presence)\(place)")
              }
              var element = index.map { root[keyPath: path][$0] } ?? new(place)
              try option.write(&element, words)
              if let index { root[keyPath: path].remove(at: index) }
              root[keyPath: path].append(element)
              root[keyPath: path].sort { $0[keyPath: slot] < $1[keyPath: slot] }
            })
        }
      })
  }
}
