import Machine

/// The keeper of a machine that is debugged: has its life, while the debugger looks into its CPUs by `VirtualMachine`.
public protocol DebuggedMachine: AnyObject, Sendable {
  /// The machine; nil: there is none, or not yet.
  var debuggedMachine: VirtualMachine? { get }
  /// Whether it runs; false: it is paused.
  var isRunning: Bool { get }
  /// Pauses it, for as long as the debugger wants; fine when it is paused.
  /// - Throws: when that is not possible now.
  func pauseForDebugger() throws
  /// Has it run on.
  /// - Throws: when that is not possible now.
  func resumeForDebugger() throws
  /// Switches it off. Does not wait.
  func powerOffForDebugger()
  /// The reset button.
  /// - Throws: when that is not possible now.
  func resetForDebugger() throws
}
