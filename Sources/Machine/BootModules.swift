import Foundation

/// A file that is loaded beside the kernel: the initial RAM disk of Linux, or one of a multiboot kernel's modules.
///
/// A list of modules is a text: files with a comma between them, each with its command line behind it, as in
/// "a.mod verbose,b.mod". A comma that belongs to a name is written twice. A text that names one existing file as it is
/// stands for that one.
public struct BootModule: Equatable, Sendable {
  /// The file on the host.
  public var path: String
  /// What the module's command line has behind its name.
  public var arguments: String

  /// - Parameters: path: a file on the host. arguments: may be empty.
  public init(path: String, arguments: String) {
    self.path = path
    self.arguments = arguments
  }

  /// The command line as a multiboot kernel gets it: it begins with the file's name.
  var line: String {
    let name = URL(fileURLWithPath: path).lastPathComponent
    return arguments.isEmpty ? name : name + " " + arguments
  }

  /// The modules that a text names.
  public static func list(_ text: String) -> [BootModule] {
    if text.isEmpty { return [] }
    if FileManager.default.fileExists(atPath: NSString(string: text).expandingTildeInPath) {
      return [BootModule(path: text, arguments: "")]
    }
    return pieces(text).map { piece in
      let words = piece.split(separator: " ", maxSplits: 1)
      return BootModule(
        path: words.first.map { String($0) } ?? "", arguments: words.count > 1 ? String(words[1]).trimmed : "")
    }
  }

  /// The list as text again.
  public static func text(_ modules: [BootModule]) -> String {
    if modules.count == 1 && modules[0].arguments.isEmpty { return modules[0].path }
    return modules.map { module in
      let piece = module.arguments.isEmpty ? module.path : module.path + " " + module.arguments
      return piece.replacingOccurrences(of: ",", with: ",,")
    }.joined(separator: ",")
  }

  private static func pieces(_ text: String) -> [String] {
    var pieces = [""]
    var rest = Substring(text)
    while let character = rest.popFirst() {
      if character != "," {
        pieces[pieces.count - 1].append(character)
      } else if rest.first == "," {
        rest = rest.dropFirst()
        pieces[pieces.count - 1].append(",")
      } else {
        pieces.append("")
      }
    }
    return pieces.map(\.trimmed)
  }
}

extension String {
  fileprivate var trimmed: String { trimmingCharacters(in: .whitespaces) }
}
