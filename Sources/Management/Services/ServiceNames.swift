import Foundation

/// The commands by the names that operators of other emulators know: links to this program.
public enum ServiceNames {
  /// What each name stands for. Those with a machine mean the current one where none is named.
  private static let words: [String: [String]] = [
    "vmlist": ["service", "list"], "vmstart": ["service", "start"], "vmstop": ["service", "stop"],
    "vmcfg": ["service", "config"], "vmconsole": ["console"],
  ]

  /// The words of a command line whose program has been called by `name`, a path or a name; nil: it is no such name.
  public static func words(calledAs name: String) -> [String]? {
    words[name.split(separator: "/").last.map(String.init) ?? name]
  }

  /// Makes the links.
  /// - Returns: what was made.
  /// - Throws: `ManagementError` when a file stands in the way, or the folder is not writable.
  public static func install(_ folder: String) throws -> [String] {
    let folder = Files.absolute(folder)
    return try words.keys.sorted().map { name in
      let path = folder + "/" + name
      if let old = try? FileManager.default.destinationOfSymbolicLink(atPath: path) {
        guard old == Program.own || old.hasSuffix("/vmctl") else {
          throw ManagementError("\(path) leads to \(old)", remedy: "take it away, or name another folder")
        }
        unlink(path)
      }
      guard symlink(Program.own, path) == 0 else {
        throw ManagementError.system("cannot make \(path)", remedy: "name a folder that you may write")
      }
      return path
    }
  }
}

extension Services {
  /// Calls the alert script.
  /// - Throws: `ManagementError` when there is none or it fails.
  public func alert(_ code: String, _ name: String, _ text: String) throws {
    try ServiceAlert.makeScripts(store)
    try ServiceAlert.raise(code, name, text, store)
  }

  /// Lets somebody edit a copy of the definition, and takes it if it is right.
  /// - Parameter editor: edits the file at a path; false: it has failed.
  /// - Returns: whether something has changed.
  /// - Throws: `ManagementError` when it is not right: the definition is as it was, and the copy is named.
  public func edit(_ entry: VMEntry, _ editor: (String) throws -> Bool) throws -> Bool {
    let copy = entry.folder.definition + ".edited"
    let before = try Files.read(entry.folder.definition)
    try Files.replace(copy, with: before)
    guard try editor(copy) else {
      unlink(copy)
      throw ManagementError("the editor failed", remedy: "set EDITOR to one that is there")
    }
    let text = try Files.read(copy)
    if text == before {
      unlink(copy)
      return false
    }
    do {
      let new = try VMDefinition(toml: text, file: copy, checkingHost: true)
      try registry.modify(entry) { $0 = new }
      let place = try registry.find(new.uuid.uuidString).folder
      // With the comments of who edited it.
      try place.whileEditing { try Files.replace(place.definition, with: text) }
      unlink(place.path + "/definition.toml.edited")
      return true
    } catch {
      throw ManagementError(
        "the definition is as it was: \(ManagementError.line(for: error))",
        remedy: "what you have written is in \(copy)")
    }
  }
}
