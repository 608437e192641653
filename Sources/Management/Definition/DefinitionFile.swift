import Foundation
import Machine

/// One wrong thing in a definition file.
struct DefinitionProblem: Equatable {
  /// Keys and, after a list's key, the element's index: ["hardware", "uart", "0", "irq"].
  var path: [String]
  var message: String
}

extension VMDefinition {
  /// Reads the text of a definition file.
  /// - Parameter checkingHost: whether this host must be able to run it.
  /// - Throws: `ManagementError` with "file:line: what is wrong and what is allowed".
  public init(toml text: String, file: String, checkingHost: Bool = true) throws {
    let document = try Self.document(text, file: file)
    self = try Self.read(document, file: file, checkingHost: checkingHost)
  }

  private static func document(_ text: String, file: String) throws -> TOMLDocument {
    do throws(TOMLDocument.Failure) {
      return try TOMLDocument(text)
    } catch {
      throw ManagementError("\(file):\(error.line): this is no TOML: \(error.message)")
    }
  }

  private static func read(_ document: TOMLDocument, file: String, checkingHost: Bool) throws -> VMDefinition {
    func fail(_ problem: DefinitionProblem) -> ManagementError {
      ManagementError("\(file):\(document.root.line(of: problem.path)): \(problem.message)")
    }
    let root = TOMLNode(content: .table(document.root), line: 1, range: 0..<0, pair: 0..<0)
    if let problem = DefinitionSchema.problem(in: root.value, SettingKey("", schema), path: []) { throw fail(problem) }
    let values = root.value
    guard case .text(let name)? = values["name"], case .text(let identifier)? = values["uuid"] else {
      throw fail(DefinitionProblem(path: [], message: "name and uuid are missing"))
    }
    guard let uuid = UUID(uuidString: identifier) else {
      throw fail(DefinitionProblem(path: ["uuid"], message: "\"\(identifier)\" is no UUID"))
    }
    do {
      try Registry.checkName(name)
    } catch {
      throw fail(DefinitionProblem(path: ["name"], message: ManagementError.line(for: error)))
    }
    var definition = VMDefinition(name: name, uuid: uuid)
    do throws(SettingPathFailure) {
      try descriptions.apply(values, to: &definition)
    } catch {
      throw fail(DefinitionProblem(path: error.path, message: SettingWords.inFile(error.failure)))
    }
    if checkingHost, let problem = HardwareLimits.problems(definition.hardware).first { throw fail(problem) }
    return definition
  }

  /// The text of a new definition file.
  public func toml() -> String {
    let entries = Self.descriptions.value(of: self)
    guard case .table(let table) = entries else { return "" }
    return "# A vmctl machine. Change it with vmctl modifyvm, or here while the machine is off.\n"
      + TOMLText.section(table, Self.descriptions.map(\.key), path: [])
  }

  /// The text of a definition file with what is different now changed in it. Comments and all else stay as they are.
  func toml(changing text: String, file: String) throws -> String {
    let document = try Self.document(text, file: file)
    let old = try Self.read(document, file: file, checkingHost: false)
    let new: String
    do {
      new = try TOMLEdit.apply(
        document, keys: Self.descriptions.map(\.key), from: Self.descriptions.value(of: old),
        to: Self.descriptions.value(of: self))
      if try VMDefinition(toml: new, file: file, checkingHost: false) == self { return new }
    } catch {}
    // Written in a form that cannot be changed in place: written anew, with what was there as a comment.
    return toml() + "\n# The file before its last change, which was written in another form:\n"
      + text.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline).map { "# \($0)\n" }.joined()
  }
}
