import ArgumentParser
import Foundation
import HostNetwork
import Management

struct View: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "A running machine's screen in a window, which has its keyboard and, after a click, its pointer.",
    discussion: """
      Any number of windows may show a machine. Closing one does nothing to the machine. In it, Ctrl+Alt lets the pointer go, \
      Ctrl+Alt+F fills the screen, Ctrl+Alt+V types what is in the clipboard.
      """)
  @OptionGroup var machine: MachineArgument

  func run() throws {
    let entry = try machine.entry()
    let state = try entry.folder.currentStatus().state
    guard state.isLive else {
      throw ManagementError(
        "the machine \"\(entry.name)\" is \(state.rawValue) and has no screen", remedy: "start it with vmctl startvm")
    }
    let program = try VMEntry.windowProgram()
    // The window takes this process's place.
    let words: [String] = [program, entry.definition.uuid.uuidString]
    execv(program, words.map { strdup($0) } + [nil])
    throw ManagementError("cannot start \(program): \(String(cString: strerror(errno)))")
  }

  /// - Throws: when there can be no window here; the program has said why.
  static func check() throws {
    let process = try start([""], output: .inherited, group: .parents)
    let status = ChildProcess.wait(process)
    guard status == 0 else { throw ExitCode(status & 0x7F == 0 ? status >> 8 : 1) }
  }

  /// Opens a window that stays when this command has ended.
  static func open(_ entry: VMEntry) throws {
    _ = try start([entry.definition.uuid.uuidString], output: .null, group: .ownSession)
  }

  private static func start(
    _ words: [String], output: ChildProcess.Stream, group: ChildProcess.Group
  ) throws -> pid_t {
    let program = try VMEntry.windowProgram()
    do {
      return try ChildProcess.spawn(program, ["vmctl-view"] + words, output: output, group: group)
    } catch {
      throw ManagementError("cannot start \(program): \(String(cString: strerror(error.code)))")
    }
  }
}
