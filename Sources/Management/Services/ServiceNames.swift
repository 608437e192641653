import Foundation

/// The commands by the names that operators of other emulators know: links to this program.
public enum ServiceNames {
  /// What each name stands for. Those with a machine mean the current one where none is named.
  private static let words: [String: [String]] = [
    "vmlist": ["service", "list"], "vmstart": ["service", "start"], "vmstop": ["service", "stop"],
    "vmcfg": ["service", "config"], "vmconsole": ["console"], "vmmenu": ["menu"],
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
}
