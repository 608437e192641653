import Foundation

/// What operators edit: always a copy, which is kept only when it is right.
extension Services {
  /// Lets somebody edit a copy of the definition, and takes it if it is right.
  /// - Parameters:
  ///   - again: goes on with what was edited last and was not right, where it is still there.
  ///   - editor: edits the file at a path; false: it has failed.
  /// - Returns: whether something has changed.
  /// - Throws: `RejectedEdit` when it is not right: the definition is as it was, and the copy is named. `ManagementError` when
  ///   there was nothing to edit with.
  public func edit(_ entry: VMEntry, again: Bool = false, _ editor: (String) throws -> Bool) throws -> Bool {
    let before = try Files.read(entry.folder.definition)
    return try edit(entry.folder.definition, Self.copy(of: entry), before, again: again, editor) { text, copy in
      let new = try VMDefinition(toml: text, file: copy, checkingHost: true)
      guard new.uuid == entry.definition.uuid else {
        throw ManagementError("the machine's UUID cannot change", remedy: "vmctl createvm makes another machine")
      }
      guard try Files.read(entry.folder.definition) == before else {
        throw ManagementError("another command has changed the definition meanwhile")
      }
      try registry.modify(entry) { $0 = new }
      let place = try registry.find(new.uuid.uuidString).folder
      // With the comments of who edited it.
      try place.whileEditing { try Files.replace(place.definition, with: text) }
      unlink(place.path + "/definition.toml.edited")
    }
  }

  private static func copy(of entry: VMEntry) -> String { entry.folder.definition + ".edited" }

  /// As `edit`, of the script that stops the machine: its own, or the common one. A shell has to understand it.
  /// - Throws: `RejectedEdit` and `ManagementError` as `edit`.
  public func editStopScript(_ entry: VMEntry, again: Bool = false, _ editor: (String) throws -> Bool) throws -> Bool {
    let settings = try required(entry)
    let path = StopScript(settings, store).path
    let before = Files.exists(path) ? try Files.read(path) : StopScript.template
    return try edit(path, path + ".edited", before, again: again, editor) { text, copy in
      if let shell = StopScript.shell(text) {
        let outcome = try Program.run(shell, ["-n", copy], seconds: 10)
        guard outcome.status == 0 else { throw ManagementError(outcome.firstLine) }
      }
      var status = stat()
      let mode = stat(path, &status) == 0 ? status.st_mode & 0o777 | 0o100 : 0o700
      try Files.replace(path, with: text, mode: mode)
      // The mode of a new file lacks what the umask takes.
      chmod(path, mode)
    }
  }

  /// Forgets what was edited and was not right.
  public func dropEdit(_ entry: VMEntry) { unlink(Self.copy(of: entry)) }

  /// As `dropEdit`, of the stop script.
  /// - Throws: `ManagementError` when the machine is no service.
  public func dropStopScriptEdit(_ entry: VMEntry) throws {
    unlink(StopScript(try required(entry), store).path + ".edited")
  }

  private func edit(
    _ path: String, _ copy: String, _ before: String, again: Bool, _ editor: (String) throws -> Bool,
    keep: (_ text: String, _ copy: String) throws -> Void
  ) throws -> Bool {
    if !(again && Files.exists(copy)) { try Files.replace(copy, with: before) }
    guard try editor(copy) else {
      unlink(copy)
      throw ManagementError("the editor failed", remedy: "set VISUAL or EDITOR to one that is there")
    }
    let text: String
    do {
      text = try Files.read(copy)
      guard text != before else {
        unlink(copy)
        return false
      }
      try keep(text, copy)
    } catch {
      throw RejectedEdit(reason: ManagementError.line(for: error), copy: copy)
    }
    unlink(copy)
    return true
  }
}

/// What somebody has edited is not right. The file is as it was.
public struct RejectedEdit: Error, CustomStringConvertible, LocalizedError {
  /// What is not right.
  public let reason: String
  /// Where it is kept.
  public let copy: String

  public var description: String { "the file is as it was: \(reason); what you have written is in \(copy)" }
  public var errorDescription: String? { description }
}
